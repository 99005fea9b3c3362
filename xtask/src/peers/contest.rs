//! One problem: every contestant takes it up, is checked, and is timed in turns with the others.
//!
//! Machines are shared and their clocks drift, so nobody is timed in one go. In every round each contestant has a short
//! turn, a different one begins each round, and a disturbance meets all of them. One who fails loses its program, which
//! is started anew for the next problem, and the others go on.

use super::answer::Answer;
use super::child::Patience;
use super::contestant::Contestant;
use super::expected::{self, Expected};
use anyhow::{Result, bail};
use convgrad::measure::Timing;
use std::path::Path;

/// How the time is dealt.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    pub threads: usize,
    pub rounds: usize,
    /// Seconds for which each contestant is sampled on a problem, all rounds together; one sample at least.
    pub seconds: f64,
}

/// A problem.
pub struct Task<'a> {
    /// Where it lies, and where contestants write; the same for all problems of a run.
    pub directory: &'a Path,
    pub expected: Expected,
    /// Entries of the result.
    pub entries: usize,
    /// Products that each entry sums.
    pub terms: usize,
}

/// What came of a contestant on a problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    pub verdict: Verdict,
    /// Of its result, where there is one: see [`Expected::error_of`].
    pub error: Option<f64>,
}

/// Whether a contestant was timed, and if not, why.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    Timed(Timing),
    /// It does not do this kind of problem.
    Refused(String),
    /// It cannot be had, broke off, died, or did not answer.
    Failed(String),
    /// Its result is wrong.
    Wrong(String),
}

impl Verdict {
    /// Why it was not timed.
    pub fn reason(&self) -> Option<String> {
        match self {
            Verdict::Timed(_) => None,
            Verdict::Refused(reason) => Some(format!("refused: {reason}")),
            Verdict::Failed(reason) => Some(reason.clone()),
            Verdict::Wrong(reason) => Some(format!("wrong result: {reason}")),
        }
    }
}

/// Holds the contest; standings are in the order of the contestants. An error is the user's wish to stop.
pub fn hold(
    contestants: &mut [Contestant],
    task: &Task<'_>,
    schedule: Schedule,
    patience: Patience<'_>,
) -> Result<Vec<Standing>> {
    let mut turns = Vec::new();
    for contestant in contestants.iter_mut() {
        let turn = Turns::begin(contestant, task, schedule, patience);
        if (patience.stop)() {
            bail!("interrupted");
        }
        turns.push(turn);
    }
    for round in 0..schedule.rounds {
        for i in 0..contestants.len() {
            let i = (round + i) % contestants.len();
            turns[i].take(&mut contestants[i], task, schedule, patience);
            if (patience.stop)() {
                bail!("interrupted");
            }
        }
    }
    Ok(turns.into_iter().map(Turns::end).collect())
}

/// A contestant's turns so far.
struct Turns {
    /// Why there are no more.
    out: Option<Verdict>,
    error: Option<f64>,
    samples: Vec<f64>,
    /// Seconds of sampling still to be done.
    remaining: f64,
}

impl Turns {
    /// Takes up the problem and checks the result.
    fn begin(contestant: &mut Contestant, task: &Task<'_>, schedule: Schedule, patience: Patience<'_>) -> Turns {
        let mut turns = Turns { out: None, error: None, samples: Vec::new(), remaining: schedule.seconds };
        let mut checked = || -> Result<(Option<Verdict>, Option<f64>)> {
            let child = contestant.child(schedule.threads, task.directory, patience)?;
            match child.load(task.directory, patience)? {
                Answer::Ready => {}
                Answer::Refused(reason) => return Ok((Some(Verdict::Refused(reason)), None)),
                other => return Ok((Some(unexpected(other)), None)),
            }
            let file = task.directory.join("result.f32");
            // The result of whoever came before must not be taken for this one's.
            if file.exists() {
                std::fs::remove_file(&file)?;
            }
            match child.compute(patience)? {
                Answer::Written => {}
                other => return Ok((Some(unexpected(other)), None)),
            }
            let result = expected::read_result(&file, task.entries)?;
            let (error, bound) = (task.expected.error_of(&result), expected::bound(task.terms));
            let wrong = || Verdict::Wrong(format!("its error is {error:.1e}, {bound:.1e} is allowed"));
            // Written so that a NaN would be wrong.
            Ok((if error <= bound { None } else { Some(wrong()) }, Some(error)))
        };
        match checked() {
            Ok((out, error)) => (turns.out, turns.error) = (out, error),
            Err(error) => turns.fail(contestant, format!("{error:#}")),
        }
        turns
    }

    /// One turn, unless it is out or has been sampled for long enough.
    fn take(&mut self, contestant: &mut Contestant, task: &Task<'_>, schedule: Schedule, patience: Patience<'_>) {
        if self.out.is_some() || self.remaining <= 0.0 {
            return;
        }
        let length = schedule.seconds / schedule.rounds as f64;
        let child = contestant.child(schedule.threads, task.directory, patience);
        match child.and_then(|child| child.time(length, patience)) {
            Ok(Answer::Timed(samples)) => {
                // A single call may take far longer than the turn; then there are the fewer turns.
                self.remaining -= length.max(samples.iter().sum());
                // Rounding must not leave a turn of no length.
                self.remaining = if self.remaining < length / 2.0 { 0.0 } else { self.remaining };
                self.samples.extend(samples);
            }
            Ok(other) => self.out = Some(unexpected(other)),
            Err(error) => self.fail(contestant, format!("{error:#}")),
        }
    }

    fn fail(&mut self, contestant: &mut Contestant, reason: String) {
        contestant.stop();
        self.out = Some(Verdict::Failed(reason));
    }

    fn end(self) -> Standing {
        let verdict = self.out.unwrap_or_else(|| Verdict::Timed(timing(self.samples)));
        Standing { verdict, error: self.error.filter(|error| error.is_finite()) }
    }
}

fn unexpected(answer: Answer) -> Verdict {
    Verdict::Failed(match answer {
        Answer::Failed(reason) => reason,
        other => format!("it answered {other:?} out of turn"),
    })
}

/// Best and median of samples, of which there is at least one.
fn timing(mut samples: Vec<f64>) -> Timing {
    samples.sort_unstable_by(f64::total_cmp);
    let middle = samples.len() / 2;
    let median = match samples.len() % 2 {
        0 => (samples[middle - 1] + samples[middle]) / 2.0,
        _ => samples[middle],
    };
    Timing { best: samples[0], median, samples: samples.len() }
}

#[cfg(all(test, unix))]
mod tests;
