//! A stand-in of systemd: it listens at `$NOTIFY_SOCKET`, and holds sockets that a service inherits.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::support::server::{PATIENCE, Program};

/// What a service says.
pub struct Manager {
    socket: UnixDatagram,
    /// `$NOTIFY_SOCKET`.
    pub name: String,
}

impl Manager {
    /// Listens at a path.
    pub fn at_path(folder: &Path) -> Self {
        let path = folder.join("notify");
        let name = path.display().to_string();
        Self::on(UnixDatagram::bind(path).unwrap(), name)
    }

    /// Listens at an abstract name.
    pub fn at_abstract_name() -> Self {
        let name = format!("bugzfeed-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Self::on(
            UnixDatagram::bind_addr(&address).unwrap(),
            format!("@{name}"),
        )
    }

    fn on(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, name }
    }

    /// The next message that contains `text`; those before it are dropped.
    pub fn wait_for(&self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        while Instant::now() < deadline {
            let Ok(bytes) = self.socket.recv(&mut buffer) else {
                break;
            };
            let message = String::from_utf8(buffer[..bytes].to_vec()).unwrap();
            if message.contains(text) {
                return message;
            }
        }
        panic!("the service does not say '{text}'");
    }
}

/// A socket that systemd listens on, and goes on to.
pub fn hold() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// Starts `bugzfeed` with sockets in its hands as systemd would, the first two at most, each with
/// its name.
pub fn start_with_sockets(
    folder: &Path,
    arguments: &[&str],
    sockets: &[(&str, OwnedFd)],
) -> Program {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    let mut files = sockets.iter().map(|(_, file)| {
        let file = file.try_clone().unwrap();
        Stdio::from(file)
    });
    let mut command = Command::new("sh");
    // The shell moves them to where systemd has them, and becomes the program.
    command
        .args([
            "-c",
            r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 4<&1 0</dev/null 1>/dev/null"#,
        ])
        .arg(env!("CARGO_BIN_EXE_bugzfeed"))
        .args(arguments)
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .current_dir(folder)
        .stdin(files.next().unwrap_or_else(Stdio::null))
        .stdout(files.next().unwrap_or_else(Stdio::null));
    Program::run_with_input(command)
}
