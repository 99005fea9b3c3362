//! The records a report speaks of: of each contestant the newest, in an order that does not depend on the files.

use super::measurement::{Conditions, Contestant, Measurement};
use crate::record::{self, Machine, Record, Run};
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Where each set and shape of the catalogue stands.
struct Catalogue(BTreeMap<String, (usize, BTreeMap<String, usize>)>);

impl Catalogue {
    fn new() -> Catalogue {
        let shapes = |set: &convgrad::catalog::ShapeSet| {
            set.shapes().iter().enumerate().map(|(i, shape)| (shape.to_string(), i)).collect()
        };
        let sets = convgrad::catalog::sets().iter().enumerate();
        Catalogue(sets.map(|(i, set)| (set.name().to_owned(), (i, shapes(set)))).collect())
    }

    /// Sets and shapes in the catalogue's order, then conditions, then our backends in the registry's, then libraries.
    fn rank(&self, m: &Measurement) -> impl Ord + use<> {
        let (set, shape) = self.position(&m.record.set, &m.record.shape);
        let names = (m.record.set.clone(), m.record.shape.clone());
        (set, names.0, shape, names.1, m.conditions(), m.contestant())
    }

    /// What the catalogue does not know comes last.
    fn position(&self, set: &str, shape: &str) -> (usize, usize) {
        let known = self.0.get(set).map(|(i, shapes)| (*i, shapes.get(shape).copied().unwrap_or(usize::MAX)));
        known.unwrap_or((usize::MAX, usize::MAX))
    }
}

/// The pass that this crate is for, and that a report begins with.
const WEIGHT_GRADIENT: &str = "wgrad";

/// All that a report says rests on this.
pub struct Measurements {
    /// The newest of each contestant, ranked.
    pub newest: Vec<Measurement>,
    /// The runs that the newest come from, the oldest first.
    pub runs: Vec<Run>,
    /// All of the records, the oldest first, for comparisons within one run.
    pub all: Vec<Measurement>,
}

impl Measurements {
    /// Reads files of records.
    pub fn read(files: &[PathBuf], mixed: bool) -> Result<Measurements> {
        let mut records = Vec::new();
        for file in files {
            records.extend(record::read(file)?);
        }
        Measurements::new(records, mixed)
    }

    /// Takes records in any order; those of several machines only if `mixed`.
    pub fn new(records: Vec<Record>, mixed: bool) -> Result<Measurements> {
        let mut all = records.into_iter().map(Measurement::new).collect::<Result<Vec<_>>>()?;
        if all.iter().all(|m| m.best_ms().is_none()) {
            bail!("the records hold no time: run `cargo xtask bench` first");
        }
        let catalogue = Catalogue::new();
        all.sort_by_cached_key(|m| (m.record.run.date.clone(), catalogue.rank(m)));
        let newest: BTreeMap<_, _> = all.iter().map(|m| (m.key(), m)).collect();
        let mut newest: Vec<Measurement> = newest.into_values().cloned().collect();
        newest.sort_by_cached_key(|m| catalogue.rank(m));
        // A result's error does not depend on when it was timed: where the newest was not checked, an earlier check of
        // the same code counts.
        let code = |m: &Measurement| (m.key(), m.record.run.revision.clone());
        let errors: BTreeMap<_, f64> = all.iter().filter_map(|m| Some((code(m), m.record.error?))).collect();
        for m in newest.iter_mut().filter(|m| m.best_ms().is_some()) {
            m.record.error = m.record.error.or_else(|| errors.get(&code(m)).copied());
        }
        let mut runs: Vec<Run> = Vec::new();
        for m in &all {
            let used = || newest.iter().any(|other| other.record.run == m.record.run);
            if !runs.contains(&m.record.run) && used() {
                runs.push(m.record.run.clone());
            }
        }
        for m in &mut newest {
            m.run = runs.iter().position(|run| *run == m.record.run).expect("it was collected from them");
        }
        let measurements = Measurements { newest, runs, all };
        let machines = measurements.machines();
        if machines.len() > 1 && !mixed {
            let machines = machines.into_iter().collect::<Vec<_>>().join("; ");
            bail!("the records stem from several machines: {machines}; name the files of one, or give --mixed");
        }
        Ok(measurements)
    }

    /// Processors and their number, of each machine.
    pub fn machines(&self) -> BTreeSet<String> {
        let describe = |run: &Run| format!("{}, {} cores", run.machine.cpu, run.machine.cores);
        self.runs.iter().map(describe).collect()
    }

    /// Of each run, one line by `field`, without repetition.
    pub fn distinct(&self, field: impl Fn(&Run) -> String) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for value in self.runs.iter().map(field) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values
    }

    /// The conditions of the times: those of the weight gradient first, then those with most times.
    pub fn conditions(&self) -> Vec<Conditions> {
        let mut counts: BTreeMap<Conditions, usize> = BTreeMap::new();
        for m in self.newest.iter().filter(|m| m.best_ms().is_some()) {
            *counts.entry(m.conditions()).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(conditions, count)| (conditions.pass != WEIGHT_GRADIENT, std::cmp::Reverse(*count)));
        counts.into_iter().map(|(conditions, _)| conditions).collect()
    }

    /// What the pictures show: the kind measured most, on the fewest and on the most threads.
    pub fn pictured(&self) -> Vec<Conditions> {
        few_and_many_threads(&self.conditions())
    }

    /// The kind measured most of each pass, on the fewest and on the most threads.
    pub fn pictured_of_passes(&self) -> Vec<Vec<Conditions>> {
        let all = self.conditions();
        let mut passes: Vec<&str> = all.iter().map(|conditions| conditions.pass.as_str()).collect();
        let mut seen = BTreeSet::new();
        passes.retain(|pass| seen.insert(*pass));
        let of_pass = |pass: &str| all.iter().filter(|c| c.pass == pass).cloned().collect::<Vec<_>>();
        passes.into_iter().map(|pass| few_and_many_threads(&of_pass(pass))).collect()
    }

    /// The newest under these conditions.
    pub fn under(&self, conditions: &Conditions) -> Vec<&Measurement> {
        self.newest.iter().filter(|m| m.conditions() == *conditions).collect()
    }

    /// Names of the sets, in order.
    pub fn sets(&self) -> Vec<&str> {
        let mut sets: Vec<&str> = self.newest.iter().map(|m| m.record.set.as_str()).collect();
        sets.dedup();
        sets
    }

    /// Those implementations that were timed or refused, in order of display.
    pub fn contestants<'a>(measurements: impl IntoIterator<Item = &'a Measurement>) -> Vec<Contestant> {
        let contestants: BTreeSet<Contestant> = measurements.into_iter().map(Measurement::contestant).collect();
        contestants.into_iter().collect()
    }

    /// The highest peak and read bandwidths that runs with this kind and number of threads measured: a disturbance can
    /// only lower them.
    pub fn roofs(&self, conditions: &Conditions) -> Roofs {
        let of = |run: &&Run| {
            let machine = &run.machine;
            (&machine.dtype, &machine.isa, machine.threads) == (&conditions.dtype, &conditions.isa, conditions.threads)
        };
        let highest =
            |field: fn(&Machine) -> f64| self.runs.iter().filter(of).map(|run| field(&run.machine)).fold(0.0, f64::max);
        let levels = [
            ("L1", highest(|m| m.l1_gbs)),
            ("L2", highest(|m| m.l2_gbs)),
            ("L3", highest(|m| m.l3_gbs)),
            ("DRAM", highest(|m| m.dram_gbs)),
        ];
        // A level that a machine does not have is not drawn.
        let levels = levels.into_iter().filter(|(_, gbs)| *gbs > 0.0).collect();
        Roofs { peak_gflops: highest(|m| m.peak_gflops), levels }
    }
}

/// Of the kind of the first conditions, those on the fewest and on the most threads.
fn few_and_many_threads(all: &[Conditions]) -> Vec<Conditions> {
    let mut kind: Vec<_> = all.iter().filter(|conditions| conditions.same_kind(&all[0])).cloned().collect();
    kind.sort_by_key(|conditions| conditions.threads);
    if kind.len() > 2 {
        kind.drain(1..kind.len() - 1);
    }
    kind
}

/// What a machine can reach at most.
pub struct Roofs {
    pub peak_gflops: f64,
    /// Levels of memory with their read bandwidths in 1e9 bytes a second.
    pub levels: Vec<(&'static str, f64)>,
}
