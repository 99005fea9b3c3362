//! This processor's rates as a file, so that they are measured once and not by every process.
//!
//! The file is written as wisdom is, whole and by one process at a time, and trusted as little: what cannot be read, or is of
//! another processor or version, is measured anew.

use super::Rates;
use super::wisdom::WisdomKey;
use super::wisdom_file::{WisdomWarning, replace};
use crate::element::Element;
use crate::simd::Isa;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the file calls itself, with the version of its form.
const FORMAT: &str = "convgrad rates 1";

#[derive(Serialize, Deserialize)]
struct Whole {
    format: String,
    entries: Vec<Entry>,
}

/// The rates of a number type and an instruction set.
#[derive(Serialize, Deserialize, PartialEq, Clone)]
struct Entry {
    cpu: String,
    version: String,
    isa: String,
    dtype: String,
    peak_flops: f64,
    l2: f64,
    l3: f64,
    dram: f64,
    l2_bytes: f64,
    l3_bytes: f64,
}

impl Entry {
    fn here<T: Element>(isa: Isa, rates: Rates) -> Entry {
        let Rates { peak_flops, l2, l3, dram, l2_bytes, l3_bytes } = rates;
        let [cpu, version, isa, dtype] =
            [WisdomKey::this_cpu(), env!("CARGO_PKG_VERSION"), isa.name(), T::NAME].map(str::to_owned);
        Entry { cpu, version, isa, dtype, peak_flops, l2, l3, dram, l2_bytes, l3_bytes }
    }

    fn is_of_same(&self, other: &Entry) -> bool {
        let key = |entry: &Entry| [&entry.cpu, &entry.version, &entry.isa, &entry.dtype].map(Clone::clone);
        key(self) == key(other)
    }

    /// The rates, if they can be any.
    fn rates(&self) -> Option<Rates> {
        let &Entry { peak_flops, l2, l3, dram, l2_bytes, l3_bytes, .. } = self;
        let all = [peak_flops, l2, l3, dram, l2_bytes, l3_bytes];
        let make_sense = all.iter().all(|rate| rate.is_finite() && *rate > 0.0);
        make_sense.then_some(Rates { peak_flops, l2, l3, dram, l2_bytes, l3_bytes })
    }
}

impl Rates {
    /// Where rates are kept if nobody says otherwise: `convgrad/rates.json` in the platform's folder for caches.
    pub fn default_path() -> Option<PathBuf> {
        dirs::cache_dir().map(|folder| folder.join("convgrad").join("rates.json"))
    }

    /// Those of this processor from a file; or [measured](Rates::measure) now, and kept there for the next time.
    ///
    /// Nothing about the file is an error: what keeps it from being used or written is told by the warning.
    ///
    /// ```
    /// use convgrad::{Isa, auto::Rates};
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("rates.json");
    /// let (measured, warning) = Rates::remembered::<f32>(Isa::SCALAR, &path);
    /// assert!(measured.peak_flops > 0.0 && warning.is_none());
    /// let again = || Rates::remembered::<f32>(Isa::SCALAR, &path);
    /// assert_eq!(again(), again());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn remembered<T: Element>(isa: Isa, path: impl AsRef<Path>) -> (Rates, Option<WisdomWarning>) {
        Rates::remembered_or::<T>(isa, path.as_ref(), Rates::measure::<T>)
    }

    fn remembered_or<T: Element>(
        isa: Isa,
        path: &Path,
        measure: impl FnOnce(Isa) -> Rates,
    ) -> (Rates, Option<WisdomWarning>) {
        let (entries, warning) = load(path);
        let alike = Entry::here::<T>(isa, Rates::reference::<T>(isa));
        let known = entries.iter().find(|entry| entry.is_of_same(&alike)).and_then(Entry::rates);
        if let Some(rates) = known {
            return (rates, warning);
        }
        let rates = measure(isa);
        let saved = replace(path, || {
            let mut entries = load(path).0;
            entries.retain(|entry| !entry.is_of_same(&alike));
            entries.push(Entry::here::<T>(isa, rates));
            Ok(serde_json::to_string_pretty(&Whole { format: FORMAT.to_owned(), entries })? + "\n")
        });
        let unwritten =
            saved.err().map(|error| WisdomWarning::Unreadable { path: path.to_owned(), reason: error.to_string() });
        (rates, warning.or(unwritten))
    }
}

fn load(path: &Path) -> (Vec<Entry>, Option<WisdomWarning>) {
    let path = || path.to_owned();
    match fs::read(path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => (Vec::new(), Some(WisdomWarning::Unreadable { path: path(), reason: error.to_string() })),
        Ok(bytes) => match serde_json::from_slice::<Whole>(&bytes) {
            Ok(Whole { format, entries }) if format == FORMAT => (entries, None),
            Ok(Whole { format, .. }) => {
                (Vec::new(), Some(WisdomWarning::Corrupt { path: path(), reason: format!("it is `{format}`") }))
            }
            Err(error) => (Vec::new(), Some(WisdomWarning::Corrupt { path: path(), reason: error.to_string() })),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(peak_flops: f64) -> Rates {
        Rates { peak_flops, l2: 4.0, l3: 3.0, dram: 2.0, l2_bytes: 1e6, l3_bytes: 3e7 }
    }

    #[test]
    fn rates_are_measured_once_for_each_number_type_and_instruction_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/rates.json");
        for (isa, peak) in Isa::available().into_iter().zip([5.0, 6.0, 7.0]) {
            assert_eq!(Rates::remembered_or::<f32>(isa, &path, |_| rates(peak)), (rates(peak), None));
            assert_eq!(Rates::remembered_or::<f64>(isa, &path, |_| rates(peak / 2.0)), (rates(peak / 2.0), None));
        }
        for (isa, peak) in Isa::available().into_iter().zip([5.0, 6.0, 7.0]) {
            assert_eq!(Rates::remembered_or::<f32>(isa, &path, |_| unreachable!()), (rates(peak), None));
            assert_eq!(Rates::remembered_or::<f64>(isa, &path, |_| unreachable!()), (rates(peak / 2.0), None));
        }
    }

    #[test]
    fn what_is_no_rates_is_measured_anew_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rates.json");
        let measured = |expect_warning: bool| {
            let (found, warning) = Rates::remembered_or::<f32>(Isa::SCALAR, &path, |_| rates(9.0));
            assert_eq!((found, warning.is_some()), (rates(9.0), expect_warning));
            assert_eq!(Rates::remembered_or::<f32>(Isa::SCALAR, &path, |_| unreachable!()), (rates(9.0), None));
        };
        measured(false);
        let good = fs::read_to_string(&path).unwrap();
        for text in ["", "{}", &good[..good.len() / 2], &good.replace("rates 1", "rates 9")] {
            fs::write(&path, text).unwrap();
            measured(true);
        }
        // Of another processor, of another version, and impossible: no reason to warn, and no reason to believe.
        let foreign = |key: &str| {
            let mut whole: serde_json::Value = serde_json::from_str(&good).unwrap();
            let entry = &mut whole["entries"][0];
            (entry[key], entry["peak_flops"]) = ("other".into(), 8.0.into());
            whole.to_string()
        };
        for text in [foreign("cpu"), foreign("version"), good.replace("9.0", "-9.0")] {
            fs::write(&path, text).unwrap();
            measured(false);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (found, warning) = Rates::remembered_or::<f32>(Isa::SCALAR, folder.path(), |_| rates(9.0));
        assert_eq!(found, rates(9.0));
        assert!(matches!(warning, Some(WisdomWarning::Unreadable { .. })), "{warning:?}");
    }
}
