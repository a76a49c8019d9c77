//! The layers of docs/architecture.md: what its tables do not allow is forbidden. A room names only
//! the rooms that its row lists, all of which stand above it, and only the rooms that a library's
//! row lists name the library.

mod paths;
mod table;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use tree::{Module, Name, Tree};

/// What a room without I/O does not name: the machine, the clock, and the log.
const IMPURE: [&str; 14] = [
    "std::net",
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::*",
    "std::*",
    "log",
    "print!",
    "println!",
    "eprintln!",
];

/// The end of the longest file that still reads as one paragraph.
const LINES_MAX: usize = 500;

#[test]
fn the_table_has_each_room_once() {
    let rooms = table::rooms();
    let named: BTreeSet<String> = rooms.iter().map(|room| room.name.clone()).collect();
    assert_eq!(named.len(), rooms.len(), "a room has two rows");
    assert_eq!(named, Tree::read().rooms());
}

#[test]
fn a_room_stands_below_all_rooms_that_it_names() {
    let mut above = BTreeSet::new();
    for room in table::rooms() {
        let unknown: Vec<_> = room.names.difference(&above).collect();
        assert!(unknown.is_empty(), "{} stands above {unknown:?}", room.name);
        above.insert(room.name);
    }
}

#[test]
fn a_room_names_the_rooms_of_its_row_and_no_others() {
    let tree = Tree::read();
    for room in table::rooms() {
        let mut named = BTreeSet::new();
        for module in tree.modules_of(&room.name) {
            let file = module.join("::");
            for name in tree.names(module) {
                match name {
                    Name::Crate => panic!("{file} names the crate as a whole"),
                    Name::Inside(target) if target[0] != room.name => {
                        assert!(
                            room.names.contains(&target[0]),
                            "{file} names {}",
                            target[0]
                        );
                        named.insert(target[0].clone());
                    }
                    Name::Inside(_) | Name::Outside(_) => {}
                }
            }
        }
        assert_eq!(
            named, room.names,
            "{} names less than its row lists",
            room.name
        );
    }
}

#[test]
fn the_front_page_names_no_room() {
    let names = Tree::read().names(&vec![]);
    assert!(names.is_empty(), "lib.rs names {names:?}");
}

/// A file may name the `mod.rs` of the folder that it lies in, of whose type it implements a part.
#[test]
fn within_a_room_no_file_names_a_file_that_names_it() {
    let tree = Tree::read();
    let mut edges: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for module in tree.modules() {
        let targets = tree
            .names(module)
            .into_iter()
            .filter_map(|name| match name {
                Name::Inside(target) if !module.starts_with(&target) => Some(target),
                Name::Inside(_) | Name::Crate | Name::Outside(_) => None,
            });
        edges.insert(module, targets.collect());
    }
    for start in tree.modules() {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&Module> = edges[start].iter().collect();
        while let Some(module) = next.pop() {
            assert_ne!(
                module,
                start,
                "{} is in a circle: {seen:?}",
                start.join("::")
            );
            if seen.insert(module) {
                next.extend(&edges[module]);
            }
        }
    }
}

#[test]
fn a_mod_line_leads_to_each_file() {
    let dead = Tree::read().dead_files();
    assert!(dead.is_empty(), "no mod line leads to {dead:?}");
}

#[test]
fn a_library_is_named_where_its_row_allows_and_nowhere_else() {
    let tree = Tree::read();
    let libraries = table::libraries();
    let rows: BTreeSet<&str> = libraries.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(rows.len(), libraries.len(), "a library has two rows");
    for dependency in dependencies() {
        assert!(
            rows.contains(dependency.as_str()),
            "{dependency} has no row"
        );
    }
    for library in &libraries {
        let Some(users) = &library.users else {
            continue;
        };
        let mut seen = BTreeSet::new();
        for module in tree.modules() {
            let is_named = tree
                .names(module)
                .iter()
                .any(|name| matches!(name, Name::Outside(path) if path[0] == library.name));
            if is_named {
                let user = users.iter().find(|user| is_part_of(module, user));
                let user =
                    user.unwrap_or_else(|| panic!("{} names {}", module.join("::"), library.name));
                seen.insert(user.clone());
            }
        }
        assert_eq!(
            seen, *users,
            "less than its row lists names {}",
            library.name
        );
    }
}

/// The libraries of Cargo.toml, as the code spells them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| !name.starts_with('#'))
        .map(|(name, _)| name.replace('-', "_"))
        .collect()
}

/// Whether a module lies in a room, or is the file that is meant.
fn is_part_of(module: &Module, user: &str) -> bool {
    match user.strip_suffix(".rs") {
        Some(file) => module.join("/") == file,
        None => module.first().is_some_and(|room| room == user),
    }
}

#[test]
fn a_room_without_io_names_neither_the_machine_nor_the_clock_nor_the_log() {
    let tree = Tree::read();
    let mut pure = 0;
    for room in table::rooms() {
        let may_log = match room.kind.as_str() {
            "pure" => false,
            "passive" => true,
            "" => continue,
            other => panic!("{} is of no known kind: {other}", room.name),
        };
        pure += 1;
        for module in tree.modules_of(&room.name) {
            for name in tree.names(module) {
                let Name::Outside(path) = name else {
                    continue;
                };
                let is_impure = |word: &&str| {
                    let word: Vec<&str> = word.split("::").collect();
                    path.iter().zip(&word).filter(|(a, b)| a == b).count() == word.len()
                };
                let impure = IMPURE.iter().copied().find(is_impure);
                let impure = impure.filter(|word| !(may_log && *word == "log"));
                assert_eq!(impure, None, "{} is {}", module.join("::"), room.kind);
            }
        }
    }
    assert!(pure > 0);
}

#[test]
fn a_file_is_a_paragraph() {
    for path in tree::all_files(&tree::source_folder()) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

mod reading {
    use super::paths;

    /// All paths of a text.
    fn paths_of(text: &str) -> Vec<String> {
        let contents = paths::read(text);
        let imports = contents.imports.into_iter().map(|import| import.path);
        let paths = imports.chain(contents.paths);
        paths.map(|path| path.join("::")).collect()
    }

    #[test]
    fn a_path_is_seen_in_every_form_that_rust_has() {
        for (text, seen) in [
            ("use crate::reactor as _;", "crate::reactor"),
            (
                "use {crate::a::{self, b::*}, super::c};",
                "crate::a crate::a::b::* super::c",
            ),
            ("pub(crate) use crate::a::B as C;", "crate::a::B"),
            (
                "fn f() -> super::super::X { crate::a::b() }",
                "super::super::X crate::a::b",
            ),
            (
                "fn f() { let _ = <u8 as crate::a::B>::new(); }",
                "crate::a::B",
            ),
            ("fn f() { println!(\"{}\", crate::a::B); }", "crate::a::B"),
            ("macro_rules! m { () => { $crate::a::b() } }", "crate::a::b"),
            (
                "#[serde(with = \"x\")] struct S(::mio::Token);",
                "mio::Token",
            ),
            (
                "mod m { use super::super::a; use super::b; }",
                "super::a self::b",
            ),
            (
                "fn f<'a>(x: &'a str) -> impl Sized + use<'a> { a::b(x) }",
                "a::b",
            ),
        ] {
            assert_eq!(paths_of(text).join(" "), seen, "{text}");
        }
    }

    #[test]
    fn comments_strings_and_tests_name_nothing() {
        let text = "//! crate::a::b\n/* use crate::a; */ const S: &str = \"crate::a::b\";\n\
                    #[cfg(test)] use crate::a::{b, c};\n\
                    #[cfg(test)] #[allow(x)] mod tests { use crate::a; }\n\
                    #[cfg(test)] pub(crate) fn f() -> crate::a::B { crate::a::b() }\n\
                    #[cfg(test)] mod apart;\n fn g() {}";
        assert_eq!(paths_of(text), Vec::<String>::new());
        assert_eq!(paths::read(text).modules, [("apart".to_owned(), true)]);
    }
}
