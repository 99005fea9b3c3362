//! The regret of a chooser that measures, found by having it choose now.
//!
//! The times that were kept cannot tell it, for it depends on how well a tenth of a second tells backends apart. So the command line
//! chooses for some of the shapes held out, and the backends near the fastest are timed beside each other, and beside its choice,
//! after that.

use super::regret::Regret;
use super::times::{Record, Times, Use, bench};
use crate::process;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Seconds the chooser has for a shape: the budget it has by default.
const BUDGET: &str = "0.1";

/// Backends that took more than this many times the fastest are not timed again: kernels change, and the times that were kept must
/// not decide who may win.
const NEAR: f64 = 6.0;

/// The regret on so many shapes of each setting that this processor has.
pub fn regrets(root: &Path, times: &Times, count: usize) -> Result<Vec<Regret>> {
    let convgrad = crate::build::convgrad(root)?;
    let held_out = || times.records.iter().filter(|record| record.purpose == Use::HeldOut);
    let settings: BTreeSet<_> = held_out().map(|record| &record.setting).collect();
    let mut regrets = Vec::new();
    for setting in settings.into_iter().filter(|setting| convgrad::Isa::by_name(&setting.isa).is_ok()) {
        let records: Vec<&Record> = held_out().filter(|record| record.setting == *setting).take(count).collect();
        for (record, choice) in records.iter().zip(choices(&convgrad, &records)?) {
            regrets.extend(regret(&convgrad, record, &choice)?);
        }
    }
    Ok(regrets)
}

/// What the chooser says of each shape of a setting.
fn choices(convgrad: &Path, records: &[&Record]) -> Result<Vec<Value>> {
    let mut list = tempfile::NamedTempFile::new()?;
    for record in records {
        writeln!(list, "{}", record.shape)?;
    }
    let mut command = Command::new(convgrad);
    command.args(["choose", "--json", "--measure", "--budget", BUDGET]);
    command.args(records.first().map(|record| record.setting.arguments()).into_iter().flatten());
    let printed = process::output(command.arg("--file").arg(list.path()))?;
    printed.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// The regret of a choice, by times measured now; none where there is no choice.
fn regret(convgrad: &Path, record: &Record, explanation: &Value) -> Result<Option<Regret>> {
    let Some(chosen) = explanation["choice"].as_str() else { return Ok(None) };
    let candidates = explanation["candidates"].as_array().context("an explanation has candidates")?;
    let legal = candidates.iter().filter(|candidate| candidate["legal"] == true);
    let legal: BTreeSet<&str> = legal.filter_map(|candidate| candidate["backend"].as_str()).collect();
    let known = record.ms.iter().filter(|(name, _)| legal.contains(name.as_str()));
    let least = known.clone().map(|(_, &ms)| ms).fold(f64::INFINITY, f64::min);
    let near = known.filter(|(_, ms)| **ms <= NEAR * least).map(|(name, _)| name.as_str());
    let timed: BTreeSet<&str> = near.chain([chosen]).collect();
    let timed: Vec<&str> = timed.into_iter().collect();
    let again = bench(convgrad, &record.setting, &[(record.purpose, record.shape)], &timed)?;
    let Some(Record { ms, .. }) = again.into_iter().next() else { return Ok(None) };
    let Some((fastest, least)) = ms.iter().min_by(|a, b| a.1.total_cmp(b.1)) else { return Ok(None) };
    let slowest = ms.values().copied().fold(0.0, f64::max);
    let value = ms.get(chosen).copied().unwrap_or(slowest) / least - 1.0;
    let (purpose, setting, shape) = (record.purpose, record.setting.clone(), record.shape);
    Ok(Some(Regret { purpose, setting, shape, chosen: chosen.to_owned(), fastest: fastest.clone(), value }))
}
