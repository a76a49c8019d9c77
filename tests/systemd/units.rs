//! The units of docs/systemd, as systemd itself reads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How exposed a service may be at most, in tenths, by `systemd-analyze security`.
const EXPOSURE_MAX: u32 = 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/systemd")
}

/// The units with this extension.
pub fn units(extension: &str) -> Vec<PathBuf> {
    let mut units: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == extension))
        .collect();
    units.sort();
    units
}

fn analyze(arguments: &[&str]) -> (bool, String) {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
#[ignore = "needs systemd-analyze: run tests/run"]
fn systemd_has_nothing_to_say_against_the_units() {
    let copies = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for unit in [units("service"), units("socket")].concat() {
        // It wants the program to be there.
        let text = fs::read_to_string(&unit).unwrap();
        let text = text.replace("/usr/bin/bugzfeed", env!("CARGO_BIN_EXE_bugzfeed"));
        let name = unit.file_name().unwrap().to_string_lossy().into_owned();
        for name in [name.clone(), name.replace('.', "@.")] {
            let copy = copies.path().join(name);
            fs::write(&copy, &text).unwrap();
            paths.push(copy.display().to_string());
        }
    }
    assert_eq!(paths.len(), 10, "{paths:?}");
    let mut arguments = vec!["verify", "--man=no", "--recursive-errors=no"];
    arguments.extend(paths.iter().map(String::as_str));
    let (is_clean, said) = analyze(&arguments);
    assert!(is_clean && said.is_empty(), "{said}");
}

#[test]
#[ignore = "needs systemd-analyze: run tests/run"]
fn each_service_may_do_little_besides_its_work() {
    for unit in units("service") {
        let threshold = format!("--threshold={EXPOSURE_MAX}");
        let path = unit.display().to_string();
        let (is_within, said) = analyze(&[
            "security",
            "--offline=true",
            "--no-pager",
            &threshold,
            &path,
        ]);
        assert!(is_within, "{path}: {said}");
    }
}
