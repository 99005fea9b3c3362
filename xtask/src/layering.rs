//! The order of the rooms: a file of the library imports only from rooms above its own in the list.
//!
//! The compiler allows modules to import each other in circles; this check does not, so that each room can be read
//! knowing only those above it. It reads every path that begins with `crate`, `super`, `self` or a child module, in
//! `use` items and expressions alike. The front door `src/lib.rs` is free, and `src/bin` is a crate of its own that sees
//! the public interface only.

use crate::source::{Source, Violation};
use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::iter::Peekable;
use std::vec::IntoIter;

/// The rooms from the ground up; those of one line may import each other. `name::*` stands for the files of a folder,
/// each a room of its own that imports none of the others.
pub const ROOMS: &[&[&str]] = &[
    &["op"],
    &["error"],
    &["shape"],
    &["tensor"],
    &["simd"],
    &["gemm"],
    &["element"],
    &["partition"],
    &["problem"],
    &["correlation"],
    &["backward"],
    &["bias"],
    &["write"],
    &["cost"],
    &["backend"],
    &["backend::*"],
    &["registry"],
    &["train"],
    &["catalog"],
    &["measure"],
    &["auto"],
    &["verify"],
];

/// A module's path from the crate's root; empty for the root itself.
type Module = Vec<String>;

/// A line of [`ROOMS`], and the room in it.
#[derive(PartialEq, Eq)]
struct Room {
    line: usize,
    name: String,
}

impl Room {
    fn of(module: &[String]) -> Option<Room> {
        let (first, folder) = match module {
            [] => return None,
            [first] => (first, None),
            [first, second, ..] => (first, Some((format!("{first}::*"), format!("{first}::{second}")))),
        };
        let line_of = |name: &str| ROOMS.iter().position(|line| line.contains(&name));
        folder
            .and_then(|(pattern, name)| line_of(&pattern).map(|line| Room { line, name }))
            .or_else(|| line_of(first).map(|line| Room { line, name: first.clone() }))
    }

    fn may_import(&self, other: &Room) -> bool {
        let independent = ROOMS[self.line].iter().any(|name| name.ends_with("::*"));
        other.line < self.line || self == other || (self.line == other.line && !independent)
    }
}

/// Where imports go against the order.
pub fn violations(sources: &[Source]) -> Result<Vec<Violation>> {
    let library = || sources.iter().filter_map(|source| Some((source, module_of(&source.path)?)));
    let modules: BTreeSet<Module> = library().map(|(_, module)| module).collect();
    let mut found = Vec::new();
    for (source, module) in library() {
        let mut add = |line, message| found.push(Violation { path: source.path.clone(), line, message });
        let Some(room) = Room::of(&module) else {
            add(1, format!("the room `{}` has no place in the order: add it to ROOMS in xtask", module.join("::")));
            continue;
        };
        let mut imports = Imports { modules: &modules, found: Vec::new() };
        imports.read(source.tokens()?, &module);
        for (line, path) in imports.found {
            let target = (0..=path.len()).rev().map(|n| &path[..n]).find(|prefix| modules.contains(*prefix));
            let path = path.join("::");
            match target.and_then(Room::of) {
                Some(target) if room.may_import(&target) => {}
                Some(target) => add(
                    line,
                    format!("`{}` imports `{path}`, but `{}` is not above it in the order", room.name, target.name),
                ),
                None => add(line, format!("`crate::{path}` goes through the front door: import it from its own room")),
            }
        }
    }
    Ok(found)
}

/// The module a file of the library holds; `None` for the front door, the programs, and what is not in `src`.
fn module_of(path: &str) -> Option<Module> {
    let module = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let module = module.strip_suffix("/mod").unwrap_or(module);
    let parts: Module = module.split('/').map(str::to_owned).collect();
    (parts[0] != "bin" && parts[0] != "main" && parts[0] != "lib").then_some(parts)
}

/// The paths of a file that lead to this crate's modules, made absolute, each with its line.
struct Imports<'a> {
    modules: &'a BTreeSet<Module>,
    found: Vec<(usize, Module)>,
}

type Tokens = Peekable<IntoIter<TokenTree>>;

impl Imports<'_> {
    /// Reads code that stands in `module`, which is the file's own or one written inside it.
    fn read(&mut self, code: TokenStream, module: &[String]) {
        let mut tokens = code.into_iter().collect::<Vec<_>>().into_iter().peekable();
        // Colons just before the token: two of them continue a path, one is followed by a type or a value.
        let mut colons = 0;
        while let Some(token) = tokens.next() {
            let colons_before = std::mem::replace(&mut colons, 0);
            match token {
                TokenTree::Group(group) => self.read(group.stream(), module),
                TokenTree::Ident(ident) if ident == "mod" => self.read_module(&mut tokens, module),
                TokenTree::Ident(ident) if colons_before < 2 => {
                    let line = ident.span().start().line;
                    if let Some(start) = self.start(&ident.to_string(), module)
                        && separator(&mut tokens)
                    {
                        self.read_path(&mut tokens, start, line);
                    }
                }
                token if is_punct(&token, ':') => colons = colons_before + 1,
                _ => {}
            }
        }
    }

    /// Reads what follows `mod`: a declaration, or a module written here.
    fn read_module(&mut self, tokens: &mut Tokens, module: &[String]) {
        let Some(TokenTree::Ident(name)) = tokens.next() else { return };
        if let Some(TokenTree::Group(body)) = tokens.peek() {
            let inner: Module = module.iter().cloned().chain([name.to_string()]).collect();
            self.read(body.stream(), &inner);
            tokens.next();
        }
    }

    /// Where a path that begins with this word starts, if it leads to this crate's modules.
    fn start(&self, word: &str, module: &[String]) -> Option<Module> {
        match word {
            "crate" => Some(Module::new()),
            "self" => Some(module.to_vec()),
            "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
            child => {
                let child: Module = module.iter().cloned().chain([child.to_owned()]).collect();
                self.modules.contains(&child).then_some(child)
            }
        }
    }

    /// Reads on after a `::`, up to the end of the path or of all paths in its braces.
    fn read_path(&mut self, tokens: &mut Tokens, mut path: Module, line: usize) {
        match tokens.peek() {
            Some(TokenTree::Ident(ident)) => {
                let (name, line) = (ident.to_string(), ident.span().start().line);
                tokens.next();
                match name.as_str() {
                    "super" => drop(path.pop()),
                    "self" => {}
                    _ => path.push(name),
                }
                if separator(tokens) {
                    self.read_path(tokens, path, line);
                } else {
                    self.found.push((line, path));
                }
            }
            Some(TokenTree::Group(group)) => {
                let mut inner = group.stream().into_iter().collect::<Vec<_>>().into_iter().peekable();
                tokens.next();
                while inner.peek().is_some() {
                    self.read_path(&mut inner, path.clone(), line);
                    // `as name` and the comma.
                    while inner.next().is_some_and(|token| !is_punct(&token, ',')) {}
                }
            }
            // `*`, or `<` of generic arguments.
            _ => self.found.push((line, path)),
        }
    }
}

/// Takes a `::` from the tokens, if one comes next.
fn separator(tokens: &mut Tokens) -> bool {
    let found = tokens.next_if(|token| is_punct(token, ':')).is_some();
    // A single colon follows the name of a field or of a variable; a second one makes it a separator.
    found && tokens.next_if(|token| is_punct(token, ':')).is_some()
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Violations in a file of this path and text, in a library that has one file a room, as `line: message`.
    fn check(path: &str, text: &str) -> Vec<String> {
        let rooms = ROOMS.iter().flat_map(|line| line.iter()).filter(|name| !name.ends_with("::*"));
        let files = rooms.map(|name| format!("src/{name}.rs"));
        let backends = ["lib", "backend/naive", "backend/direct", "backend/direct/tile", "shape/text"];
        let mut sources: Vec<Source> = files
            .chain(backends.map(|name| format!("src/{name}.rs")))
            .filter(|other| other != path)
            .map(|path| Source { path, text: String::new() })
            .collect();
        sources.push(Source { path: path.to_owned(), text: text.to_owned() });
        let found = violations(&sources).expect("the text is Rust");
        found.into_iter().map(|v| format!("{}: {}", v.line, v.message)).collect()
    }

    #[test]
    fn imports_from_above_are_fine() {
        let code = "use crate::error::Error;\nuse crate::{shape::{Axis, ConvShape as Shape}, tensor::*};\n\
            fn f() -> crate::simd::Isa { crate::gemm::gemm::<f32>(a, b) }";
        assert_eq!(check("src/problem.rs", code), [""; 0]);
        assert_eq!(check("src/backend/naive.rs", "use super::{Backend, Cost};\nuse crate::partition::split;"), [""; 0]);
        assert_eq!(check("src/error.rs", "use crate::op::Op;"), [""; 0]);
        assert_eq!(check("src/shape/text.rs", "use super::Axis;\nuse crate::error::Error;"), [""; 0]);
    }

    #[test]
    fn a_room_may_import_from_itself() {
        assert_eq!(check("src/shape.rs", "mod text;\npub use text::NamedShape;\nuse self::text::read;"), [""; 0]);
        assert_eq!(check("src/backend/direct.rs", "mod tile;\nuse tile::Tile;"), [""; 0]);
        assert_eq!(check("src/backend/direct/tile.rs", "use super::Direct;\nuse super::super::Backend;"), [""; 0]);
        assert_eq!(check("src/tensor.rs", "mod tests { use super::*; fn f() { super::super::error::f() } }"), [""; 0]);
    }

    #[test]
    fn imports_from_below_are_found() {
        for (path, code) in [
            ("src/tensor.rs", "use crate::problem::Problem;"),
            ("src/tensor.rs", "use super::problem::Problem;"),
            ("src/tensor.rs", "use crate::{error::Error, problem};"),
            ("src/tensor.rs", "use {crate::problem::Problem as P, std::fmt};"),
            ("src/tensor.rs", "fn f(x: crate::problem::Problem) {}"),
            ("src/tensor.rs", "fn f() { if a { crate::problem::Problem::new() } }"),
            ("src/tensor.rs", "macro_rules! m { () => { $crate::problem::new() }; }"),
            ("src/tensor.rs", "mod tests { use super::super::problem; }"),
            ("src/tensor.rs", "mod tests { mod inner { use crate::problem::*; } }"),
            ("src/shape/text.rs", "use super::super::problem::Problem;"),
            ("src/error.rs", "use crate::problem;"),
        ] {
            let found = check(path, code);
            assert!(matches!(&found[..], [one] if one.contains("`problem` is not above it")), "{code}: {found:?}");
        }
    }

    #[test]
    fn backends_are_independent_and_unknown_to_what_is_above_them() {
        for (path, code) in [
            ("src/backend/direct.rs", "use crate::backend::naive::Naive;"),
            ("src/backend/direct.rs", "use super::naive::Naive;"),
            ("src/backend/direct/tile.rs", "use super::super::naive::Naive;"),
            ("src/backend.rs", "pub mod naive;\nuse naive::Naive;"),
            ("src/backend.rs", "pub mod naive;\nuse self::naive::Naive;"),
            ("src/problem.rs", "use crate::backend::{self, naive::Naive};"),
        ] {
            let found = check(path, code);
            assert!(found.iter().any(|one| one.contains("`backend::naive` is not above it")), "{code}: {found:?}");
        }
        assert_eq!(check("src/registry.rs", "use crate::backend::{self, naive::Naive};"), [""; 0]);
    }

    #[test]
    fn the_front_door_is_for_others() {
        let found = check("src/registry.rs", "//! Docs.\nuse crate::Error;");
        assert_eq!(found, ["2: `crate::Error` goes through the front door: import it from its own room"]);
        assert_eq!(check("src/lib.rs", "pub use registry::backends;\npub use crate::measure::x;"), [""; 0]);
        assert_eq!(check("src/bin/convgrad/main.rs", "use crate::table;\nuse convgrad::Error;"), [""; 0]);
        assert_eq!(check("tests/agreement.rs", "use crate::table;"), [""; 0]);
    }

    #[test]
    fn comments_and_look_alikes_are_not_imports() {
        let code = "//! [`crate::problem::Problem`]\n// use crate::problem;\nconst A: &str = \"crate::problem\";\n\
            pub(crate) fn f(self) { self.problem; other::problem::new(); problem: u8 }";
        assert_eq!(check("src/tensor.rs", code), [""; 0]);
    }

    #[test]
    fn a_file_without_a_place_is_found() {
        assert_eq!(check("src/fft.rs", "")[0], "1: the room `fft` has no place in the order: add it to ROOMS in xtask");
    }
}
