//! Other programs: cargo, git and what they build, run with errors that name the command.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// The cargo that runs this program, so that every step uses one toolchain.
pub fn cargo(directory: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(directory);
    command
}

/// A program in a directory.
pub fn program(name: &str, directory: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(directory);
    command
}

/// Runs to the end with this terminal as its own; an error if it did not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// What a command printed, without blanks around it; an error with its last words if it did not succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}: {}", line(command), output.status, words.trim());
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("`{}` printed no text", line(command)))?;
    Ok(text.trim().to_owned())
}

/// The command as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_what_was_printed_or_the_last_words() {
        let git = || program("git", Path::new("."));
        assert!(output(git().arg("--version")).unwrap().starts_with("git version"));
        let error = output(git().arg("no-such-command")).unwrap_err().to_string();
        assert!(error.contains("`git no-such-command`") && error.contains("is not a git command"), "{error}");
        let error = output(&mut program("no-such-program", Path::new("."))).unwrap_err().to_string();
        assert_eq!(error, "cannot start `no-such-program`");
    }
}
