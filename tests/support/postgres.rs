//! A PostgreSQL of the tests' own, on a free port and in a temporary directory, that ends with its
//! owner. Knows nothing of bugzfeed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use postgres::{Client, NoTls};

use super::rabbitmq::free_ports;
use super::unprivileged::{Account, Folder, Server, pipe, run};

/// A running PostgreSQL. It ends when dropped.
pub struct Postgres {
    server: Server,
    pub port: u16,
    folder: Folder,
    databases: AtomicU32,
}

/// The server that the tests of one binary share, as long as one of them holds it. Tests that harm
/// a server start their own.
pub fn shared() -> Arc<Postgres> {
    static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Postgres::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

impl Postgres {
    /// Starts a server and waits until it accepts connections.
    pub fn start() -> Self {
        // Another program may take the port before the server does.
        let mut result = Self::try_start();
        for _ in 0..2 {
            result = result.or_else(|_| Self::try_start());
        }
        result.unwrap_or_else(|why| panic!("PostgreSQL does not start: {why}"))
    }

    fn try_start() -> Result<Self, String> {
        let folder = Folder::new("bugzfeed-postgres-", Account::find("postgres"));
        folder.copy_certificates();
        let mut init = folder.command(programs().join("initdb"));
        init.args([
            "--pgdata=data",
            "--username=root",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        run(init);
        // Who is not root needs a password, and may be made to use TLS.
        let accounts = "host all root 127.0.0.1/32 trust\nhostssl all tls_only all scram-sha-256\nhost all tls_only all reject\n\
                        host all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 scram-sha-256\n";
        fs::write(folder.file("data/pg_hba.conf"), accounts).unwrap();
        let [port] = free_ports();
        let server = Server::start(program(&folder, port), folder.file("output"), || {
            connect(port, "postgres").is_ok()
        })?;
        Ok(Self {
            server,
            port,
            folder,
            databases: AtomicU32::new(0),
        })
    }

    /// A new database of a name of its own.
    pub fn create_database(&self) -> String {
        let name = format!("bugs_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres")
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .unwrap();
        name
    }

    /// A connection as the superuser.
    pub fn connect(&self, database: &str) -> Client {
        connect(self.port, database).unwrap()
    }

    /// The same, where the server may be dead.
    pub fn try_connect(&self, database: &str) -> Result<Client, postgres::Error> {
        connect(self.port, database)
    }

    /// Runs a script as an administrator would: by the client, as the superuser. Returns what the
    /// client said.
    pub fn run_script(&self, database: &str, script: &str) -> Result<String, String> {
        let mut client = Command::new("psql");
        client.args([
            "--no-psqlrc",
            "--quiet",
            "--host=127.0.0.1",
            "--username=root",
            "--set=ON_ERROR_STOP=1",
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
            || program(&self.folder, self.port),
            || connect(self.port, "postgres").is_ok(),
        );
    }
}

/// Where Debian keeps the programs of its newest version.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is needed");
    let version = versions
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .max_by_key(|name| name.parse().unwrap_or(0));
    PathBuf::from("/usr/lib/postgresql")
        .join(version.unwrap())
        .join("bin")
}

fn program(folder: &Folder, port: u16) -> Command {
    let mut command = folder.command(programs().join("postgres"));
    command
        .args(["-D", "data", "-h", "127.0.0.1,127.0.0.2"])
        .arg("-p")
        .arg(port.to_string())
        .arg("-k")
        .arg(folder.path());
    for setting in [
        "ssl=on".to_owned(),
        format!("ssl_cert_file={}", folder.file("server.pem").display()),
        format!("ssl_key_file={}", folder.file("server.key").display()),
        // A test's data is small, and so is the machine.
        "shared_buffers=16MB".to_owned(),
        // It must survive being killed, but not a power failure.
        "fsync=off".to_owned(),
        // Who waits longer for a lock is named in the log.
        "deadlock_timeout=100ms".to_owned(),
        "log_lock_waits=on".to_owned(),
    ] {
        command.arg("-c").arg(setting);
    }
    command
}

fn connect(port: u16, database: &str) -> Result<Client, postgres::Error> {
    Client::connect(
        &format!("host=127.0.0.1 port={port} user=root dbname={database}"),
        NoTls,
    )
}
