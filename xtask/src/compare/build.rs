//! The program of a revision: built once in a worktree, then kept.
//!
//! All revisions are built into one folder, so that what they depend on is compiled once; only one is built at a time,
//! and checked out right before. Of what comes out the program is kept, beside what it was built with: a commit never
//! changes, so neither does its program, unless the compiler or its settings do.

use super::worktree::{Held, Revision, RunFolder, Worktree};
use crate::build::reported;
use crate::process::{cargo, output, program};
use crate::runner::Runner;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Variables that change what cargo builds, by how their names begin.
const SETTINGS: &[&str] =
    &["RUSTFLAGS", "RUSTC", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"];

/// The program of `revision`, built if it is not there yet.
pub fn program_of(
    revision: &Revision,
    repository: &Path,
    held: &Held,
    run: &RunFolder,
    runner: &Runner,
) -> Result<PathBuf> {
    let kept = held.folder().join("programs").join(&revision.hash);
    let (path, stamp) = (kept.join("convgrad"), kept.join("built-with.txt"));
    let settings = settings(repository)?;
    if path.exists() && fs::read_to_string(&stamp).is_ok_and(|kept| kept == settings) {
        return Ok(path);
    }
    eprintln!("building {} ({})", revision.name, revision.short());
    let worktree = Worktree::add(repository, run, revision)?;
    let mut command = cargo(worktree.path());
    command.args(["build", "--release", "--features", "cli", "--bin", "convgrad"]);
    // The same code in a fifth of the space.
    command.args(["--config", "profile.release.strip=\"debuginfo\""]);
    command.args(["--message-format", "json-render-diagnostics", "--target-dir"]).arg(held.folder().join("build"));
    let messages = runner.output_told(&mut command);
    let messages = messages.with_context(|| format!("{} ({}) cannot be built", revision.name, revision.short()))?;
    let built = reported(&messages, "convgrad").context("cargo told of no program called convgrad")?;
    fs::create_dir_all(&kept).with_context(|| format!("cannot create {}", kept.display()))?;
    // The stamp goes before the program is replaced and comes after it: it never stands beside another's program.
    let _ = fs::remove_file(&stamp);
    fs::copy(&built, &path).with_context(|| format!("cannot copy {} to {}", built.display(), path.display()))?;
    fs::write(&stamp, settings)?;
    Ok(path)
}

/// The compiler and what it is told from outside the sources: the variables, and the settings file of the repository,
/// which cargo finds above a worktree.
fn settings(repository: &Path) -> Result<String> {
    let mut text = output(program("rustc", repository).args(["--version", "--verbose"]))? + "\n";
    let is_setting = |name: &str| SETTINGS.iter().any(|setting| name.starts_with(setting));
    let variables =
        std::env::vars_os().map(|(name, value)| [name, value].map(|word| word.to_string_lossy().into_owned()));
    let mut variables: Vec<_> = variables.filter(|[name, _]| is_setting(name)).collect();
    variables.sort();
    text.extend(variables.iter().map(|[name, value]| format!("{name}={value}\n")));
    text += &fs::read_to_string(repository.join(".cargo/config.toml")).unwrap_or_default();
    Ok(text)
}
