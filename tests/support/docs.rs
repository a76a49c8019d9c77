//! What the pages in `docs/` show, so that tests run just that.

use std::fs;
use std::path::Path;

/// The part of a page of `docs/` from one heading to the next of the same rank.
pub fn section(page: &str, heading: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(page);
    let page = fs::read_to_string(page).unwrap();
    let section = page.split(&format!("\n## {heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("no heading {heading}"));
    section.split("\n## ").next().unwrap().to_owned()
}

/// The blocks of a language in it.
pub fn blocks(section: &str, language: &str) -> Vec<String> {
    let start = format!("\n```{language}\n");
    let parts = section.split(&start).skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}
