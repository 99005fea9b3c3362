//! Wisdom as a file: JSON, an entry a line, for people to read and for processes to share.
//!
//! A file is written whole under another name and then renamed, so that a reader never sees a part of one. Writers take
//! turns by a lock on a file beside it; each reads what is there, adds its own and writes both, so that none loses what
//! another learned. What is read is never trusted: a file that is no wisdom is ignored, with a warning, and so is every entry
//! that makes no sense. A backend a file names is chosen only if the registry has it and the limits allow it.

use super::wisdom::{Times, Wisdom, WisdomKey};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What the file calls itself.
const FORMAT: &str = "convgrad wisdom";

/// The version of the form; another one is not read.
const VERSION: u32 = 1;

/// Something in a file that was ignored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WisdomWarning {
    /// The file could not be read.
    #[error("{path}: {reason}; nothing is remembered")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The file is not wisdom, or not whole.
    #[error("{path} is no wisdom that can be read: {reason}; it is ignored, and replaced when wisdom is saved there")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// Entries that make no sense were left out.
    #[error("{path}: {count} of its entries make no sense and are ignored")]
    Entries {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Entries of another processor or another version of this crate, which are kept but not used here.
    #[error("{path}: {count} of its entries are of another processor or version, and of no use here")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    key: WisdomKey,
    milliseconds: Times,
}

impl Wisdom {
    /// Where wisdom is kept if nobody says otherwise: `convgrad/wisdom.json` in the platform's folder for caches.
    pub fn default_path() -> Option<PathBuf> {
        dirs::cache_dir().map(|folder| folder.join("convgrad").join("wisdom.json"))
    }

    /// Reads a file; a file that is not there is empty. Nothing in a file is an error: what cannot be used is told by the
    /// warnings.
    ///
    /// ```
    /// use convgrad::auto::Wisdom;
    /// let (wisdom, warnings) = Wisdom::load("there/is/no/such/file.json");
    /// assert!(wisdom.is_empty() && warnings.is_empty());
    /// ```
    pub fn load(path: impl AsRef<Path>) -> (Wisdom, Vec<WisdomWarning>) {
        let path = path.as_ref();
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Wisdom::default(), Vec::new()),
            Err(error) => {
                let warning = WisdomWarning::Unreadable { path: path.to_owned(), reason: error.to_string() };
                return (Wisdom::default(), vec![warning]);
            }
        };
        match parse(&text) {
            Ok((wisdom, senseless)) => {
                let foreign = wisdom.len() - wisdom.of_here().len();
                let mut warnings = Vec::new();
                if senseless > 0 {
                    warnings.push(WisdomWarning::Entries { path: path.to_owned(), count: senseless });
                }
                if foreign > 0 {
                    warnings.push(WisdomWarning::Foreign { path: path.to_owned(), count: foreign });
                }
                (wisdom, warnings)
            }
            Err(reason) => (Wisdom::default(), vec![WisdomWarning::Corrupt { path: path.to_owned(), reason }]),
        }
    }

    /// Adds this to what a file holds, and creates it and its folder if need be.
    ///
    /// Several processes may do so at once, and none loses what another one saved. A file that cannot be read as wisdom is
    /// replaced.
    ///
    /// # Errors
    /// Those of the file system; the file is what it was then.
    pub fn save(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        replace(path, || {
            let (mut wisdom, _) = Wisdom::load(path);
            wisdom.merge(self);
            wisdom.to_json()
        })
    }

    /// The text of a file.
    ///
    /// # Errors
    /// None in practice: serialisation has no reason to fail.
    pub fn to_json(&self) -> io::Result<String> {
        let lines = self.entries().map(|(key, times)| {
            let milliseconds = times.map(|(name, ms)| (name.to_owned(), ms)).collect();
            serde_json::to_string(&Entry { key: key.clone(), milliseconds })
        });
        let lines: Vec<String> = lines.collect::<Result<_, _>>()?;
        let entries = if lines.is_empty() { String::new() } else { format!("\n{}\n", lines.join(",\n")) };
        Ok(format!("{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\"entries\":[{entries}]}}\n"))
    }
}

/// Replaces a file, created with its folder if need be, by what `text` makes while no other process replaces it.
pub(super) fn replace(path: &Path, text: impl FnOnce() -> io::Result<String>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let lock = File::create(beside(path, "lock"))?;
    lock.lock()?;
    let text = text()?;
    // The lock is ours, so the name is as well.
    let new = beside(path, "new");
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// The name with another ending behind its own.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The wisdom of a text, and how many of its entries make no sense.
fn parse(text: &str) -> Result<(Wisdom, usize), String> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(flatten)]
        header: Header,
        entries: Vec<serde_json::Value>,
    }
    let Whole { header, entries } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if header.format != FORMAT || header.version != VERSION {
        return Err(format!(
            "it is `{}` of version {}, not `{FORMAT}` of version {VERSION}",
            header.format, header.version
        ));
    }
    let mut wisdom = Wisdom::default();
    let mut senseless = 0;
    for entry in entries {
        match serde_json::from_value::<Entry>(entry) {
            Ok(Entry { key, milliseconds }) if makes_sense(&key, &milliseconds) => {
                for (name, ms) in milliseconds {
                    wisdom.insert(key.clone(), &name, ms);
                }
            }
            _ => senseless += 1,
        }
    }
    Ok((wisdom, senseless))
}

fn makes_sense(key: &WisdomKey, times: &Times) -> bool {
    let shape = key.shape.parse::<crate::shape::ConvShape>();
    let are_times = times.values().all(|ms| ms.is_finite() && *ms > 0.0);
    shape.is_ok_and(|shape| shape.to_string() == key.shape) && key.threads > 0 && !times.is_empty() && are_times
}
