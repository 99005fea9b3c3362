//! Revisions of the repository and places to build them in: git worktrees that never outlive the run that made them.
//!
//! Every run has a folder of its own with a file in it that it holds locked. The system drops the lock with the process,
//! however that ends, so a folder whose lock can be had belongs to a run that was killed, and the next run removes it; a
//! run that is going on is recognised by the same lock and left alone.

use crate::process::{output, program};
use crate::runner::Runner;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A commit and how the user called it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub name: String,
    pub hash: String,
}

impl Revision {
    /// The commit that `name` means in the repository.
    pub fn resolve(repository: &Path, name: &str) -> Result<Revision> {
        let commit = format!("{name}^{{commit}}");
        let hash = output(git(repository).args(["rev-parse", "--verify", "--quiet", "--end-of-options", &commit]));
        let hash =
            hash.ok().with_context(|| format!("`{name}` is no revision of this repository; `git log` lists them"))?;
        Ok(Revision { name: name.to_owned(), hash })
    }

    /// The commit that is checked out, if nothing is changed beside it.
    pub fn checked_out(repository: &Path) -> Result<Revision> {
        let changes = output(git(repository).args(["status", "--porcelain", "--untracked-files=no"]))?;
        ensure!(
            changes.is_empty(),
            "uncommitted changes would not be measured: commit or stash them, or name the revision HEAD"
        );
        Revision::resolve(repository, "HEAD")
    }

    /// The hash as people write it.
    pub fn short(&self) -> &str {
        &self.hash[..self.hash.len().min(12)]
    }
}

/// Git in a directory, and in no other: not where a hook that runs this program says.
fn git(directory: &Path) -> Command {
    let mut command = program("git", directory);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(variable);
    }
    command
}

/// The folder all runs share. While it is held no other run starts or builds.
pub struct Held {
    folder: PathBuf,
    _lock: File,
}

/// A run's own folder, removed at its end.
pub struct RunFolder {
    // Dropped first: the lock is held for as long as there is something in the folder.
    folder: TempDir,
    _alive: File,
}

/// How the names of runs' folders begin.
const RUN: &str = "run-";

/// The lock in the folder of a run.
const ALIVE: &str = "alive.lock";

impl Held {
    /// Waits until no other run is starting or building.
    pub fn wait(folder: &Path, runner: &Runner) -> Result<Held> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        // As git writes paths, so that its list of worktrees can be searched.
        let folder = folder.canonicalize()?;
        let lock = File::create(folder.join("build.lock"))?;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Held { folder, _lock: lock }),
                Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", folder.display()),
                Err(TryLockError::WouldBlock) if !told => eprintln!("waiting for another comparison to build"),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(100)),
            }
            told = true;
            runner.check()?;
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what killed runs have left, and makes the folder of a new one.
    pub fn begin(&self, repository: &Path) -> Result<RunFolder> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_run = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(RUN));
            if is_run && is_dead(&path) {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let listed = output(git(repository).args(["worktree", "list", "--porcelain"]))?;
        let worktrees = listed.lines().filter_map(|line| line.strip_prefix("worktree ")).map(Path::new);
        let gone = worktrees.filter(|path| path.starts_with(&self.folder) && !path.exists());
        gone.into_iter().try_for_each(|path| forget(repository, path))?;

        let folder = tempfile::Builder::new().prefix(RUN).tempdir_in(&self.folder)?;
        let alive = File::create(folder.path().join(ALIVE))?;
        alive.try_lock()?;
        Ok(RunFolder { folder, _alive: alive })
    }
}

/// Whether nobody holds the lock of a run's folder. Without the file the run was killed before it had it: it is made
/// while no other run starts.
fn is_dead(run: &Path) -> bool {
    File::open(run.join(ALIVE)).map_or(true, |lock| lock.try_lock().is_ok())
}

impl RunFolder {
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A checked-out revision, removed when dropped.
pub struct Worktree<'a> {
    repository: &'a Path,
    path: PathBuf,
}

impl<'a> Worktree<'a> {
    /// Checks a revision out in a folder of the run.
    pub fn add(repository: &'a Path, run: &RunFolder, revision: &Revision) -> Result<Worktree<'a>> {
        // Before git is asked, so that one that is interrupted is cleared away like any other.
        let worktree = Worktree { repository, path: run.path().canonicalize()?.join("source") };
        output(
            git(repository).args(["worktree", "add", "--quiet", "--detach"]).arg(&worktree.path).arg(&revision.hash),
        )?;
        Ok(worktree)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Worktree<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        // What git keeps of it after a failure here is removed by the next run.
        let _ = forget(self.repository, &self.path);
    }
}

/// Makes git forget a worktree whose folder is gone; twice forced, since one that was interrupted when made is locked.
fn forget(repository: &Path, path: &Path) -> Result<()> {
    output(git(repository).args(["worktree", "remove", "--force", "--force"]).arg(path)).map(drop)
}

#[cfg(test)]
mod tests;
