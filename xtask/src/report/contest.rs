//! Who is faster and by how much: our backends among each other, and beside libraries.

use super::measurement::{Conditions, Measurement};
use super::measurements::Measurements;
use super::statistics;

/// The fastest of our backends on a shape.
pub struct Winner<'a> {
    pub best: &'a Measurement,
    /// The next one's time over its own, if there is another.
    pub margin: Option<f64>,
}

/// How fast ours is beside a library on one shape.
pub struct Comparison<'a> {
    pub ours: &'a Measurement,
    pub library: &'a Measurement,
}

impl Comparison<'_> {
    /// The library's time over ours: above 1 ours is faster.
    pub fn ratio(&self) -> f64 {
        let best = |m: &Measurement| m.best_ms().expect("comparisons are made of timed records");
        best(self.library) / best(self.ours)
    }
}

/// The least, the geometric mean, and the number of ratios.
pub struct Ratios<'a> {
    pub mean: f64,
    pub worst: &'a Comparison<'a>,
    pub count: usize,
}

impl<'a> Ratios<'a> {
    pub fn of(comparisons: &'a [Comparison<'a>]) -> Option<Ratios<'a>> {
        let mean = statistics::geometric_mean(comparisons.iter().map(Comparison::ratio))?;
        let worst = comparisons.iter().min_by(|a, b| a.ratio().total_cmp(&b.ratio()))?;
        Some(Ratios { mean, worst, count: comparisons.len() })
    }
}

impl Measurements {
    /// The fastest of our backends on each shape of a set, and how many times as fast as the next it is.
    pub fn winners(&self, set: &str, conditions: &Conditions) -> Vec<Winner<'_>> {
        let mut winners: Vec<Winner> = Vec::new();
        let timed = |m: &&Measurement| m.record.set == set && m.conditions() == *conditions && m.best_ms().is_some();
        let backends: Vec<&Measurement> = self.newest.iter().filter(timed).filter(|m| m.is_backend()).collect();
        for group in backends.chunk_by(|a, b| a.record.shape == b.record.shape) {
            let mut group = group.to_vec();
            group.sort_by(|a, b| a.best_ms().unwrap_or(f64::MAX).total_cmp(&b.best_ms().unwrap_or(f64::MAX)));
            let margin = group.get(1).and_then(|next| Some(next.best_ms()? / group[0].best_ms()?));
            winners.push(Winner { best: group[0], margin });
        }
        winners
    }

    /// Libraries beside the backend that the chooser takes, or the first in the registry's order where it was not timed, on the
    /// shapes of a set and within one run each: times of different runs differ by more than the programs do. Of several runs that have both, the newest counts.
    pub fn comparisons(&self, set: &str, conditions: &Conditions) -> Vec<Comparison<'_>> {
        let is_timed = |m: &&Measurement| m.record.set == set && m.best_ms().is_some() && m.conditions() == *conditions;
        let timed: Vec<&Measurement> = self.all.iter().filter(is_timed).collect();
        let beside = |library: &Measurement| {
            let same = |m: &&&Measurement| {
                m.is_backend() && m.record.shape == library.record.shape && m.record.run == library.record.run
            };
            timed.iter().filter(same).min_by_key(|m| (!m.record.chosen, m.contestant())).copied()
        };
        let libraries = self.newest.iter().filter(|m| !m.is_ours() && is_timed(m));
        let comparison = |newest: &Measurement| {
            let mut runs = timed.iter().rev().filter(|m| m.key() == newest.key());
            runs.find_map(|&library| Some(Comparison { ours: beside(library)?, library }))
        };
        libraries.filter_map(comparison).collect()
    }
}
