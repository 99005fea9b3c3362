//! What wins where, counted: by set, beside libraries, and who refused what.

use super::contest::{Comparison, Ratios, Winner};
use super::measurement::{Conditions, Contestant, Measurement};
use super::measurements::Measurements;
use super::numbers::{count, magnitude, percent, times};
use super::statistics::median;
use convgrad::ConvShape;
use std::collections::{BTreeMap, HashSet};

/// How our backends fared against each other on the shapes of a set.
pub struct SetSummary<'a> {
    pub set: &'a str,
    pub conditions: Conditions,
    pub winners: Vec<Winner<'a>>,
}

impl<'a> SetSummary<'a> {
    /// Of every set that was measured under these conditions.
    pub fn all(measurements: &'a Measurements, conditions: &Conditions) -> Vec<SetSummary<'a>> {
        let summary =
            |set| SetSummary { set, conditions: conditions.clone(), winners: measurements.winners(set, conditions) };
        measurements.sets().into_iter().map(summary).filter(|summary| !summary.winners.is_empty()).collect()
    }

    /// Such as `direct on 18, im2col on 2`.
    pub fn wins(&self) -> String {
        wins(&self.winners.iter().collect::<Vec<_>>())
    }

    /// Least, median and greatest share of the peak, each of the fastest backend on a shape.
    pub fn shares(&self) -> [f64; 3] {
        shares(&self.winners.iter().collect::<Vec<_>>())
    }
}

fn wins(winners: &[&Winner]) -> String {
    match &win_counts(winners)[..] {
        [(name, _)] => format!("{name} on all"),
        counts => counts.iter().map(|(name, count)| format!("{name} on {count}")).collect::<Vec<_>>().join(", "),
    }
}

/// On how many shapes each backend is fastest, those with most first.
fn win_counts(winners: &[&Winner]) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<Contestant, usize> = BTreeMap::new();
    for winner in winners {
        *counts.entry(winner.best.contestant()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().map(|(contestant, count)| (contestant.name, count)).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

fn share(winner: &Winner) -> f64 {
    winner.best.share_of_peak().expect("winners are timed")
}

fn shares(winners: &[&Winner]) -> [f64; 3] {
    let all = || winners.iter().map(|winner| share(winner));
    [all().fold(f64::INFINITY, f64::min), median(all()).unwrap_or_default(), all().fold(0.0, f64::max)]
}

/// Our fastest backend beside one library on the shapes of a set.
pub struct Beside<'a> {
    pub set: &'a str,
    pub conditions: Conditions,
    pub library: &'a Measurement,
    pub comparisons: Vec<Comparison<'a>>,
}

impl<'a> Beside<'a> {
    /// Every library on every set, under these conditions.
    pub fn all(measurements: &'a Measurements, conditions: &Conditions) -> Vec<Beside<'a>> {
        let mut all = Vec::new();
        for set in measurements.sets() {
            let mut by_library: BTreeMap<_, Vec<Comparison>> = BTreeMap::new();
            for comparison in measurements.comparisons(set, conditions) {
                by_library.entry(comparison.library.contestant()).or_default().push(comparison);
            }
            all.extend(by_library.into_values().map(|comparisons| Beside {
                set,
                conditions: conditions.clone(),
                library: comparisons[0].library,
                comparisons,
            }));
        }
        all
    }

    pub fn ratios(&self) -> Ratios<'_> {
        Ratios::of(&self.comparisons).expect("it was made of one at least")
    }
}

/// Refusals of one implementation for one reason.
pub struct Refusals<'a> {
    pub implementation: &'a str,
    pub reason: &'a str,
    /// Each with its set and number of threads.
    pub refused: Vec<&'a Measurement>,
}

impl<'a> Refusals<'a> {
    pub fn all(measurements: &'a Measurements) -> Vec<Refusals<'a>> {
        let mut by_reason: BTreeMap<_, Refusals> = BTreeMap::new();
        for m in &measurements.newest {
            if let Some(reason) = m.refusal() {
                let empty = || Refusals { implementation: m.implementation(), reason, refused: Vec::new() };
                by_reason.entry((m.contestant(), reason)).or_insert_with(empty).refused.push(m);
            }
        }
        by_reason.into_values().collect()
    }

    /// The shapes in the order of the catalogue, each once however many threads were tried.
    pub fn shapes(&self) -> Vec<&'a str> {
        let mut seen = HashSet::new();
        let shapes = self.refused.iter().map(|m| m.record.shape.as_str());
        shapes.filter(|shape| seen.insert(*shape)).collect()
    }
}

/// The whole in a few sentences.
pub fn sentences(measurements: &Measurements) -> Vec<String> {
    let mut sentences: Vec<String> =
        measurements.conditions().iter().filter_map(|conditions| backends(measurements, conditions)).collect();
    sentences.extend(measurements.conditions().iter().filter_map(|conditions| libraries(measurements, conditions)));
    sentences.extend(accuracy(measurements));
    sentences
}

/// Which backend wins under these conditions, and what it reaches.
fn backends(measurements: &Measurements, conditions: &Conditions) -> Option<String> {
    let summaries = SetSummary::all(measurements, conditions);
    // A shape of several sets counts once.
    let mut seen: HashSet<ConvShape> = HashSet::new();
    let winners = summaries.iter().flat_map(|summary| &summary.winners);
    let winners: Vec<&Winner> = winners.filter(|winner| seen.insert(winner.best.shape)).collect();
    let most = winners.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
    let least = winners.iter().min_by(|a, b| share(a).total_cmp(&share(b)))?;
    let counts = win_counts(&winners);
    let (first, count_first) = &counts[0];
    let of = if counts.len() == 1 { "all".to_owned() } else { format!("{count_first} of") };
    let others: String = counts[1..].iter().map(|(name, count)| format!(", {name} on {count}")).collect();
    Some(format!(
        "{}: {first} is the fastest of our backends on {of} {}{others}. The fastest reaches {} of the FMA peak in the \
         median, at most {} ({}), at least {} ({}).",
        conditions.describe(),
        count(winners.len(), "shape"),
        percent(shares(&winners)[1]),
        percent(share(most)),
        most.best.name,
        percent(share(least)),
        least.best.name,
    ))
}

/// How our first choice fares beside each library under these conditions, all sets together.
fn libraries(measurements: &Measurements, conditions: &Conditions) -> Option<String> {
    let mut by_library: BTreeMap<_, Vec<Comparison>> = BTreeMap::new();
    for beside in Beside::all(measurements, conditions) {
        by_library.entry(beside.library.contestant()).or_default().extend(beside.comparisons);
    }
    let words = |comparisons: Vec<Comparison>| {
        let ratios = Ratios::of(&comparisons)?;
        let library = ratios.worst.library;
        Some(format!(
            "{} times as fast as {} ({}, at worst {} on {})",
            times(ratios.mean),
            library.library(),
            count(ratios.count, "shape"),
            times(ratios.worst.ratio()),
            library.name,
        ))
    };
    let words: Vec<String> = by_library.into_values().filter_map(words).collect();
    (!words.is_empty()).then(|| {
        format!("{}: our first choice is, in the geometric mean, {}.", conditions.describe(), words.join("; "))
    })
}

/// The largest error of each implementation, by number type.
fn accuracy(measurements: &Measurements) -> Vec<String> {
    let mut greatest: BTreeMap<&str, BTreeMap<Contestant, f64>> = BTreeMap::new();
    for m in &measurements.newest {
        if let Some(error) = m.record.error {
            let of_type = greatest.entry(&m.record.run.machine.dtype).or_default();
            let entry = of_type.entry(m.contestant()).or_default();
            *entry = entry.max(error);
        }
    }
    let sentence = |(dtype, of_type): (&str, BTreeMap<Contestant, f64>)| {
        let errors = of_type.iter().map(|(contestant, error)| format!("{} {}", contestant.name, magnitude(*error)));
        format!(
            "Largest error in {dtype}, relative to the root mean square of the result: {}.",
            errors.collect::<Vec<_>>().join(", ")
        )
    };
    greatest.into_iter().map(sentence).collect()
}
