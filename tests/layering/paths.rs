//! The paths that a piece of Rust names: those of its `use` items and those in its code, inside of
//! macros, too. Comments, strings and what is compiled for tests alone are left out. Knows no file
//! and no rule.

use std::collections::BTreeSet;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What a file says.
#[derive(Debug, Default)]
pub struct Contents {
    /// What `use` items bring in.
    pub imports: Vec<Import>,
    /// Paths of at least two segments elsewhere in the code.
    pub paths: Vec<Vec<String>>,
    /// Names that stand alone in the code; a macro's with its `!`.
    pub names: BTreeSet<String>,
    /// Modules in this file.
    pub inline_modules: BTreeSet<String>,
    /// Modules in files of their own, and whether they are compiled for tests alone.
    pub modules: Vec<(String, bool)>,
}

/// One leaf of a `use` item.
#[derive(Debug)]
pub struct Import {
    /// The last segment is `*` for a glob.
    pub path: Vec<String>,
    /// The name that it has in the file.
    pub name: String,
    /// Whether others can name it by this file (`pub use`).
    pub is_exported: bool,
}

/// Reads a file.
pub fn read(text: &str) -> Contents {
    let mut contents = Contents::default();
    let tokens: TokenStream = text.parse().expect("the file is Rust");
    contents.read(tokens, &[]);
    contents
}

impl Contents {
    /// Reads tokens in the inline modules `inside`.
    fn read(&mut self, tokens: TokenStream, inside: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        let mut is_for_tests = false;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Punct(punct)
                    if punct.as_char() == '#' && is_test_attribute(&tokens, at) =>
                {
                    is_for_tests = true;
                    at + 2
                }
                // Other attributes of the same item.
                TokenTree::Punct(punct) if punct.as_char() == '#' && is_for_tests => at + 2,
                TokenTree::Ident(ident) if ident == "mod" && is_punct(&tokens, at + 2, ';') => {
                    self.modules
                        .push((tokens[at + 1].to_string(), is_for_tests));
                    is_for_tests = false;
                    at + 3
                }
                TokenTree::Ident(ident) if is_for_tests && ident == "pub" => at + 1,
                _ if is_for_tests => {
                    is_for_tests = false;
                    end_of_item(&tokens, at)
                }
                TokenTree::Ident(ident) if ident == "mod" && braces(&tokens, at + 2).is_some() => {
                    self.inline_modules.insert(tokens[at + 1].to_string());
                    let inside = [inside, &[tokens[at + 1].to_string()]].concat();
                    self.read(braces(&tokens, at + 2).unwrap().stream(), &inside);
                    at + 3
                }
                // Not `use<'a>`, which names what a type captures.
                TokenTree::Ident(ident) if ident == "use" && !is_punct(&tokens, at + 1, '<') => {
                    let is_exported = is_public(&tokens[..at]);
                    let end = semicolon(&tokens, at);
                    self.read_use(&tokens[at + 1..end], inside, &[], is_exported);
                    end + 1
                }
                TokenTree::Ident(_) => self.read_path(&tokens, at, inside),
                TokenTree::Group(group) => {
                    self.read(group.stream(), inside);
                    at + 1
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
            };
        }
    }

    /// Reads a `use` tree, which stands after `prefix`.
    fn read_use(
        &mut self,
        tokens: &[TokenTree],
        inside: &[String],
        prefix: &[String],
        is_exported: bool,
    ) {
        let mut path = prefix.to_vec();
        let mut name = None;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    name = Some(tokens[at + 1].to_string());
                    break;
                }
                TokenTree::Ident(ident) if ident == "self" && !path.is_empty() => {}
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
                TokenTree::Group(group) => {
                    let leaves: Vec<TokenTree> = group.stream().into_iter().collect();
                    for leaf in leaves.split(
                        |token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','),
                    ) {
                        if !leaf.is_empty() {
                            self.read_use(leaf, inside, &path, is_exported);
                        }
                    }
                    return;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        let name = name.unwrap_or_else(|| path.last().cloned().unwrap_or_default());
        self.imports.push(Import {
            path: from_file(path, inside),
            name,
            is_exported,
        });
    }

    /// Reads the path that begins at a name; returns where the tokens go on.
    fn read_path(&mut self, tokens: &[TokenTree], start: usize, inside: &[String]) -> usize {
        let mut path = vec![tokens[start].to_string()];
        let mut at = start + 1;
        while is_colons(tokens, at) {
            let Some(TokenTree::Ident(ident)) = tokens.get(at + 2) else {
                break;
            };
            path.push(ident.to_string());
            at += 3;
        }
        if path.len() > 1 {
            self.paths.push(from_file(path, inside));
        } else if is_punct(tokens, at, '!') {
            self.names.insert(format!("{}!", path[0]));
        } else {
            self.names.insert(path.remove(0));
        }
        at
    }
}

/// A path as it would stand outside of the inline modules that it stands in.
fn from_file(mut path: Vec<String>, inside: &[String]) -> Vec<String> {
    let up = path.iter().take_while(|name| *name == "super").count();
    if up > inside.len() {
        path.drain(..inside.len());
    } else if up > 0 {
        let outer = [&["self".to_owned()], &inside[..inside.len() - up]].concat();
        path.splice(..up, outer);
    }
    path
}

/// Whether an attribute says that an item is compiled for tests alone, or for a fuzzer, too.
fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at + 1), Some(TokenTree::Group(group))
        if group.delimiter() == Delimiter::Bracket
            && ["cfg(test)", "cfg(any(test,fuzzing))"]
                .contains(&&*group.stream().to_string().replace(' ', "")))
}

/// Whether the tokens before an item make it public, be it in the crate alone.
fn is_public(before: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Ident(public)] => public == "pub",
        [.., TokenTree::Ident(public), TokenTree::Group(group)] => {
            public == "pub" && group.delimiter() == Delimiter::Parenthesis
        }
        _ => false,
    }
}

/// Where the tokens go on after an item.
fn end_of_item(tokens: &[TokenTree], start: usize) -> usize {
    let is_use = matches!(&tokens[start], TokenTree::Ident(ident) if ident == "use");
    (start..tokens.len())
        .find(|&at| is_punct(tokens, at, ';') || !is_use && braces(tokens, at).is_some())
        .map_or(tokens.len(), |at| at + 1)
}

fn semicolon(tokens: &[TokenTree], start: usize) -> usize {
    (start..tokens.len())
        .find(|&at| is_punct(tokens, at, ';'))
        .expect("a semicolon ends the item")
}

fn braces(tokens: &[TokenTree], at: usize) -> Option<&Group> {
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => Some(group),
        _ => None,
    }
}

fn is_punct(tokens: &[TokenTree], at: usize, character: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == character)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens, at, ':') && is_punct(tokens, at + 1, ':')
}
