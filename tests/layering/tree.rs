//! The crate's files as the compiler reaches them, from `src/lib.rs` and `src/main.rs`, and what
//! each of them names. Knows no rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::paths::{self, Contents};

/// A module that has a file of its own, with its path in the crate: `["source", "sink"]`.
pub type Module = Vec<String>;

/// All modules of the crate that are not compiled for tests alone.
pub struct Tree {
    files: BTreeMap<Module, Contents>,
    /// The files that some `mod` line leads to, those for tests included, below `src`.
    reached: BTreeSet<PathBuf>,
}

/// A name that a module uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// An item of this module of the crate.
    Inside(Module),
    /// The crate as a whole, or all of its rooms: `use crate::*`.
    Crate,
    /// A path into another crate.
    Outside(Vec<String>),
}

pub fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

impl Tree {
    /// Reads the library and the program, which is the module `main`.
    pub fn read() -> Self {
        let mut tree = Self {
            files: BTreeMap::new(),
            reached: BTreeSet::new(),
        };
        tree.add("lib.rs".into(), vec![]);
        tree.add("main.rs".into(), vec!["main".to_owned()]);
        tree
    }

    fn add(&mut self, file: PathBuf, module: Module) {
        let text = fs::read_to_string(source_folder().join(&file)).unwrap();
        let contents = paths::read(&text);
        self.reached.insert(file.clone());
        let is_alone =
            file.file_name().unwrap() != "mod.rs" && file.parent() != Some(Path::new(""));
        for (name, is_for_tests) in &contents.modules {
            let folder = file.parent().unwrap();
            let folder = if is_alone {
                folder.join(file.file_stem().unwrap())
            } else {
                folder.to_owned()
            };
            let single = folder.join(format!("{name}.rs"));
            let child = if source_folder().join(&single).exists() {
                single
            } else {
                folder.join(name).join("mod.rs")
            };
            if *is_for_tests {
                self.reach(child);
            } else {
                self.add(child, [&module[..], std::slice::from_ref(name)].concat());
            }
        }
        self.files.insert(module, contents);
    }

    /// Reaches a module that is compiled for tests alone, and the files of its folder.
    fn reach(&mut self, file: PathBuf) {
        if file.file_name() == Some("mod.rs".as_ref()) {
            let text = fs::read_to_string(source_folder().join(&file)).unwrap();
            for (name, _) in paths::read(&text).modules {
                self.reached
                    .insert(file.with_file_name(format!("{name}.rs")));
            }
        }
        self.reached.insert(file);
    }

    /// Files below `src` that no `mod` line leads to.
    pub fn dead_files(&self) -> Vec<PathBuf> {
        let mut dead = all_files(&source_folder());
        dead.retain(|file| {
            !self
                .reached
                .contains(file.strip_prefix(source_folder()).unwrap())
        });
        dead
    }

    /// The rooms: what lib.rs declares for more than tests, and the program.
    pub fn rooms(&self) -> BTreeSet<String> {
        let modules = self.files[&vec![]].modules.iter();
        let rooms = modules.filter(|(_, is_for_tests)| !is_for_tests);
        let rooms = rooms.map(|(name, _)| name.clone());
        rooms.chain(["main".to_owned()]).collect()
    }

    /// The modules of a room.
    pub fn modules_of(&self, room: &str) -> impl Iterator<Item = &Module> {
        self.files
            .keys()
            .filter(move |module| module.first().is_some_and(|first| first == room))
    }

    pub fn modules(&self) -> impl Iterator<Item = &Module> {
        self.files.keys()
    }

    /// All names that a module uses. What it only hands on from its own room (`pub use`) is none.
    pub fn names(&self, module: &Module) -> BTreeSet<Name> {
        let contents = &self.files[module];
        let imports = contents.imports.iter().filter_map(|import| {
            let name = self.resolve(module, &import.path);
            let is_own = matches!(&name, Name::Inside(target) if target.first() == module.first());
            let is_handed_on = import.is_exported && !contents.names.contains(&import.name);
            (!(is_own && is_handed_on)).then_some(name)
        });
        let paths = contents.paths.iter().map(|path| self.resolve(module, path));
        let macros = contents.names.iter().filter(|name| name.ends_with('!'));
        let macros = macros.map(|name| Name::Outside(vec![name.clone()]));
        imports.chain(paths).chain(macros).collect()
    }

    /// What a path leads to that stands in a module.
    fn resolve(&self, module: &Module, path: &[String]) -> Name {
        let mut from = module.clone();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => (from, rest) = (vec![], &path[1..]),
            Some("bugzfeed") if module.first().is_some_and(|room| room == "main") => {
                (from, rest) = (vec![], &path[1..]);
            }
            Some("self") => rest = &path[1..],
            Some(first) if self.files[module].inline_modules.contains(first) => {}
            Some("super") => {
                while rest.first().is_some_and(|name| name == "super") {
                    from.pop().expect("a path stays in the crate");
                    rest = &rest[1..];
                }
            }
            Some(first) if !self.has_child(module, first) => {
                // A name that the file brings in, or another crate.
                return match self.import(module, first) {
                    Some(import) if import != path => {
                        self.resolve(module, &[import, &path[1..]].concat())
                    }
                    _ => Name::Outside(path.to_vec()),
                };
            }
            _ => {}
        }
        self.descend(from, rest)
    }

    /// What the rest of a path leads to, from a module on.
    fn descend(&self, mut from: Module, rest: &[String]) -> Name {
        for (at, name) in rest.iter().enumerate() {
            if self.has_child(&from, name) {
                from.push(name.clone());
            } else if let Some(import) = self.import(&from, name).map(<[String]>::to_vec) {
                return self.resolve(&from, &[&import, &rest[at + 1..]].concat());
            } else {
                break;
            }
        }
        if from.is_empty() {
            return Name::Crate;
        }
        Name::Inside(from)
    }

    fn has_child(&self, module: &Module, name: &str) -> bool {
        let contents = self.files.get(module);
        contents.is_some_and(|contents| contents.modules.iter().any(|(child, _)| child == name))
    }

    fn import(&self, module: &Module, name: &str) -> Option<&[String]> {
        let imports = &self.files.get(module)?.imports;
        let import = imports.iter().find(|import| import.name == name)?;
        Some(&import.path)
    }
}

/// All Rust files below a folder.
pub fn all_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                all_files(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
