//! `bugzfeed token`, and what it makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Runs `bugzfeed token` in a folder: its exit code, and what it printed to stdout and stderr.
pub fn token(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bugzfeed"))
        .env_remove("BUGZFEED_TOKENS")
        .current_dir(folder)
        .arg("token")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Makes a token.
pub fn add(folder: &Path, name: &str) -> String {
    let (code, token, said) = token(folder, &["add", name]);
    assert_eq!(code, Some(0), "{said}");
    token.trim_end().to_owned()
}

#[test]
fn a_token_is_told_once_and_is_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let (ci, bob) = (
        add(folder.path(), "ci"),
        add(folder.path(), "bob@example.org"),
    );
    assert_ne!(ci, bob);
    for token in [&ci, &bob] {
        // 256 bits, in letters that a subprotocol may have.
        assert_eq!(token.len(), 43, "{token}");
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(token.bytes().all(is_plain), "{token}");
    }
    for file in fs::read_dir(folder.path()).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(&ci) && !text.contains(&bob), "{text}");
    }
    let file = folder.path().join("bugzfeed.tokens");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, names, said) = token(folder.path(), &["list"]);
    assert_eq!(
        (code, names.as_str()),
        (Some(0), "ci\nbob@example.org\n"),
        "{said}"
    );
}

#[test]
fn what_is_taken_away_is_one_line_and_all_others_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine");
    let options = ["--file", "mine"];
    add_to(folder.path(), &options, "first");
    let first = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("# ours\n\n{}", first.trim_end())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    add_to(folder.path(), &options, "second");
    let (code, _, said) = token(folder.path(), &["remove", "second", "--file", "mine"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("SIGHUP"), "{said}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        format!("# ours\n\n{first}")
    );
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

fn add_to(folder: &Path, options: &[&str], name: &str) {
    let (code, _, said) = token(folder, &[&["add", name], options].concat());
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = tempfile::tempdir().unwrap();
    add(folder.path(), "ci");
    fs::write(folder.path().join("bad"), "ci 1234\n").unwrap();
    for (arguments, code, words) in [
        (&["add", "ci"][..], 78, "ci has a token already"),
        (&["add", "c i"], 2, "letters, digits"),
        (&["add", ""], 2, "letters, digits"),
        (&["remove", "bob"], 78, "bob has no token"),
        (&["list", "--file", "missing"], 78, "missing"),
        (&["add", "x", "--file", "bad"], 78, "line 1"),
        (&["add", "x", "--file", "no/such"], 78, "no/such"),
    ] {
        let (ended, printed, said) = token(folder.path(), arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words) && printed.is_empty(), "{said}");
    }
}
