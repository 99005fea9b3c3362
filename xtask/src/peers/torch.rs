//! PyTorch, in a Python environment of its own under the target directory.
//!
//! It is installed by its name from wherever the user's pip looks, once: an environment that is there is used.

use super::contestant::target;
use crate::process;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a Python must be able to do to speak for PyTorch.
const IMPORTS: &str = "import numpy, torch";

/// The script that speaks for PyTorch.
pub fn program(root: &Path) -> PathBuf {
    root.join("xtask/peers/torch_peer.py")
}

/// A Python that has PyTorch: the one given, or that of the environment, which is made if there is none.
pub fn python(root: &Path, given: Option<&Path>) -> Result<PathBuf> {
    if let Some(python) = given {
        let mut command = Command::new(python);
        process::output(command.args(["-c", IMPORTS]))
            .context("--torch-python: name a Python that has the packages torch and numpy")?;
        return Ok(python.to_owned());
    }
    let environment = target(root).join("venv");
    let python = environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if imports(&python) {
        return Ok(python);
    }
    let base = if cfg!(windows) { "python" } else { "python3" };
    let mut make = Command::new(base);
    // `--clear`: an installation that was interrupted begins anew.
    process::run(quietly(make.args(["-m", "venv", "--clear"]).arg(&environment)))
        .context("its Python environment cannot be made; install Python 3 with its modules venv and pip")?;
    let mut install = Command::new(&python);
    process::run(quietly(install.args(["-m", "pip", "install", "--disable-pip-version-check", "torch", "numpy"])))
        .context("pip cannot install it")?;
    ensure!(imports(&python), "`{IMPORTS}` fails in {}; remove that folder and try again", environment.display());
    Ok(python)
}

fn imports(python: &Path) -> bool {
    let mut command = Command::new(python);
    let status =
        command.args(["-c", IMPORTS]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// With its progress on this program's stderr: stdout is for the table.
fn quietly(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(std::io::stderr())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_python_that_is_none_is_named_with_the_remedy() {
        let error = format!("{:#}", python(Path::new("."), Some(Path::new("/no/such/python"))).unwrap_err());
        assert!(error.contains("--torch-python") && error.contains("/no/such/python"), "{error}");
    }
}
