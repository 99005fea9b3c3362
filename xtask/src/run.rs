//! Facts that every record of a run carries: when, what was typed, which code, which compiler, which machine.

use crate::process::{self, program};
use crate::record::{Machine, Run};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::Command;

/// What is known of a run before its machine is measured.
#[derive(Debug, Clone)]
pub struct Facts {
    pub date: String,
    pub command: String,
    pub revision: String,
    pub rustc: String,
}

impl Facts {
    /// Those of this program, begun now, on the code in `root`.
    pub fn gather(root: &Path) -> Result<Facts> {
        Ok(Facts {
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            command: typed(std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned())),
            revision: revision(root)?,
            rustc: process::output(program("rustc", root).arg("--version"))?,
        })
    }

    /// With the machine as it was measured for one number of threads and one number type.
    pub fn on(&self, machine: Machine) -> Run {
        let Facts { date, command, revision, rustc } = self.clone();
        Run { date, command, revision, rustc, machine }
    }
}

/// The commit in `root`, `-dirty` if files differ from it or are new.
pub fn revision(root: &Path) -> Result<String> {
    let git = |arguments: &[&str]| process::output(program("git", root).args(arguments));
    let read = || -> Result<String> {
        let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        let dirty = !git(&["status", "--porcelain"])?.is_empty();
        Ok(if dirty { commit + "-dirty" } else { commit })
    };
    read().context("records name the commit they measure: work in a git checkout with a commit, and have git installed")
}

/// The machine as a built `convgrad` measures it; takes about a second.
pub fn machine(convgrad: &Path, threads: usize, dtype: &str, isa: Option<&str>) -> Result<Machine> {
    let mut command = Command::new(convgrad);
    command.args(["machine", "--json", "--threads", &threads.to_string(), "--dtype", dtype]);
    command.args(isa.iter().flat_map(|isa| ["--isa", isa]));
    let text = process::output(&mut command)?;
    serde_json::from_str(&text).with_context(|| format!("`{}` printed what is no machine", process::line(&command)))
}

/// One thread, and one for each processor.
pub fn usual_threads() -> Vec<usize> {
    let mut threads = vec![1, std::thread::available_parallelism().map_or(1, usize::from)];
    threads.dedup();
    threads
}

/// The command as it can be typed again.
fn typed(arguments: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,/:@^~".contains(c);
    let words = arguments.map(|word| match !word.is_empty() && word.chars().all(plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    });
    ["cargo xtask".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_command_can_be_typed_again() {
        let typed = |words: &[&str]| typed(words.iter().map(|word| word.to_string()));
        assert_eq!(typed(&["bench", "lenet,tiny", "--threads", "1,2"]), "cargo xtask bench lenet,tiny --threads 1,2");
        assert_eq!(typed(&["bench", "--output-dir", "my records", "it's", ""]), {
            r"cargo xtask bench --output-dir 'my records' 'it'\''s' ''"
        });
    }

    #[test]
    fn a_revision_is_the_commit_and_whether_files_differ() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let git = |arguments: &str| {
            let identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"];
            process::output(program("git", root).args(identity).args(arguments.split(' '))).unwrap()
        };
        let error = format!("{:#}", revision(&root.join("none")).unwrap_err());
        assert!(error.starts_with("records name the commit they measure: "), "{error}");
        git("init --quiet");
        assert!(revision(root).is_err(), "there is no commit yet");
        git("commit --quiet --allow-empty --message first");
        let clean = revision(root).unwrap();
        assert!(clean.len() == 12 && clean.chars().all(|c| c.is_ascii_hexdigit()), "{clean}");
        fs::write(root.join("new"), "").unwrap();
        assert_eq!(revision(root).unwrap(), format!("{clean}-dirty"));
    }

    #[test]
    fn facts_become_a_run_with_its_machine() {
        let machine: Machine = serde_json::from_str(
            r#"{"version":"0.1.0","cpu":"A","cores":2,"isa":"avx2","threads":1,"dtype":"f32","peak_gflops":1.5,
                "l1_gbs":4.0,"l2_gbs":3.0,"l3_gbs":2.0,"dram_gbs":1.0}"#,
        )
        .unwrap();
        let facts = Facts::gather(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let run = facts.on(machine.clone());
        assert_eq!((run.machine, &run.revision), (machine, &facts.revision));
        assert!(run.date.len() == 20 && run.date.ends_with('Z') && run.rustc.starts_with("rustc "), "{facts:?}");
    }
}
