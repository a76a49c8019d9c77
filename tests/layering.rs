//! The layers of docs/architecture.md: a module names only what stands before it, and only where
//! the shell begins does anything know the poll, the broker's library, or a way around the borrow
//! checker.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the server's core, and what of the crate it may name.
const LAYERS: [(&str, &[&str]); 26] = [
    ("update", &[]),
    ("moment", &[]),
    ("post", &[]),
    ("protocol", &["update"]),
    ("subscriptions", &["update"]),
    ("history", &["update"]),
    ("promise", &[]),
    (
        "hub",
        &["history", "promise", "protocol", "subscriptions", "update"],
    ),
    ("frame", &[]),
    ("http", &["update"]),
    ("turn", &["frame", "protocol", "subscriptions", "update"]),
    (
        "connection",
        &["frame", "moment", "protocol", "turn", "update"],
    ),
    (
        "server",
        &[
            "connection",
            "frame",
            "http",
            "history",
            "hub",
            "moment",
            "post",
            "promise",
            "protocol",
            "subscriptions",
            "turn",
            "update",
        ],
    ),
    ("inbox", &["post", "promise", "update"]),
    ("pulse", &["update"]),
    ("work", &[]),
    ("address", &[]),
    (
        "amqp",
        &["address", "duration", "pulse", "tls", "update", "work"],
    ),
    ("page", &["http", "protocol"]),
    (
        "database",
        &["address", "bugzilla", "duration", "tls", "update", "work"],
    ),
    ("bugzilla", &["address", "tls", "update", "work"]),
    (
        "source",
        &[
            "address", "amqp", "bugzilla", "database", "duration", "inbox", "machine", "post",
            "promise", "pulse", "update", "work",
        ],
    ),
    ("machine", &[]),
    ("memory", &["machine", "moment"]),
    (
        "reactor",
        &[
            "connection",
            "inbox",
            "memory",
            "moment",
            "post",
            "server",
            "subscriptions",
            "update",
            "work",
        ],
    ),
    ("client", &["tls", "update"]),
];

/// All files of a module, with the part before their unit tests.
fn files_of(module: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.join(module)];
    let single = root.join(format!("{module}.rs"));
    if single.exists() {
        files.push(single);
    }
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(
        module.is_empty() || !files.is_empty(),
        "there is no module {module}"
    );
    let code = |path: &PathBuf| {
        fs::read_to_string(path)
            .unwrap()
            .split("\n#[cfg(test)]\n")
            .next()
            .unwrap()
            .to_owned()
    };
    files
        .into_iter()
        .map(|path| (path.clone(), code(&path)))
        .collect()
}

/// The lines of a text that are no comments.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//"))
}

#[test]
fn a_module_names_only_what_stands_before_it() {
    for (module, allowed) in LAYERS {
        for (path, text) in files_of(module) {
            let named: BTreeSet<&str> = code_lines(&text)
                .flat_map(|line| line.split("crate::").skip(1))
                .map(|rest| {
                    rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                        .next()
                        .unwrap()
                })
                .collect();
            for name in named {
                assert!(
                    name == module || allowed.contains(&name),
                    "{} names {name}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn only_the_shell_knows_the_poll_and_only_the_amqp_modules_know_the_brokers_library() {
    for (path, text) in files_of("") {
        let place = path
            .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let names = |word: &str| code_lines(&text).any(|line| line.contains(word));
        // The bench is a client and a server of its own.
        let may_poll = ["reactor", "inbox", "bench"]
            .iter()
            .any(|start| place.starts_with(start));
        assert!(may_poll || !names("mio::"), "{place} names mio");
        let is_amqp = place.starts_with("amqp/") || place == "source/amqp.rs";
        assert!(
            is_amqp || !(names("amiquip::") || names("mio_amqp")),
            "{place} names amiquip"
        );
    }
}

#[test]
fn the_pure_modules_do_no_io_and_know_no_clock() {
    for module in [
        "update",
        "moment",
        "post",
        "protocol",
        "subscriptions",
        "history",
        "hub",
        "frame",
        "http",
        "turn",
    ] {
        for (path, text) in files_of(module) {
            for word in [
                "std::net",
                "std::fs",
                "std::thread",
                "Instant",
                "SystemTime",
                "log::",
                "println!",
            ] {
                assert!(
                    !code_lines(&text).any(|line| line.contains(word)),
                    "{} names {word}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn a_file_is_a_paragraph() {
    for (path, _) in files_of("") {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 500, "{} has {lines} lines", path.display());
    }
}
