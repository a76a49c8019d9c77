//! The crates that the program is made of, as far as it can be seen without cargo-deny, which checks
//! more by `.ci/deny`: licences, where they come from, and that old code below amiquip is not reached.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What cargo knows of all packages, on this kind of machine.
fn packages() -> Vec<Value> {
    let host = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let host = String::from_utf8(host.stdout).unwrap();
    let host = host.lines().find_map(|line| line.strip_prefix("host: "));
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", host.unwrap()])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let mut metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    serde_json::from_value(metadata["packages"].take()).unwrap()
}

/// The lines of a crate's sources that are no comments.
fn code_of(packages: &[Value], name: &str) -> String {
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.unwrap()["manifest_path"].as_str().unwrap();
    let mut code = String::new();
    read(&Path::new(manifest).with_file_name("src"), &mut code);
    code
}

fn read(folder: &Path, code: &mut String) {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            read(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).unwrap();
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            lines.for_each(|line| {
                code.push_str(line);
                code.push('\n');
            });
        }
    }
}

/// Whether a licence in SPDX's terms allows one of these.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let is_named = |name: &str| allowed.contains(&name.trim_matches([' ', '(', ')']));
    let licence = licence.replace('/', " OR ");
    licence
        .split(" AND ")
        .all(|either| either.split(" OR ").any(is_named))
}

#[test]
fn each_crate_has_a_licence_that_asks_for_no_more_than_its_text() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/deny.toml");
    let rules: toml::Value = toml::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let names = |rule: &toml::Value| -> Vec<String> {
        let names = rule["allow"].as_array().unwrap().iter();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let exceptions = rules["licenses"]["exceptions"].as_array().unwrap();
    for package in packages() {
        let mut allowed = names(&rules["licenses"]);
        let name = package["name"].as_str().unwrap();
        let is_of = |rule: &&toml::Value| rule["crate"].as_str() == Some(name);
        allowed.extend(exceptions.iter().filter(is_of).flat_map(names));
        let mut clarified = rules["licenses"]["clarify"].as_array().unwrap().iter();
        let clarified = clarified
            .find(is_of)
            .map(|rule| rule["expression"].as_str().unwrap());
        let licence = clarified
            .or(package["license"].as_str())
            .unwrap_or_default();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        assert!(is_allowed(licence, &allowed), "{name}: {licence}");
    }
    assert!(is_allowed("(MIT OR Apache-2.0) AND ISC", &["MIT", "ISC"]));
    assert!(!is_allowed("(MIT OR Apache-2.0) AND ISC", &["MIT"]) && !is_allowed("", &["MIT"]));
}

#[test]
fn all_crates_come_from_the_one_registry() {
    for package in packages() {
        let source = package["source"].as_str();
        let is_own = package["name"] == "bugzfeed" && source.is_none();
        let is_registry = source == Some("registry+https://github.com/rust-lang/crates.io-index");
        assert!(is_own || is_registry, "{} {source:?}", package["name"]);
    }
}

/// amq-protocol brings url 1 and idna 0.1, of which flaws are known, to read addresses by its module
/// `uri`. amiquip reads its own by url 2, and this program hands it none.
#[test]
fn nobody_reads_addresses_by_the_old_url_crate() {
    let packages = packages();
    let dependents = |name: &str, version: &str| -> Vec<String> {
        let needs = |package: &&Value| {
            package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .any(|dependency| {
                    dependency["name"] == name
                        && dependency["req"].as_str().unwrap().starts_with(version)
                })
        };
        let names = packages.iter().filter(needs);
        names
            .map(|package| package["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(dependents("url", "^1"), ["amq-protocol"]);
    assert_eq!(dependents("idna", "^0"), ["url"]);
    assert_eq!(dependents("amq-protocol", "^1"), ["amiquip"]);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut ours = String::new();
    read(&own, &mut ours);
    for code in [code_of(&packages, "amiquip"), ours] {
        assert!(!code.contains("amq_protocol::uri") && !code.contains("AMQPUri"));
    }
    // The module is there, so what is looked for would be found.
    let protocol = code_of(&packages, "amq-protocol");
    assert!(protocol.contains("pub mod uri") && protocol.contains("AMQPUri"));
    let users = protocol.lines().filter(|line| line.contains("use url"));
    assert_eq!(users.count(), 1);
}
