//! What docs/security.md promises: the tests that it names are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The names between backticks that are those of tests: sentences of at least four words.
fn named(page: &str) -> BTreeSet<&str> {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_sentence = |text: &&str| text.split('_').count() >= 4 && text.split('_').all(is_word);
    page.split('`').filter(is_sentence).collect()
}

/// All tests of the Rust sources in a folder.
fn tests_in(folder: &Path, tests: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_in(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
                    tests.extend(rest.split_once("()").map(|(name, _)| name.to_owned()));
                }
                is_test = line.starts_with("#[test]") || is_test && line.starts_with("#[");
            }
        }
    }
}

#[test]
fn each_test_that_the_page_on_security_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/security.md")).unwrap();
    let mut tests = BTreeSet::new();
    tests_in(&root.join("src"), &mut tests);
    tests_in(&root.join("tests"), &mut tests);
    let named = named(&page);
    let missing: Vec<&&str> = named
        .iter()
        .filter(|name| !tests.contains(**name))
        .collect();
    assert!(
        missing.is_empty() && named.len() >= 25,
        "{missing:?} of {}",
        named.len()
    );
}
