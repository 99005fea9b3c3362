//! `cargo xtask check`: the steps a change must pass, the quick ones first.

use crate::{layering, process, source};
use anyhow::{Result, bail};
use std::path::Path;
use std::process::ExitCode;

enum Action {
    /// Rules on the source files that no tool of cargo knows.
    Sources,
    /// Arguments of cargo, and one environment variable.
    Cargo(&'static [&'static str], Option<(&'static str, &'static str)>),
}

const STEPS: &[(&str, Action)] = &[
    ("format", Action::Cargo(&["fmt", "--all", "--check"], None)),
    // No member of the workspace; formatting is all that can be checked without building other libraries.
    ("format of the peers", Action::Cargo(&["fmt", "--manifest-path", "xtask/peers/Cargo.toml", "--check"], None)),
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
pub fn run(root: &Path) -> Result<ExitCode> {
    for (name, action) in STEPS {
        println!("== {name}");
        let outcome = match action {
            Action::Sources => sources(root),
            Action::Cargo(arguments, variable) => process::run(process::cargo(root).args(*arguments).envs(*variable)),
        };
        if let Err(error) = outcome {
            eprintln!("{error:#}\n== failed: {name}");
            return Ok(ExitCode::FAILURE);
        }
    }
    println!("== all {} steps passed", STEPS.len());
    Ok(ExitCode::SUCCESS)
}

fn sources(root: &Path) -> Result<()> {
    let files = source::read_all(root)?;
    let mut violations = source::violations(&files)?;
    violations.extend(layering::violations(&files)?);
    if violations.is_empty() {
        println!("{} files follow the rules", files.len());
        return Ok(());
    }
    let lines: Vec<String> = violations.iter().map(source::Violation::to_string).collect();
    bail!(lines.join("\n"))
}
