//! A RabbitMQ of the tests' own, on free ports and in a temporary directory, that ends with its
//! owner. Knows nothing of bugzfeed.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/watch/tls");
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Users, virtual hosts and permissions. `pulse` has what Mozilla's Pulse gives to its users.
const DEFINITIONS: &str = r#"{
    "users": [{"name": "guest", "password": "guest", "tags": "administrator"}, {"name": "pulse", "password": "s/e@cret", "tags": ""}],
    "vhosts": [{"name": "/"}, {"name": "empty"}],
    "permissions": [
        {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        {"user": "pulse", "vhost": "/", "configure": "^(queue/pulse/.*|exchange/pulse/.*)",
         "write": "^(queue/pulse/.*|exchange/pulse/.*)", "read": "^(queue/pulse/.*|exchange/.*)"}]
}"#;

/// A running broker. It ends when dropped.
pub struct Broker {
    folder: tempfile::TempDir,
    pub port: u16,
    pub tls_port: u16,
    /// Where its management API is, if it has one: plain, and with TLS.
    pub management_port: u16,
    pub management_tls_port: u16,
    /// Where Erlang's nodes find each other; one of our own, so that none stays behind.
    epmd: Mutex<Child>,
    epmd_port: u16,
    distribution_port: u16,
    server: Mutex<Child>,
}

/// The broker that the tests of one binary share, as long as one of them holds it. Tests that harm
/// a broker start their own.
pub fn shared() -> Arc<Broker> {
    static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let broker = Arc::new(Broker::start());
        *shared = Arc::downgrade(&broker);
        broker
    })
}

impl Broker {
    /// Starts a broker and waits until it accepts connections.
    pub fn start() -> Self {
        Self::start_as(false)
    }

    /// Starts a broker as Debian's package makes it, with nothing on it and no account but guest,
    /// and with the management plugin.
    pub fn start_managed() -> Self {
        Self::start_as(true)
    }

    fn start_as(is_managed: bool) -> Self {
        // Another program may take a port before the broker does.
        let mut result = Self::try_start(is_managed);
        for _ in 0..2 {
            result = result.or_else(|_| Self::try_start(is_managed));
        }
        result.unwrap_or_else(|why| panic!("RabbitMQ does not start: {why}"))
    }

    fn try_start(is_managed: bool) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix("bugzfeed-rabbitmq-")
            .tempdir()
            .unwrap();
        let [port, tls_port, distribution_port, epmd_port] = free_ports();
        let management = is_managed.then(free_ports::<2>);
        fs::create_dir(folder.path().join("home")).unwrap();
        let plugins = if is_managed {
            "[rabbitmq_management]."
        } else {
            "[]."
        };
        fs::write(folder.path().join("plugins"), plugins).unwrap();
        fs::write(folder.path().join("definitions.json"), DEFINITIONS).unwrap();
        write_configuration(folder.path(), port, tls_port, management);
        let [management_port, management_tls_port] = management.unwrap_or_default();
        let epmd = command("epmd")
            .args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()])
            .spawn()
            .expect("epmd is needed");
        let server = serve(folder.path(), port, distribution_port, epmd_port);
        let broker = Self {
            folder,
            port,
            tls_port,
            management_port,
            management_tls_port,
            epmd: Mutex::new(epmd),
            epmd_port,
            distribution_port,
            server: Mutex::new(server),
        };
        broker.wait().map(|()| broker)
    }

    /// The address of the exchange for `user` (`guest` or `pulse`).
    pub fn url(&self, user: &str, exchange: &str) -> String {
        let password = match user {
            "pulse" => "s%2Fe%40cret",
            _ => user,
        };
        format!(
            "amqp://{user}:{password}@127.0.0.1:{}/?exchange={exchange}",
            self.port
        )
    }

    /// The file of the certificate that issued the broker's; `stranger.pem` beside it did not.
    pub fn ca_file(&self) -> PathBuf {
        Path::new(CERTIFICATES).join("ca.pem")
    }

    /// Runs `rabbitmqctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = command(&format!("{PROGRAMS}/rabbitmqctl"));
        environment(
            &mut command,
            self.folder.path(),
            self.port,
            self.distribution_port,
            self.epmd_port,
        );
        let output = command
            .arg("--quiet")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "rabbitmqctl {arguments:?}: {output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The names of all queues.
    pub fn queues(&self) -> Vec<String> {
        self.ctl(&["list_queues", "--no-table-headers", "name"])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log/bugzfeed-test@localhost.log")).unwrap()
    }

    /// Kills the server as `kill -9` does, once everything that was declared is on its disk.
    /// RabbitMQ 3.10 answers before that: queues and bindings may wait for up to two seconds in
    /// Erlang's `disk_log`, and would be lost.
    pub fn kill(&self) {
        self.ctl(&["eval", "mnesia:sync_log()."]);
        let mut server = self.server();
        server.kill().unwrap();
        server.wait().unwrap();
    }

    /// Starts the killed server again, with the data that it had.
    pub fn restart(&self) {
        *self.server() = serve(
            self.folder.path(),
            self.port,
            self.distribution_port,
            self.epmd_port,
        );
        self.wait()
            .unwrap_or_else(|why| panic!("RabbitMQ does not start again: {why}"));
    }

    /// Stops the server's process: it keeps its connections, and answers nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets the stopped process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.server()), signal).unwrap();
    }

    fn server(&self) -> std::sync::MutexGuard<'_, Child> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the server says that it has started.
    fn wait(&self) -> Result<(), String> {
        let output = self.folder.path().join("output");
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let said = fs::read_to_string(&output).unwrap_or_default();
            if said.contains("completed with") {
                return Ok(());
            }
            if let Some(status) = self.server().try_wait().unwrap() {
                return Err(format!("it ended with {status}: {said}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it takes too long: {said}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(&self) {
        for child in [&self.server, &self.epmd] {
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn serve(folder: &Path, port: u16, distribution_port: u16, epmd_port: u16) -> Child {
    let output = File::create(folder.join("output")).unwrap();
    let mut command = command(&format!("{PROGRAMS}/rabbitmq-server"));
    environment(&mut command, folder, port, distribution_port, epmd_port);
    command
        // Without it, a shell would stand between us and the server, and outlive it.
        .env("RUNNING_UNDER_SYSTEMD", "true")
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .expect("rabbitmq-server is needed")
}

fn environment(
    command: &mut Command,
    folder: &Path,
    port: u16,
    distribution_port: u16,
    epmd_port: u16,
) {
    command
        // Where Erlang writes its dump when it crashes.
        .current_dir(folder)
        .env("HOME", folder.join("home"))
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", "bugzfeed-test@localhost")
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", distribution_port.to_string())
        .env("RABBITMQ_CTL_DIST_PORT_MIN", "0")
        .env("RABBITMQ_CTL_DIST_PORT_MAX", "0")
        .env("RABBITMQ_MNESIA_BASE", folder.join("data"))
        .env("RABBITMQ_LOG_BASE", folder.join("log"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("plugins"))
        .env("RABBITMQ_CONFIG_FILE", folder.join("rabbitmq.conf"))
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
}

fn write_configuration(folder: &Path, port: u16, tls_port: u16, management: Option<[u16; 2]>) {
    let at = folder.display();
    let text = format!(
        "listeners.tcp.default = 127.0.0.1:{port}
listeners.ssl.default = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {CERTIFICATES}/ca.pem
ssl_options.certfile = {CERTIFICATES}/server.pem
ssl_options.keyfile = {CERTIFICATES}/server.key
ssl_options.verify = verify_none
disk_free_limit.absolute = 1MB
log.console = false
"
    );
    let more = match management {
        None => format!("load_definitions = {at}/definitions.json\n"),
        Some([port, tls_port]) => format!(
            "management.tcp.ip = 127.0.0.1
management.tcp.port = {port}
management.ssl.ip = 127.0.0.1
management.ssl.port = {tls_port}
management.ssl.cacertfile = {CERTIFICATES}/ca.pem
management.ssl.certfile = {CERTIFICATES}/server.pem
management.ssl.keyfile = {CERTIFICATES}/server.key
# Five seconds in earnest.
collect_statistics_interval = 500
"
        ),
    };
    let text = text + &more;
    fs::write(folder.join("rabbitmq.conf"), text).unwrap();
}

/// Ports that are free. Outside of those that the system gives away by itself, which might be taken
/// before the broker is there.
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| {
        let listener = std::iter::repeat_with(|| {
            TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..32_000)))
        })
        .find_map(Result::ok);
        listener.unwrap().local_addr().unwrap().port()
    })
}
