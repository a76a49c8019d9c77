//! An nginx with a configuration that a page of `docs/` shows. Knows nothing of who is behind it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::rabbitmq::free_ports;
use super::server::wait_until;

/// What stands around a file of Debian's `conf.d`.
const AROUND: &str = "daemon off; pid nginx.pid; error_log error.log; worker_processes 1; events { worker_connections 4000; }
    http { access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;";

/// A running nginx. It ends when dropped.
pub struct Nginx {
    pub address: SocketAddr,
    process: Child,
}

impl Nginx {
    /// Starts it in a folder, with `listen`, and what else stands in the configuration, replaced by
    /// what is there for it here.
    pub fn start(
        folder: &Path,
        configuration: &str,
        listen: &str,
        places: &[(&str, String)],
    ) -> Self {
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut configuration = configuration.to_owned();
        for (place, here) in places.iter().chain([&(listen, address.to_string())]) {
            assert!(configuration.contains(place), "{place}: {configuration}");
            configuration = configuration.replace(place, here);
        }
        let file = format!("{AROUND}\n{configuration}\n}}");
        fs::write(folder.join("nginx.conf"), file).unwrap();
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(folder)
            .stdin(Stdio::null());
        let process = command.spawn().expect("nginx is needed");
        let nginx = Self { address, process };
        wait_until("nginx listens", || TcpStream::connect(address).ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Asked to, it ends its workers as well.
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}
