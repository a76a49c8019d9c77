//! The clients in docs/clients: each promise of theirs, held against a real server behind a proxy
//! that misbehaves. All tests run for each client alike.

mod access;
mod blocking;
mod driver;
mod misbehaving;
mod promises;
mod proxy;
#[path = "../support/mod.rs"]
mod support;

#[test]
fn the_packages_have_the_version_of_the_server() {
    let version = env!("CARGO_PKG_VERSION");
    let packages = [
        ("js/package.json", format!("\"version\": \"{version}\"")),
        ("python/pyproject.toml", format!("version = \"{version}\"")),
        ("js/README.md", format!("/bugzfeed.js?v={version}")),
    ];
    for (file, text) in packages {
        let path = format!("{}/docs/clients/{file}", env!("CARGO_MANIFEST_DIR"));
        let content = std::fs::read_to_string(path).unwrap();
        assert!(content.contains(&text), "{file} lacks {text}");
    }
}
