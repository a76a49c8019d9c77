//! A MariaDB of the tests' own, on a free port and in a temporary directory, that ends with its
//! owner. Knows nothing of bugzfeed.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder};

use super::rabbitmq::free_ports;
use super::unprivileged::{Account, Folder, Server, pipe, run};

/// A running MariaDB. It ends when dropped.
pub struct MariaDb {
    server: Server,
    pub port: u16,
    options: &'static [&'static str],
    folder: Folder,
    databases: AtomicU32,
}

/// The server that the tests of one binary share, as long as one of them holds it. Tests that harm
/// a server start their own.
pub fn shared() -> Arc<MariaDb> {
    static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(MariaDb::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

impl MariaDb {
    /// Starts a server and waits until it accepts connections.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further options of the server's.
    pub fn start_with(options: &'static [&'static str]) -> Self {
        // Another program may take the port before the server does.
        let mut result = Self::try_start(options);
        for _ in 0..2 {
            result = result.or_else(|_| Self::try_start(options));
        }
        result.unwrap_or_else(|why| panic!("MariaDB does not start: {why}"))
    }

    fn try_start(options: &'static [&'static str]) -> Result<Self, String> {
        let folder = Folder::new("bugzfeed-mariadb-", Account::find("mysql"));
        folder.copy_certificates();
        let mut install = folder.command("mariadb-install-db");
        install.args([
            "--no-defaults",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]);
        install.args(["--datadir=data", "--tmpdir=."].map(|option| absolute(&folder, option)));
        run(install);
        let [port] = free_ports();
        let server = Server::start(
            program(&folder, port, options),
            folder.file("output"),
            || connect(port, "").is_ok(),
        )?;
        Ok(Self {
            server,
            port,
            options,
            folder,
            databases: AtomicU32::new(0),
        })
    }

    /// A new database of a name of its own.
    pub fn create_database(&self) -> String {
        let name = format!("bugs_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.connect("")
            .query_drop(format!("CREATE DATABASE {name}"))
            .unwrap();
        name
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.file("socket")
    }

    /// A connection as root.
    pub fn connect(&self, database: &str) -> Conn {
        connect(self.port, database).unwrap()
    }

    /// The same, where the server may be dead.
    pub fn try_connect(&self, database: &str) -> mysql::Result<Conn> {
        connect(self.port, database)
    }

    /// Runs a script as an administrator would: by the client, as root. Returns what the client
    /// said.
    pub fn run_script(&self, database: &str, script: &str) -> Result<String, String> {
        let mut client = Command::new("mariadb");
        client.args([
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            "--user=root",
        ]);
        client.arg(format!("--port={}", self.port)).arg(database);
        pipe(client, script)
    }

    /// The server's process.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Starts the killed server again, with the data that it had.
    pub fn restart(&self) {
        self.server.restart(
            || program(&self.folder, self.port, self.options),
            || connect(self.port, "").is_ok(),
        );
    }
}

fn program(folder: &Folder, port: u16, options: &[&str]) -> Command {
    let mut command = folder.command("/usr/sbin/mariadbd");
    command
        .args([
            "--no-defaults",
            "--bind-address=127.0.0.1,127.0.0.2",
            "--skip-log-bin",
            "--skip-name-resolve",
        ])
        // A test's data is small, and so is the machine.
        .args([
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--max-connections=100",
        ])
        // It must survive being killed, but not a power failure.
        .args([
            "--innodb-flush-log-at-trx-commit=2",
            "--skip-innodb-doublewrite",
        ])
        .args(
            ["--ssl-cert=server.pem", "--ssl-key=server.key"]
                .map(|option| absolute(folder, option)),
        )
        // A server that starts removes what it takes for an old one's temporary files.
        .args(
            [
                "--datadir=data",
                "--tmpdir=.",
                "--socket=socket",
                "--pid-file=pid",
            ]
            .map(|option| absolute(folder, option)),
        )
        .arg(format!("--port={port}"))
        .args(options);
    command
}

/// mariadbd takes a file's name for one in the folder that it was installed in, or that of its
/// data.
fn absolute(folder: &Folder, option: &str) -> String {
    let (name, file) = option.split_once('=').unwrap();
    format!("{name}={}", folder.file(file).display())
}

fn connect(port: u16, database: &str) -> mysql::Result<Conn> {
    let options = OptsBuilder::new()
        .ip_or_hostname(Some("127.0.0.1"))
        .tcp_port(port)
        .user(Some("root"))
        .prefer_socket(false);
    Conn::new(options.db_name(Some(database).filter(|name| !name.is_empty())))
}
