//! `cargo xtask check`: the steps a change must pass, the quick ones first.

use crate::{layering, source};
use std::path::Path;
use std::process::{Command, ExitCode};

enum Action {
    /// Rules on the source files that no tool of cargo knows.
    Sources,
    /// Arguments of cargo, and one environment variable.
    Cargo(&'static [&'static str], Option<(&'static str, &'static str)>),
}

const STEPS: &[(&str, Action)] = &[
    ("format", Action::Cargo(&["fmt", "--all", "--check"], None)),
    ("sources", Action::Sources),
    (
        "clippy",
        Action::Cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"], None),
    ),
    ("docs", Action::Cargo(&["doc", "--no-deps", "--all-features"], Some(("RUSTDOCFLAGS", "-D warnings")))),
    // Under `cargo test` a criterion bench runs each benchmark once, from what the tests have built already.
    (
        "benches, once",
        Action::Cargo(
            &["test", "--workspace", "--all-features", "--bench", "*", "--", "--quiet"],
            Some(("CONVGRAD_BENCH_SET", "tiny")),
        ),
    ),
];

/// Runs the steps in order and stops at the first that fails.
pub fn run(root: &Path) -> ExitCode {
    for (name, action) in STEPS {
        println!("== {name}");
        let outcome = match action {
            Action::Sources => sources(root),
            Action::Cargo(arguments, variable) => cargo(root, arguments, *variable),
        };
        if let Err(message) = outcome {
            eprintln!("{message}\n== failed: {name}");
            return ExitCode::FAILURE;
        }
    }
    println!("== all {} steps passed", STEPS.len());
    ExitCode::SUCCESS
}

fn cargo(root: &Path, arguments: &[&str], variable: Option<(&str, &str)>) -> Result<(), String> {
    let command = format!("cargo {}", arguments.join(" "));
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program).args(arguments).envs(variable).current_dir(root).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{command}` ended with {status}")),
        Err(error) => Err(format!("cannot start `{command}`: {error}")),
    }
}

fn sources(root: &Path) -> Result<(), String> {
    let files = source::read_all(root)?;
    let mut violations = source::violations(&files)?;
    violations.extend(layering::violations(&files)?);
    if violations.is_empty() {
        println!("{} files follow the rules", files.len());
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(source::Violation::to_string).collect();
    Err(lines.join("\n"))
}
