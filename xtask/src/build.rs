//! Programs that cargo builds, by the path it reports: target directories are the user's to choose.

use crate::process::{cargo, line};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The command line, built for release.
pub fn convgrad(root: &Path) -> Result<PathBuf> {
    executable(root, &["build", "--release", "--package", "convgrad", "--features", "cli", "--bin", "convgrad"])
}

/// A criterion bench, with the command line's features so that both share one build of the library.
pub fn bench(root: &Path, name: &str) -> Result<PathBuf> {
    let bench = ["bench", "--no-run", "--package", "convgrad", "--features", "cli", "--bench", name];
    executable(root, &bench)
}

/// Runs cargo, whose progress and complaints go to this terminal, and finds the one program named last.
pub fn executable(root: &Path, arguments: &[&str]) -> Result<PathBuf> {
    let mut command = cargo(root);
    command.args(arguments).arg("--message-format=json-render-diagnostics");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
    let output = child.wait_with_output().with_context(|| format!("cannot read from `{}`", line(&command)))?;
    if !output.status.success() {
        bail!("this tree cannot be built: `cargo {}` ended with {}", arguments.join(" "), output.status);
    }
    let name = arguments.last().copied().unwrap_or_default();
    reported(&String::from_utf8_lossy(&output.stdout), name)
        .with_context(|| format!("`cargo {}` names no program", arguments.join(" ")))
}

/// The program of a target in cargo's messages, one JSON object a line.
pub fn reported(messages: &str, target: &str) -> Option<PathBuf> {
    messages.lines().find_map(|message| {
        let message: serde_json::Value = serde_json::from_str(message).ok()?;
        let is_target = message["reason"] == "compiler-artifact" && message["target"]["name"] == target;
        Some(PathBuf::from(message["executable"].as_str().filter(|_| is_target)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_the_target_s_own() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"convgrad"},"executable":null,"fresh":true}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"other"},"executable":"/t/release/other"}
{"reason":"compiler-artifact","target":{"kind":["bin"],"name":"convgrad"},"executable":"/t/release/convgrad"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(reported(messages, "convgrad"), Some(PathBuf::from("/t/release/convgrad")));
        assert_eq!(reported(messages, "weight_gradient"), None);
    }

    #[test]
    fn a_tree_that_cannot_be_built_is_named_so() {
        let folder = tempfile::tempdir().unwrap();
        let error = convgrad(folder.path()).unwrap_err().to_string();
        assert!(error.starts_with("this tree cannot be built: `cargo build --release --package convgrad"), "{error}");
    }
}
