//! From a commit to a client, for each source: a server that reads it, beside the floor, with real
//! MariaDB, PostgreSQL and RabbitMQ of its own. `bugzfeed bench sparse` measures.

#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mysql::prelude::Queryable;

use support::server::Server;
use support::{mariadb, postgres, rabbitmq};

const TABLE: &str =
    "bug_id INTEGER NOT NULL, delta_ts TIMESTAMP NOT NULL DEFAULT '2020-01-01 00:00:00')";

/// What a server reads, and where it is published.
struct Source {
    name: &'static str,
    address: String,
    /// None where it is the server itself.
    publish: Option<String>,
}

fn main() -> ExitCode {
    let (mariadb, postgres, broker) = (mariadb::shared(), postgres::shared(), rabbitmq::shared());
    let folder = tempfile::tempdir().unwrap();
    let mut files = vec![bench(folder.path(), "serve", &[])];
    for source in [
        in_mariadb(&mariadb),
        in_postgres(&postgres),
        at_broker(&broker),
        webhook(),
    ] {
        files.push(measure(folder.path(), &source));
    }
    let beside = files
        .iter()
        .map(|file| format!("--beside={}", file.display()));
    let show = bugzfeed().args(["bench", "show"]).args(beside).status();
    ExitCode::from(u8::from(!show.is_ok_and(|status| status.success())))
}

fn bugzfeed() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
}

/// Measures; returns the file with the results. `cargo test` runs benches too, to see that they
/// work: then with little.
fn bench(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let is_measuring = env::args().any(|argument| argument == "--bench");
    let updates = if is_measuring { "200" } else { "20" };
    let file = folder.join(format!("{name}.json"));
    let mut bench = bugzfeed();
    bench
        .args(["bench", "sparse", "--connections", "100", "--rounds", "1"])
        .args(["--quiet", "--updates", updates, "--json"])
        .arg(&file)
        .args(more);
    let output = bench.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    file
}

fn measure(folder: &Path, source: &Source) -> PathBuf {
    let server = Server::start(&["--source", &source.address, "--ping", "1h"]);
    server.program().wait_for_line("reading updates from");
    let own = format!("http://secret@{}/webhook", server.address);
    let publish = source.publish.as_ref().unwrap_or(&own);
    let (url, pid) = (
        format!("ws://{}/", server.address),
        server.program().id().to_string(),
    );
    let more = [&url, "--publish", publish, "--invent", "--pid", &pid];
    bench(
        folder,
        source.name,
        &[&more[..], &["--name", source.name]].concat(),
    )
}

fn in_mariadb(server: &mariadb::MariaDb) -> Source {
    let database = server.create_database();
    let key = "id INTEGER NOT NULL AUTO_INCREMENT PRIMARY KEY";
    let create = format!("CREATE TABLE push_notify ({key}, {TABLE}");
    server.connect(&database).query_drop(create).unwrap();
    let address = format!("mysql://root@127.0.0.1:{}/{database}", server.port);
    Source {
        name: "mariadb",
        publish: Some(address.clone()),
        address,
    }
}

fn in_postgres(server: &postgres::Postgres) -> Source {
    let database = server.create_database();
    let create = format!("CREATE TABLE push_notify (id SERIAL PRIMARY KEY, {TABLE}");
    server.connect(&database).batch_execute(&create).unwrap();
    let address = format!("postgres://root@127.0.0.1:{}/{database}", server.port);
    Source {
        name: "postgres",
        publish: Some(address.clone()),
        address,
    }
}

fn at_broker(broker: &rabbitmq::Broker) -> Source {
    let exchange = broker.url("guest", "exchange/bugzilla/simple");
    // A server declares no exchange; whoever publishes does, and says that nobody listens yet.
    let _ = bugzfeed()
        .args(["notify", "1", "--source", &exchange])
        .output();
    Source {
        name: "rabbitmq",
        address: format!("{exchange}&queue=bench"),
        publish: Some(exchange),
    }
}

fn webhook() -> Source {
    Source {
        name: "webhook",
        address: "webhook:?header=X-Api-Key&key=secret".to_owned(),
        publish: None,
    }
}
