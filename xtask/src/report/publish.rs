//! Writing what was generated: all of it or nothing, and never half a file.

use anyhow::{Context, Result};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A file to be written.
pub struct Output {
    pub path: PathBuf,
    pub text: String,
}

/// Writes every file beside its place first, then puts each in its place at once.
pub fn publish(outputs: &[Output]) -> Result<()> {
    let mut ready = Vec::new();
    for output in outputs {
        let writing = || format!("cannot write {}", output.path.display());
        let directory = output.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).with_context(writing)?;
        let mut file = tempfile::Builder::new().prefix(".report-").tempfile_in(directory).with_context(writing)?;
        file.write_all(output.text.as_bytes()).with_context(writing)?;
        allow_reading(&file).with_context(writing)?;
        ready.push((file, &output.path));
    }
    for (file, path) in ready {
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Temporary files are private; these are for everyone, as other files of a repository.
fn allow_reading(file: &NamedTempFile) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_replaced_unless_all_can_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let output = |name: &str, text: &str| Output { path: directory.path().join(name), text: text.to_owned() };
        publish(&[output("docs/a", "old"), output("b", "old")]).unwrap();
        // No folder can be made where a file is.
        let error = publish(&[output("docs/a", "new"), output("b/c", "new")]).unwrap_err();
        assert!(format!("{error:#}").contains("b/c"), "{error:#}");
        assert_eq!(fs::read_to_string(directory.path().join("docs/a")).unwrap(), "old");
        publish(&[output("docs/a", "new")]).unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("docs/a")).unwrap(), "new");
        let left: Vec<_> = fs::read_dir(directory.path().join("docs")).unwrap().collect();
        assert_eq!(left.len(), 1, "a temporary file was left: {left:?}");
    }
}
