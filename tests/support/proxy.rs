//! A proxy of Debian's, with a configuration that a page of `docs/` shows. Knows nothing of who is
//! behind it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::rabbitmq::free_ports;
use super::server::wait_until;

/// Which program it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    HAProxy,
    Caddy,
    Apache,
}

/// A running proxy. It ends when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    kind: Kind,
    folder: PathBuf,
    process: Child,
}

impl Proxy {
    /// Starts one in a folder, with `listen`, and what else stands in the configuration, replaced by
    /// what is there for it here.
    pub fn start(
        kind: Kind,
        folder: &Path,
        configuration: &str,
        listen: &str,
        places: &[(&str, String)],
    ) -> Self {
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let here = match kind {
            Kind::Caddy => format!("https://localhost:{port}"),
            Kind::Nginx | Kind::HAProxy | Kind::Apache => address.to_string(),
        };
        let places: Vec<(&str, &str)> = places
            .iter()
            .map(|(place, here)| (*place, here.as_str()))
            .chain([(listen, here.as_str())])
            .collect();
        let configuration = with_places(configuration, &places);
        let file = folder.join(format!("{kind:?}.conf"));
        fs::write(&file, kind.whole(&configuration, folder, address)).unwrap();
        let mut command = kind.command(folder, &file);
        // Caddy says much.
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let process = command
            .spawn()
            .unwrap_or_else(|_| panic!("{kind:?} is needed"));
        let mut proxy = Self {
            address,
            kind,
            folder: folder.to_owned(),
            process,
        };
        wait_until("the proxy listens", || {
            let ended = proxy.process.try_wait().unwrap();
            assert_eq!(ended, None, "{configuration}");
            TcpStream::connect(address).ok()
        });
        proxy
    }

    /// Makes it read its configuration anew, as its own documentation says.
    pub fn reload(&self) {
        match self.kind {
            Kind::Nginx => self.signal(Signal::HUP),
            Kind::HAProxy => self.signal(Signal::USR2),
            Kind::Apache => self.signal(Signal::USR1),
            Kind::Caddy => {
                let mut reload = Command::new("caddy");
                reload
                    .args([
                        "reload",
                        "--force",
                        "--adapter",
                        "caddyfile",
                        "--config",
                        "Caddy.conf",
                    ])
                    .args(["--address", &caddy_socket(&self.folder)])
                    .current_dir(&self.folder)
                    .stderr(Stdio::null());
                assert!(reload.status().unwrap().success());
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Asked to, it ends its workers as well.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// The text with each place replaced, in one pass: what has been put in, a port that holds the digits
/// of another place say, is left alone.
fn with_places(text: &str, places: &[(&str, &str)]) -> String {
    for (place, _) in places {
        assert!(text.contains(place), "{place}: {text}");
    }
    let mut whole = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((place, here)) = places.iter().find(|(place, _)| rest.starts_with(place)) {
            whole.push_str(here);
            rest = &rest[place.len()..];
        } else {
            whole.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    whole
}

/// Where Caddy takes orders.
fn caddy_socket(folder: &Path) -> String {
    format!("unix//{}", folder.join("caddy.sock").display())
}

impl Kind {
    /// The page's part, and what must stand around it. Of Apache's two times, the longer one counts.
    fn whole(self, part: &str, folder: &Path, address: SocketAddr) -> String {
        match self {
            Self::Nginx => format!(
                "daemon off; pid nginx.pid; error_log error.log; worker_processes 1; events {{ worker_connections 4000; }}
                http {{ access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d;
                scgi_temp_path e;\n{part}\n}}"
            ),
            Self::HAProxy => part.to_owned(),
            Self::Caddy => format!(
                "{{\nadmin {}\nauto_https disable_redirects\nlog {{\noutput discard\n}}\n}}\n{part}",
                caddy_socket(folder)
            ),
            Self::Apache => {
                let modules = ["mpm_event", "authz_core", "reqtimeout", "socache_shmcb", "ssl", "proxy", "proxy_http"];
                let modules: String = modules
                    .iter()
                    .map(|module| format!("LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so\n"))
                    .collect();
                format!(
                    "ServerRoot {0}\nDefaultRuntimeDir {0}\nPidFile apache.pid\nErrorLog error.log\nListen {address}\n{modules}\
                    RequestReadTimeout header=20-40,minrate=500 body=10,minrate=500\nUser www-data\nGroup www-data\n\
                    ServerName localhost\nTimeout 1\n{part}",
                    folder.display()
                )
            }
        }
    }

    fn command(self, folder: &Path, file: &Path) -> Command {
        let (program, arguments): (&str, &[&str]) = match self {
            Self::Nginx => ("/usr/sbin/nginx", &["-e", "error.log", "-p", ".", "-c"]),
            Self::HAProxy => ("/usr/sbin/haproxy", &["-W", "-db", "-q", "-f"]),
            Self::Caddy => ("caddy", &["run", "--adapter", "caddyfile", "--config"]),
            Self::Apache => ("/usr/sbin/apache2", &["-D", "FOREGROUND", "-f"]),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .arg(file)
            .current_dir(folder)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder);
        command
    }
}
