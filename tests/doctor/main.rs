//! `bugzfeed doctor` before broken set-ups: each must be found, with a line that mends it.

#[path = "../support/mod.rs"]
mod support;

mod broker;
mod database;
mod feed;
mod files;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// What the doctor has found.
pub struct Findings {
    code: Option<i32>,
    all: Vec<Value>,
}

/// Asks the doctor in a folder.
pub fn doctor(folder: &Path, arguments: &[&str]) -> Findings {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bugzfeed"));
    command.args(["doctor", "--json"]).args(arguments);
    findings(command.current_dir(folder).output().unwrap())
}

/// What is in the doctor's answer.
pub fn findings(output: Output) -> Findings {
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    Findings {
        code: output.status.code(),
        all: report["findings"].as_array().unwrap().clone(),
    }
}

impl Findings {
    fn broken(&self) -> Vec<&Value> {
        let all = self.all.iter();
        all.filter(|finding| finding["state"] == "mend").collect()
    }

    /// Expects that this must be mended, and by such a line.
    pub fn expect(&self, check: &str, text: &str, line: &str) {
        let found = self.broken().into_iter().any(|finding| {
            let has = |key: &str, part: &str| {
                finding[key]
                    .as_str()
                    .is_some_and(|value| value.contains(part))
            };
            finding["check"] == check && has("text", text) && has("mend", line)
        });
        assert!(found, "{check}, {text}, {line}: {:#?}", self.all);
        assert_eq!(self.code, Some(1));
    }

    /// Expects that this is well.
    pub fn expect_ok(&self, check: &str) {
        let mut all = self.all.iter();
        let is_ok = |finding: &Value| finding["check"] == check && finding["state"] == "ok";
        assert!(all.any(is_ok), "{check}: {:#?}", self.all);
        assert!(
            !self
                .broken()
                .iter()
                .any(|finding| finding["check"] == check),
            "{check}: {:#?}",
            self.all
        );
    }

    /// Expects that nothing must be mended.
    pub fn expect_well(&self) {
        assert_eq!((self.broken(), self.code), (Vec::new(), Some(0)));
    }
}
