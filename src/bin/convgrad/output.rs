//! Files that appear whole or not at all.
//!
//! An output is written to a temporary file beside its target and renamed over it at the end, which is one step of the
//! file system. The temporary file is made before anything is computed, so that a target that cannot be written is found
//! out at once; it vanishes when the program gives up.

use anyhow::{Result, anyhow, bail, ensure};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file to be.
pub struct Output {
    label: String,
    target: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl Output {
    /// Prepares for the file that `argument` named.
    pub fn create(argument: &str, path: &Path) -> Result<Output> {
        let label = format!("{argument} {}", path.display());
        // A link is followed, lest the rename replace the link itself.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Ok(existing) = fs::metadata(&target) {
            ensure!(existing.is_file(), "{label}: exists and is not a regular file; name another file");
            ensure!(!existing.permissions().readonly(), "{label}: is read-only; make it writable or name another file");
        }
        ensure!(
            !path.is_symlink() || path.exists(),
            "{label}: is a link that leads to no file; name the file it should lead to"
        );
        let names_folder = path.to_string_lossy().ends_with(std::path::is_separator);
        let Some(name) = target.file_name().filter(|_| !names_folder) else {
            bail!("{label}: is not the name of a file; name one")
        };
        let folder = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let cannot = |e| anyhow!("{label}: {e}; name a file in an existing folder that you may write to");
        let folder = fs::canonicalize(folder).map_err(cannot)?;
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            // What a file of its own would get, less the umask; temporary files are private otherwise.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder.prefix(".convgrad-").tempfile_in(&folder).map_err(cannot)?;
        Ok(Output { label, target: folder.join(name), file: BufWriter::new(file) })
    }

    /// Whether it will be the file of that path.
    pub fn is(&self, path: &Path) -> bool {
        fs::canonicalize(path).is_ok_and(|path| path == self.target)
    }

    /// Whether both will be the same file.
    pub fn is_same(&self, other: &Output) -> bool {
        self.target == other.target
    }

    /// Writes the content through `write`.
    pub fn fill(&mut self, write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
        let written = write(&mut self.file).and_then(|()| Ok(self.file.flush()?));
        written.map_err(|e| anyhow!("{}: {e:#}; make room or name a file elsewhere", self.label))
    }

    /// Makes the file appear. Everything that is likely to fail has been done before.
    pub fn publish(self) -> Result<()> {
        let Output { label, target, file } = self;
        let cannot = |e| anyhow!("{label}: {e}; name a file elsewhere");
        let file = file.into_inner().map_err(|e| cannot(e.into_error()))?;
        file.persist(&target).map_err(|e| cannot(e.error))?;
        Ok(())
    }
}
