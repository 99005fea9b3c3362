//! What a comparison measured, as JSON lines: every time of every round, so that it can be judged anew.
//!
//! A form of its own in a folder of its own, beside the records of single revisions: a line here is one backend's round
//! of three times, and of worth only beside the others.

use super::rounds::{Task, Time, Triple};
use crate::record::RecordFile;
use anyhow::Result;
use serde::Serialize;

/// The form of the lines.
const FORMAT: u32 = 1;

/// What all lines of a run share.
#[derive(Debug, Clone, Serialize)]
pub struct Run {
    /// When it began, in UTC.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// The commits compared.
    pub base: String,
    pub head: String,
    pub rustc: String,
    /// Processors this program may use.
    pub cores: usize,
    pub pass: String,
    pub layout: String,
    pub dtype: String,
    /// Seconds of measuring for each backend and process.
    pub min_time: f64,
}

/// One backend's times in one round.
#[derive(Serialize)]
struct Line<'a> {
    format: u32,
    #[serde(flatten)]
    run: &'a Run,
    /// 1, or 2 where a row that looked changed was measured again.
    stage: usize,
    round: usize,
    /// Which ran when: a is BASE, c its copy, b HEAD.
    order: String,
    shape: String,
    threads: usize,
    backend: &'a str,
    base_best_ms: f64,
    base_median_ms: f64,
    copy_best_ms: f64,
    copy_median_ms: f64,
    head_best_ms: f64,
    head_median_ms: f64,
}

/// Where a round stands in a run.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub stage: usize,
    pub round: usize,
    pub order: [usize; 3],
}

/// Writes a backend's round.
pub fn append(
    file: &mut RecordFile,
    run: &Run,
    place: Place,
    task: &Task,
    backend: &str,
    times: &Triple,
) -> Result<()> {
    let [base, copy, head] = times;
    let Time { best_ms: base_best_ms, median_ms: base_median_ms, .. } = *base;
    let Time { best_ms: copy_best_ms, median_ms: copy_median_ms, .. } = *copy;
    let Time { best_ms: head_best_ms, median_ms: head_median_ms, .. } = *head;
    file.append(&Line {
        format: FORMAT,
        run,
        stage: place.stage,
        round: place.round,
        order: place.order.iter().map(|&program| ['a', 'c', 'b'][program]).collect(),
        shape: task.shape.to_string(),
        threads: task.threads,
        backend,
        base_best_ms,
        base_median_ms,
        copy_best_ms,
        copy_median_ms,
        head_best_ms,
        head_median_ms,
    })
}
