//! The tables of docs/architecture.md: which rooms there are and what each may name. Knows no source
//! file.

use std::collections::BTreeSet;

/// One row of a table: its cells, without the ticks around names.
type Row = Vec<String>;

/// A room as the table has it.
pub struct Room {
    pub name: String,
    /// What it may not do: see `main.rs`.
    pub kind: String,
    /// The rooms that it names.
    pub names: BTreeSet<String>,
}

/// A library that not every room may name.
pub struct Library {
    pub name: String,
    /// Rooms, or single files such as `source/amqp.rs`; none where every room may.
    pub users: Option<BTreeSet<String>>,
}

/// The rooms in the order of the table.
pub fn rooms() -> Vec<Room> {
    let rows = rows("| room | kind |").into_iter();
    rows.map(|row| Room {
        name: row[0].clone(),
        kind: row[1].clone(),
        names: list(&row[3]),
    })
    .collect()
}

/// The libraries, one for each name of a row's first cell.
pub fn libraries() -> Vec<Library> {
    let mut libraries = Vec::new();
    for row in rows("| library | named by |") {
        let users = (row[1] != "every room").then(|| list(&row[1]));
        libraries.extend(list(&row[0]).into_iter().map(|name| Library {
            name,
            users: users.clone(),
        }));
    }
    libraries
}

/// The rows of the table whose header begins so.
fn rows(header: &str) -> Vec<Row> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/architecture.md");
    let page = std::fs::read_to_string(page).unwrap();
    let lines = page.lines().skip_while(|line| !line.starts_with(header));
    let rows: Vec<Row> = lines
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().replace('`', "")).collect()
        })
        .collect();
    assert!(
        !rows.is_empty(),
        "docs/architecture.md has no table {header}"
    );
    rows
}

fn list(cell: &str) -> BTreeSet<String> {
    let names = cell.split(", ").filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}
