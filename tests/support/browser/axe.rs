//! Accessibility, as axe-core judges it.

use std::fs;

use serde_json::Value;

use super::Browser;

/// Fetched by tests/needs.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe-core/axe.min.js");

impl Browser {
    /// What axe-core finds wrong with the page as it is: a line for each rule that is broken.
    /// Its script is run by the browser itself, so that the page's policy does not matter.
    pub fn accessibility_faults(&mut self) -> Vec<String> {
        if self.evaluate("typeof axe") != "object" {
            let script = fs::read_to_string(AXE).expect("tests/needs has fetched axe-core");
            self.evaluate(&format!("{script}; null"));
        }
        let faults = self.evaluate(
            "axe.run().then(({ violations, passes }) => {
                if (passes.length === 0) throw new Error('nothing was looked at');
                return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ html }) => html).join(' ')}`);
            })",
        );
        let faults = faults.as_array().expect("a list of faults");
        let text = |fault: &Value| fault.as_str().unwrap_or_default().to_owned();
        faults.iter().map(text).collect()
    }
}
