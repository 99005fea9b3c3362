//! The command line as a user meets it: files in, files out, lines and exit codes. Needs `--features cli`.
//!
//! One module a subject; here is what they share, and what concerns the program as a whole.

#![cfg(feature = "cli")]

mod bench;
mod choose;
mod gradient;
mod npy;
mod shapes;
mod verify;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder that vanishes with the test, and the program run in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program; arguments are separated by blanks.
    fn convgrad(&self, arguments: &str) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_convgrad"));
        command.current_dir(self.0.path()).args(arguments.split_whitespace()).stdin(Stdio::null());
        command
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn assert_success(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

/// Exit code 2, and one line on stderr that holds all of `words`.
fn assert_refused(output: &Output, words: &[&str]) {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("convgrad: "), "{line}");
    for word in words {
        assert!(line.contains(word), "no `{word}` in {line}");
    }
}

/// The backends there are, in the registry's order.
fn backends() -> Vec<&'static str> {
    convgrad::backends::<f32>().iter().map(|backend| backend.name()).collect()
}

#[test]
fn backends_are_described() {
    let output = Folder::new().convgrad("backends");
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(convgrad::Isa::best().name()), "{text}");
    for backend in convgrad::backends::<f32>() {
        assert!(text.contains(&format!("{}: {}", backend.name(), backend.description())), "{text}");
    }
    let limited = text.matches("weight gradient  not every shape: ").count();
    assert_eq!(text.matches("weight gradient  yes").count() + limited, backends().len(), "{text}");
}

#[test]
fn help_is_no_failure() {
    let of_commands = ["gradient --help", "verify -h", "bench --help", "demo --help", "sets --help"];
    for arguments in ["--help", "help", "--version"].into_iter().chain(of_commands) {
        let output = Folder::new().convgrad(arguments);
        assert_success(&output);
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_reader_that_hangs_up_is_no_failure() {
    let folder = Folder::new();
    let bench = "bench ic1ih5oc1kh2 --csv --min-time 0.001";
    for arguments in ["backends", "sets", "sets deepbench", bench, "verify ic1ih5oc1kh2", "--help"] {
        let mut child = folder.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments}: {output:?}");
    }
}
