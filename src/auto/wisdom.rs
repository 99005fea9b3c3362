//! What was measured once and need not be measured again.
//!
//! An entry says how long each backend took for a problem, and under which circumstances: another processor, instruction
//! set, number of threads or version of this crate is another entry. Times are kept, and not the choice they led to, so that
//! one measurement serves callers of different limits.

use crate::element::Element;
use crate::measure::{self, Caches};
use crate::op::Op;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::tensor::Layout;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// The circumstances of a measurement.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "wisdom", derive(serde::Serialize, serde::Deserialize))]
pub struct WisdomKey {
    /// The operation, such as `weight gradient`.
    pub op: String,
    /// The problem's descriptor. Long axes and large batches stand for those little longer or larger.
    pub shape: String,
    /// Number type.
    pub dtype: String,
    /// Memory order of the operands, `nchw` or `nhwc`.
    pub layout: String,
    /// The processor's name, and the sizes of its caches, since some names are those of a whole family.
    pub cpu: String,
    /// Instruction set.
    pub isa: String,
    /// Threads.
    pub threads: usize,
    /// Version of this crate.
    pub version: String,
}

impl WisdomKey {
    /// The key of a measurement here and now.
    pub fn here<T: Element>(op: Op, shape: &ConvShape, layout: Layout, isa: Isa, threads: usize) -> WisdomKey {
        WisdomKey {
            op: op.to_string(),
            shape: shape.bucket().to_string(),
            dtype: T::NAME.to_owned(),
            layout: if layout == Layout::Nchw { "nchw" } else { "nhwc" }.to_owned(),
            cpu: WisdomKey::this_cpu().to_owned(),
            isa: isa.name().to_owned(),
            threads,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// This processor, as keys name it.
    pub fn this_cpu() -> &'static str {
        static CPU: OnceLock<String> = OnceLock::new();
        CPU.get_or_init(|| {
            let Caches { l1, l2, l3 } = Caches::of_this_machine();
            let kib = [l1, l2, l3].map(|cache| cache.bytes >> 10);
            format!("{}, {} + {} + {} KiB", measure::cpu_name(), kib[0], kib[1], kib[2])
        })
    }
}

/// Milliseconds of backends, by name.
pub(super) type Times = BTreeMap<String, f64>;

/// Measured times, by their circumstances.
///
/// ```
/// use convgrad::auto::Wisdom;
/// let wisdom = Wisdom::default();
/// assert!(wisdom.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wisdom {
    entries: BTreeMap<WisdomKey, Times>,
}

impl Wisdom {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries: circumstances, and each backend's name with its milliseconds.
    pub fn entries(&self) -> impl Iterator<Item = (&WisdomKey, impl Iterator<Item = (&str, f64)>)> {
        self.entries.iter().map(|(key, times)| (key, times.iter().map(|(name, &ms)| (name.as_str(), ms))))
    }

    /// Milliseconds of a backend.
    pub fn milliseconds(&self, key: &WisdomKey, backend: &str) -> Option<f64> {
        self.entries.get(key)?.get(backend).copied()
    }

    /// Adds a measurement; a time that is not a positive number is none. The same backend's earlier time is replaced.
    pub fn insert(&mut self, key: WisdomKey, backend: &str, milliseconds: f64) {
        if milliseconds.is_finite() && milliseconds > 0.0 {
            self.entries.entry(key).or_default().insert(backend.to_owned(), milliseconds);
        }
    }

    /// Adds all that another one knows, whose times replace those of the same circumstances and backend.
    pub fn merge(&mut self, other: &Wisdom) {
        for (key, times) in &other.entries {
            self.entries.entry(key.clone()).or_default().extend(times.iter().map(|(name, &ms)| (name.clone(), ms)));
        }
    }

    /// The part of it that was measured on this processor with this version of the crate.
    pub fn of_here(&self) -> Wisdom {
        let is_here = |key: &WisdomKey| key.cpu == WisdomKey::this_cpu() && key.version == env!("CARGO_PKG_VERSION");
        let entries = self.entries.iter().filter(|(key, _)| is_here(key));
        Wisdom { entries: entries.map(|(key, times)| (key.clone(), times.clone())).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(shape: &str) -> WisdomKey {
        WisdomKey::here::<f32>(Op::WeightGradient, &shape.parse().unwrap(), Layout::Nchw, Isa::SCALAR, 1)
    }

    #[test]
    fn a_later_time_replaces_an_earlier_one_and_others_stay() {
        let (mut old, mut new) = (Wisdom::default(), Wisdom::default());
        old.insert(key("mb1ic1ih5oc1kh2"), "direct", 1.0);
        old.insert(key("mb1ic1ih5oc1kh2"), "naive", 2.0);
        new.insert(key("mb1ic1ih5oc1kh2"), "direct", 3.0);
        new.insert(key("mb1ic1ih6oc1kh2"), "direct", 4.0);
        old.merge(&new);
        assert_eq!(old.milliseconds(&key("mb1ic1ih5oc1kh2"), "direct"), Some(3.0));
        assert_eq!(old.milliseconds(&key("mb1ic1ih5oc1kh2"), "naive"), Some(2.0));
        assert_eq!(old.len(), 2);
    }

    #[test]
    fn only_positive_times_are_kept() {
        let mut wisdom = Wisdom::default();
        for ms in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            wisdom.insert(key("mb1ic1ih5oc1kh2"), "direct", ms);
        }
        assert!(wisdom.is_empty());
    }

    #[test]
    fn another_processor_or_version_is_not_here() {
        let mut wisdom = Wisdom::default();
        let here = key("mb1ic1ih5oc1kh2");
        wisdom.insert(here.clone(), "direct", 1.0);
        wisdom.insert(WisdomKey { cpu: "another".to_owned(), ..here.clone() }, "direct", 1.0);
        wisdom.insert(WisdomKey { version: "0.0.0".to_owned(), ..here.clone() }, "direct", 1.0);
        assert_eq!(wisdom.of_here().entries().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [here]);
        assert_eq!(wisdom.len(), 3);
    }
}
