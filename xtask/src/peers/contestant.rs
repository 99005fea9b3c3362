//! Who takes part, and how each comes to be a program that can be started.

use super::child::{Child, Patience};
use super::torch;
use crate::build;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Rust libraries: their names, and the program of `xtask/peers` that speaks for each. The program's name is also that
/// of the feature it needs.
const LIBRARIES: [(&str, &str); 3] = [("im2col-gemm", "im2col_gemm"), ("candle", "candle"), ("burn-flex", "burn")];

/// PyTorch's name.
pub const TORCH: &str = "torch";

/// Environment variables by which one library or another is told its number of threads.
const THREAD_VARIABLES: [&str; 4] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];

/// Our backends by name, the one to prefer first.
pub fn backends() -> Vec<&'static str> {
    convgrad::backends::<f32>().iter().map(|backend| backend.name()).collect()
}

/// All names there are.
pub fn names() -> Vec<&'static str> {
    backends().into_iter().chain(LIBRARIES.map(|(name, _)| name)).chain([TORCH]).collect()
}

/// Who takes part when nobody is named: all but the definition, which takes seconds a call, and PyTorch, which has to
/// be installed.
pub fn usual_names() -> Vec<&'static str> {
    let reference = convgrad::reference::<f32>().name();
    names().into_iter().filter(|&name| name != reference && name != TORCH).collect()
}

/// Where the peers' package is built, out of the way of the workspace's own target directory.
pub fn target(root: &Path) -> PathBuf {
    root.join("target/peers")
}

/// Builds a program of the peers' package, which needs this feature.
pub fn build_program(root: &Path, program: &str, feature: &str) -> Result<PathBuf> {
    let target = target(root);
    let target = target.to_str().context("the path of the repository is not UTF-8")?;
    let mut arguments = vec!["build", "--release", "--locked", "--manifest-path", "xtask/peers/Cargo.toml"];
    arguments.extend(["--target-dir", target, "--features", feature, "--bin", program]);
    build::executable(root, &arguments)
}

/// One who takes part.
pub struct Contestant {
    pub name: String,
    /// One of our backends.
    pub ours: bool,
    /// What it is and its version, in its own words; its name until it has been heard.
    pub version: String,
    /// Program and arguments, or why there is none.
    command: Result<Vec<OsString>, String>,
    child: Option<Child>,
}

impl Contestant {
    /// Builds or installs what the name stands for. What cannot be had is a contestant that is missing, with the reason.
    pub fn prepare(root: &Path, name: &str, torch_python: Option<&Path>) -> Result<Contestant> {
        let ours = backends().contains(&name);
        let command: Result<Vec<OsString>> = if ours {
            build_program(root, "ours", "ours").map(|program| vec![program.into(), name.into()])
        } else if name == TORCH {
            torch::python(root, torch_python).map(|python| vec![python.into(), torch::program(root).into()])
        } else {
            let library = LIBRARIES.iter().find(|(known, _)| *known == name);
            let (_, program) = library.with_context(|| format!("nobody is called `{name}`"))?;
            build_program(root, program, program).map(|program| vec![program.into()])
        };
        match command {
            Err(error) if ours => Err(error),
            command => Ok(Contestant::new(name, ours, command.map_err(|error| format!("missing: {error:#}")))),
        }
    }

    pub fn new(name: &str, ours: bool, command: Result<Vec<OsString>, String>) -> Contestant {
        Contestant { name: name.to_owned(), ours, version: name.to_owned(), command, child: None }
    }

    /// The running program, started if it is not. Its complaints go to a file in `directory`, which must outlive it.
    pub fn child(&mut self, threads: usize, directory: &Path, patience: Patience<'_>) -> Result<&mut Child> {
        let words = match &self.command {
            Ok(words) => words,
            Err(reason) => bail!(reason.clone()),
        };
        let child = match self.child.take() {
            Some(child) => child,
            None => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).envs(THREAD_VARIABLES.map(|variable| (variable, threads.to_string())));
                let complaints = directory.join(format!("{}.stderr", self.name));
                let child = Child::start(&mut command, &complaints, patience)?;
                self.version = child.version().to_owned();
                child
            }
        };
        Ok(self.child.insert(child))
    }

    /// Ends its program, if it runs.
    pub fn stop(&mut self) {
        self.child = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_backends_come_first_and_the_definition_only_when_named() {
        assert_eq!(
            names(),
            [
                "direct",
                "winograd",
                "winograd-2x2",
                "fft",
                "im2col",
                "naive",
                "im2col-gemm",
                "candle",
                "burn-flex",
                "torch"
            ]
        );
        assert_eq!(
            usual_names(),
            ["direct", "winograd", "winograd-2x2", "fft", "im2col", "im2col-gemm", "candle", "burn-flex"]
        );
    }

    #[test]
    fn every_library_has_a_program_that_needs_the_feature_of_its_name() {
        let manifest = include_str!("../../peers/Cargo.toml");
        for (_, program) in LIBRARIES {
            let target = format!("[[bin]]\nname = \"{program}\"\nrequired-features = [\"{program}\"]");
            assert!(manifest.contains(&target), "{program}");
        }
    }
}
