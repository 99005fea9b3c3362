//! The source files, and the rules each of them follows by itself.
//!
//! A file opens with a `//!` that says what it is and why; it has one subject, so it stays short; `unsafe` has one home.

use anyhow::{Context, Result, anyhow};
use proc_macro2::{TokenStream, TokenTree};
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// Folders whose `.rs` files are the project's sources.
const FOLDERS: [&str; 6] = ["src", "tests", "benches", "examples", "xtask/src", "xtask/peers/src"];

/// Lines a file may have before it should be two.
const MAX_LINES: usize = 400;

/// The only files with `unsafe`: the front of matrixmultiply, the test whose counting allocator is one by nature, and the
/// front of the gemm crate among the peers.
const UNSAFE_FILES: [&str; 3] = ["src/gemm.rs", "tests/allocation.rs", "xtask/peers/src/bin/im2col_gemm/product.rs"];

/// A source file.
pub struct Source {
    /// Path from the repository, with `/` between its parts.
    pub path: String,
    pub text: String,
}

impl Source {
    /// The code without its comments; doc comments become attributes.
    pub fn tokens(&self) -> Result<TokenStream> {
        TokenStream::from_str(&self.text).map_err(|e| anyhow!("{}: cannot be read as Rust: {e}", self.path))
    }
}

/// A rule that a line of a file breaks, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All sources of the repository, by path.
pub fn read_all(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for folder in FOLDERS.into_iter().filter(|folder| root.join(folder).is_dir()) {
        read_folder(root, folder, &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(root: &Path, folder: &str, sources: &mut Vec<Source>) -> Result<()> {
    let reading = |path: &str| format!("cannot read {path}");
    for entry in fs::read_dir(root.join(folder)).with_context(|| reading(folder))? {
        let entry = entry.with_context(|| reading(folder))?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read_folder(root, &path, sources)?;
        } else if path.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).with_context(|| reading(&path))?;
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

/// Where files break the rules of this module.
pub fn violations(sources: &[Source]) -> Result<Vec<Violation>> {
    let mut found = Vec::new();
    for source in sources {
        let mut add = |line, message| found.push(Violation { path: source.path.clone(), line, message });
        if !source.text.starts_with("//!") {
            add(1, "the file does not open with `//!`: say what it is and why it is so".to_owned());
        }
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            add(
                lines,
                format!("the file has {lines} lines, at most {MAX_LINES} are read with ease: split its subject"),
            );
        }
        if !UNSAFE_FILES.contains(&source.path.as_str()) {
            for line in lines_with_unsafe(source.tokens()?) {
                add(line, format!("`unsafe` outside {}: build on its safe front", UNSAFE_FILES[0]));
            }
        }
    }
    Ok(found)
}

fn lines_with_unsafe(tokens: TokenStream) -> Vec<usize> {
    let mut lines = Vec::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => lines.extend(lines_with_unsafe(group.stream())),
            TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<(usize, String)> {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        violations(&[source]).expect("the text is Rust").into_iter().map(|v| (v.line, v.message)).collect()
    }

    #[test]
    fn finds_a_file_without_an_opening() {
        assert_eq!(check("src/a.rs", "//! What it is.\nfn a() {}\n"), []);
        for text in ["", "fn a() {}\n", "// What it is.\n", "/// What it is.\nfn a() {}\n", "\n//! What it is.\n"] {
            let found = check("src/a.rs", text);
            assert!(matches!(&found[..], [(1, message)] if message.contains("open with")), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn finds_a_file_that_is_too_long() {
        let of_lines = |n: usize| format!("//! Long.\n{}", "// line\n".repeat(n - 1));
        assert_eq!(check("src/a.rs", &of_lines(400)), []);
        let found = check("src/a.rs", &of_lines(401));
        assert!(matches!(&found[..], [(401, message)] if message.contains("401 lines")), "{found:?}");
    }

    #[test]
    fn finds_unsafe_in_code_only() {
        let code =
            "//! About unsafe.\n#![deny(unsafe_code)]\n// unsafe\nconst A: &str = \"unsafe\";\nfn unsafely() {}\n";
        assert_eq!(check("src/a.rs", code), []);
        let code = "//! A.\nfn a(p: *const u8) -> u8 {\n    // why\n    unsafe { *p }\n}\nunsafe fn b() {}\n";
        assert_eq!(check("src/gemm.rs", code), []);
        assert_eq!(check("tests/allocation.rs", code), []);
        let lines: Vec<usize> = check("src/a.rs", code).into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [4, 6]);
    }

    #[test]
    fn a_violation_points_to_its_line() {
        let violation = Violation { path: "src/a.rs".to_owned(), line: 3, message: "wrong: right".to_owned() };
        assert_eq!(violation.to_string(), "src/a.rs:3: wrong: right");
    }
}
