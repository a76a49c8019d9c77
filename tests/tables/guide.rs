//! The commands of docs/bugzilla.md, run as they stand there, but for the places and the passwords.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use bugzfeed::schema::Engine;
use rustix::process::getuid;
use tempfile::TempDir;

use crate::check::check;
use crate::database::{Database, ServerKind, edit, insert};
use crate::support::client::Client;
use crate::support::docs::{blocks, section};
use crate::support::server::Program;
use crate::support::unprivileged::pipe;

const PAGE: &str = "bugzilla.md";

/// The password of Bugzilla's account, for which the page has these words.
const PASSWORD: &str = "PASSWORD OF bugs";

/// The account of Bugzilla's that its manual makes, in a database that belongs to it.
const ACCOUNT_MYSQL: &str = "CREATE USER bugs@localhost IDENTIFIED BY 'PASSWORD OF bugs'; \
    GRANT SELECT, INSERT, UPDATE, DELETE, INDEX, ALTER, CREATE, LOCK TABLES, CREATE TEMPORARY TABLES, DROP, REFERENCES \
    ON bugs.* TO bugs@localhost";
const ACCOUNT_POSTGRES: &str = "CREATE ROLE bugs LOGIN PASSWORD 'PASSWORD OF bugs' CREATEDB; GRANT ALL ON SCHEMA public TO bugs; \
    DO $$ DECLARE t name; BEGIN FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' \
    LOOP EXECUTE format('ALTER TABLE %I OWNER TO bugs', t); END LOOP; END $$";

/// `sudo`, which a machine with nobody but root lacks.
const SUDO: &str = r#"#!/bin/bash
user=root
[ "$1" = -u ] && user=$2 && shift 2
case $user in
    root) IS_ROOT=1 exec "$@" ;;
    postgres) PGUSER=root exec "$@" ;;
esac
[ $EUID = 0 ] && exec setpriv "--reuid=$user" "--regid=$user" --init-groups -- "$@"
exec "$@"
"#;

/// `mysql`, which asks for the password on a terminal, and finds its server in a place of its own.
const MYSQL: &str = r#"#!/bin/bash
for argument; do
    [ "$argument" = -p ] && argument="--password=PASSWORD OF bugs"
    arguments+=("$argument")
done
exec mariadb --no-defaults --socket=SOCKET ${IS_ROOT:+--user=root} "${arguments[@]}"
"#;

/// An administrator's shell on the machine of a Bugzilla.
struct Shell {
    /// Bugzilla's folder, or any other where the database is elsewhere.
    folder: Arc<TempDir>,
    database: Database,
    /// What stands in the page, and what is there for it here.
    places: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
}

impl Shell {
    fn new(engine: Engine) -> Self {
        let server = ServerKind::own(engine);
        let (folder, name) = match &server {
            ServerKind::MariaDb(server) => {
                server.run_script("mysql", "CREATE DATABASE bugs").unwrap();
                (Arc::new(tempfile::tempdir().unwrap()), "bugs")
            }
            ServerKind::Postgres(server) => {
                server
                    .run_script("postgres", "CREATE DATABASE bugs")
                    .unwrap();
                (Arc::new(tempfile::tempdir().unwrap()), "bugs")
            }
            ServerKind::Sqlite(folder) => {
                fs::create_dir_all(folder.path().join("data/db")).unwrap();
                (Arc::clone(folder), "data/db/bugs")
            }
        };
        // Not every account may enter a temporary folder, or the one that the program was built in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let programs = folder.path().join("bin");
        fs::create_dir(&programs).unwrap();
        let program = env!("CARGO_BIN_EXE_bugzfeed");
        fs::copy(program, programs.join("bugzfeed")).unwrap();
        let database = Database::named(server, name);
        for bug in 1..=3 {
            database.session().must(&insert(bug, "2020-01-01 00:00:00"));
        }
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let listen = "127.0.0.1:0".to_owned();
        let mut shell = Self {
            folder,
            database,
            places: Vec::new(),
            environment: vec![("PATH", path), ("BUGZFEED_LISTEN", listen)],
        };
        shell.put("sudo", SUDO);
        shell.prepare();
        shell
    }

    /// Makes what the page takes for granted.
    fn prepare(&mut self) {
        match self.database.server.clone() {
            ServerKind::MariaDb(server) => {
                let socket = server.socket().display().to_string();
                self.put("mysql", &MYSQL.replace("SOCKET", &socket));
                self.places.push(("/run/mysqld/mysqld.sock", socket));
                self.database.run_script(ACCOUNT_MYSQL).unwrap();
            }
            ServerKind::Postgres(server) => {
                let here = format!("@localhost:{}/", server.port);
                self.places.push(("@localhost/", here));
                self.environment.extend([
                    ("PGPORT", server.port.to_string()),
                    ("PGHOST", "127.0.0.1".to_owned()),
                    ("PGPASSWORD", PASSWORD.to_owned()),
                ]);
                self.database.run_script(ACCOUNT_POSTGRES).unwrap();
            }
            ServerKind::Sqlite(folder) => {
                let var = folder.path().join("var").display().to_string();
                self.places.push(("/var/lib/bugzfeed", var));
                if getuid().is_root() {
                    self.run("chown -R www-data data").unwrap();
                }
            }
        }
    }

    /// Puts a script into the `PATH`.
    fn put(&self, name: &str, script: &str) {
        let file = self.folder.path().join("bin").join(name);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command of the page's.
    fn command(&self, script: &str) -> Command {
        let mut script = script.to_owned();
        for (place, here) in &self.places {
            script = script.replace(place, here);
        }
        let mut command = Command::new("bash");
        command
            .args(["-c", &script])
            .current_dir(self.folder.path())
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs commands, of which none may fail; returns all that they have said.
    fn run(&self, script: &str) -> Result<String, String> {
        pipe(self.command(&format!("set -e -o pipefail\n{script}")), "")
    }

    /// Starts a server by this command, edits bug 1, and waits until a client hears of it.
    fn serve_and_edit(&self, command: &str, now: &str) {
        let server = Program::run(self.command(&format!("exec {command}")));
        let line = server.wait_for_line(" listens on ws://");
        let address = line.split("ws://").nth(1).unwrap();
        let address = address.split('/').next().unwrap().parse().unwrap();
        server.wait_for_line("reading updates from");
        let mut client = Client::open(address, "/");
        client.ask(r#"{"command":"subscribe","bugs":[1]}"#);
        edit(&mut *self.database.session(), "short_desc", &[1], now);
        let update = client.hear();
        assert!(
            update.contains(r#""command":"update","bug":1,"#),
            "{update}"
        );
    }
}

/// The blocks of commands of a section.
fn commands(heading: &str) -> Vec<String> {
    blocks(&section(PAGE, heading), "sh")
}

for_each_engine! {
    fn the_commands_of_the_page_install_serve_and_remove(engine) {
        let shell = Shell::new(engine);
        let heading = match engine {
            Engine::Mysql => "MariaDB and MySQL",
            Engine::Postgres => "PostgreSQL",
            Engine::Sqlite => "SQLite",
        };
        let [install, serve] = &commands(heading)[..] else { panic!("two blocks") };
        let said = shell.run(install).unwrap();
        assert!(said.contains("there and intact"), "{said}");
        // Once more, what is there already is only named.
        let said = pipe(shell.command(install), "").unwrap();
        assert!(said.contains("there and intact"), "{said}");
        for secret in ["pw", "bugs-pw"].map(|name| shell.folder.path().join(name)) {
            let mode = fs::metadata(secret).map_or(0o600, |file| file.permissions().mode() & 0o777);
            assert_eq!(mode, 0o600);
        }
        if engine == Engine::Sqlite {
            let folder = "sudo install -d -o www-data /var/lib/bugzfeed";
            assert!(section(PAGE, heading).contains(folder));
            shell.run(folder).unwrap();
        }
        shell.serve_and_edit(serve.trim(), "2026-11-20 15:50:32");

        let without = commands("Without triggers");
        let name = format!("{}://", engine.name());
        if let Some(block) = without.iter().find(|block| block.contains(&name)) {
            let (prepare, serve) = block.trim().rsplit_once('\n').unwrap();
            shell.run(prepare).unwrap();
            shell.serve_and_edit(serve, "2026-11-20 15:50:33");
        } else {
            assert_eq!(engine, Engine::Sqlite);
        }

        let removal = commands("Is it right?").concat();
        let this = format!("bugzfeed schema {} --drop", engine.name());
        let line = removal.lines().find(|line| line.starts_with(&this)).unwrap();
        shell.run(line).unwrap();
        assert!(check(&shell.database.url("root", "")).contains("push_notify is missing"));
    }
}
