//! A comparison under way: rounds over all tasks, and a second time over those that look changed.

use super::judgement::{Judged, Judgement, Judgements, Row};
use super::pairs::{self, Place, Run};
use super::rounds::{Manner, ORDERS, Programs, Task};
use super::statistics::{self, Verdict};
use crate::record::RecordFile;
use crate::runner::Runner;
use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeSet;

/// What a comparison measures, and where it writes.
pub struct Session<'a> {
    pub run: Run,
    pub records: RecordFile,
    pub manner: Manner,
    pub tasks: Vec<Task>,
    pub rounds: usize,
    pub runner: &'a Runner,
}

impl Session<'_> {
    /// Measures and judges. Each stage has copies of the programs of its own.
    pub fn judge(&mut self, stages: &[Programs; 2]) -> Result<Judgements> {
        let everything = (0..self.tasks.len()).collect();
        let mut found = Vec::new();
        for row in self.measure(1, &stages[0], &everything)? {
            match row.findings() {
                Ok(findings) => found.push((row, findings)),
                Err(too_few) => eprintln!("{} on {}: {too_few}", row.backend, self.tasks[row.task].shape),
            }
        }
        ensure!(!found.is_empty(), "nothing could be judged: choose other shapes, or longer ones");
        let mut noises: Vec<f64> = found.iter().map(|(_, findings)| findings.noise).collect();
        let typical_noise = statistics::median(&mut noises);
        let first: Vec<(Row, Judged)> =
            found.into_iter().map(|(row, findings)| (row, findings.judge(typical_noise))).collect();

        let looks_changed = |judged: &Judged| judged.verdict != Verdict::NoChange;
        let suspected: BTreeSet<usize> =
            first.iter().filter(|(_, judged)| looks_changed(judged)).map(|(row, _)| row.task).collect();
        let mut second = Vec::new();
        if !suspected.is_empty() {
            let rows = first.iter().filter(|(_, judged)| looks_changed(judged)).count();
            eprintln!("{rows} of {} rows look changed and are measured again", first.len());
            second = self.measure(2, &stages[1], &suspected)?;
        }
        let again = |row: &Row| {
            let again = second.iter().find(|other| (other.task, &other.backend) == (row.task, &row.backend))?;
            Some(again.findings().ok()?.judge(typical_noise))
        };
        let judgement = |(row, first): (Row, Judged)| Judgement {
            again: looks_changed(&first).then(|| again(&row)).flatten(),
            task: row.task,
            backend: row.backend,
            first,
        };
        Ok(Judgements { rows: first.into_iter().map(judgement).collect(), typical_noise })
    }

    /// The rows of some tasks, each time written down as soon as it is known.
    fn measure(&mut self, stage: usize, programs: &Programs, which: &BTreeSet<usize>) -> Result<Vec<Row>> {
        let rows_of = |&task: &usize| {
            let row = move |backend: &String| Row { task, backend: backend.clone(), rounds: Vec::new() };
            self.tasks[task].backends.iter().map(row)
        };
        let mut rows: Vec<Row> = which.iter().flat_map(rows_of).collect();
        // Hidden by itself where stderr is no terminal.
        let progress = ProgressBar::new((self.rounds * which.len()) as u64)
            .with_style(ProgressStyle::with_template("{bar:30} {percent} %, {eta} left  {msg}")?);
        for round in 0..self.rounds {
            for &index in which {
                let task = &self.tasks[index];
                progress.set_message(format!("round {} of {}: {}", round + 1, self.rounds, task.shape));
                let place = Place { stage, round, order: ORDERS[(round + index) % ORDERS.len()] };
                let times = programs.round(task, &self.manner, place.order, self.runner)?;
                for row in rows.iter_mut().filter(|row| row.task == index) {
                    if let Some(times) = times.get(&row.backend) {
                        pairs::append(&mut self.records, &self.run, place, task, &row.backend, times)?;
                        row.rounds.push(*times);
                    }
                }
                progress.inc(1);
            }
        }
        progress.finish_and_clear();
        Ok(rows)
    }
}
