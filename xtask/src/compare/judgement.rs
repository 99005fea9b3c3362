//! Rows of times and what is said of them: from pairs to the table that is printed.

use super::rounds::{Task, Triple};
use super::statistics::{self, CONFIDENCE, Estimate, TooFewPairs, Verdict};
use crate::record::milliseconds;
use comfy_table::{CellAlignment, Table, presets};

/// One backend on one shape and number of threads, with its rounds.
#[derive(Debug, Clone)]
pub struct Row {
    /// Where its task stands among the tasks.
    pub task: usize,
    pub backend: String,
    pub rounds: Vec<Triple>,
}

/// The rows of a run.
#[derive(Debug)]
pub struct Judgements {
    pub rows: Vec<Judgement>,
    /// The median of the rows' noises.
    pub typical_noise: f64,
}

/// What the rounds of a row come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Findings {
    /// HEAD against BASE.
    pub change: Estimate,
    /// How far the interval of BASE against its copy reaches.
    pub noise: f64,
    /// One unit of the last digit, as a share of the time.
    resolution: f64,
    /// The shortest of all rounds.
    base_ms: f64,
    head_ms: f64,
}

/// Findings, what a change had to exceed, and whether it did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    pub findings: Findings,
    threshold: f64,
    pub verdict: Verdict,
}

/// A row with its verdict; measured again where the first looked like a change.
#[derive(Debug, Clone)]
pub struct Judgement {
    pub task: usize,
    pub backend: String,
    pub first: Judged,
    pub again: Option<Judged>,
}

impl Row {
    /// The estimates, from the best time of each process: whatever disturbs a process can only add to its times, so the
    /// shortest is the least disturbed. Beside four busy neighbours the pairs of short calls scattered a third to two
    /// thirds as much as those of the medians (interquartile ranges 0.05 against 0.17, 0.32 against 0.65, 0.04 against
    /// 0.08), those of calls too long for more than two samples alike. That the best of many is drawn to rare luck
    /// matters little, for all sides draw alike.
    pub fn findings(&self) -> Result<Findings, TooFewPairs> {
        let pairs = |of: fn(&Triple) -> Option<f64>| -> Vec<f64> { self.rounds.iter().filter_map(of).collect() };
        let change = Estimate::of(&pairs(|[a, _, b]| statistics::log_ratio(b.best_ms, a.best_ms)))?;
        let same = Estimate::of(&pairs(|[a, copy, _]| statistics::log_ratio(copy.best_ms, a.best_ms)))?;
        let shortest =
            |program: usize| self.rounds.iter().map(|times| times[program].best_ms).fold(f64::INFINITY, f64::min);
        let coarsest = self.rounds.iter().flatten().map(|time| time.resolution_ms).fold(0.0, f64::max);
        let (base_ms, head_ms) = (shortest(0), shortest(2));
        Ok(Findings { change, noise: same.reach(), resolution: coarsest / base_ms.min(head_ms), base_ms, head_ms })
    }
}

impl Findings {
    /// Judged beside rows whose noise typically is `typical_noise`.
    pub fn judge(self, typical_noise: f64) -> Judged {
        let threshold = statistics::threshold(self.noise, typical_noise, self.resolution);
        Judged { findings: self, threshold, verdict: self.change.verdict(threshold) }
    }
}

impl Judgement {
    /// What is concluded: a change only if it showed both times.
    pub fn verdict(&self) -> Verdict {
        self.again.as_ref().map_or(Verdict::NoChange, |again| statistics::confirmed(self.first.verdict, again.verdict))
    }
}

/// A change as people read it: how many times as long HEAD takes.
fn ratio(log: f64) -> String {
    format!("{:.3}", log.exp())
}

/// A noise or threshold in percent.
fn percent(log: f64) -> String {
    format!("{:.1}", 100.0 * log.exp_m1())
}

impl Judgements {
    /// How many rows came to this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict() == verdict).count()
    }

    /// The rows, slower ones first, then faster ones; a second line holds what the second measurement found.
    pub fn table(&self, tasks: &[Task]) -> String {
        let mut sorted: Vec<&Judgement> = self.rows.iter().collect();
        sorted.sort_by(|x, y| {
            let change = |row: &Judgement| row.first.findings.change.middle;
            x.verdict().cmp(&y.verdict()).then(change(y).total_cmp(&change(x)))
        });
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(titles());
        for column in table.column_iter_mut().skip(1).take(7) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for row in sorted {
            table.add_rows(row.lines(&tasks[row.task]));
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
    }

    /// One line on all rows.
    pub fn summary(&self) -> String {
        let [slower, faster, same] = [Verdict::Slower, Verdict::Faster, Verdict::NoChange].map(|v| self.count(v));
        let unconfirmed = self.rows.iter().filter(|row| row.again.is_some() && row.verdict() == Verdict::NoChange);
        let aside = match unconfirmed.count() {
            0 => String::new(),
            count => format!(" ({count} looked changed, but not a second time)"),
        };
        let noise = percent(self.typical_noise);
        format!(
            "{slower} slower, {faster} faster, {same} without a change{aside}; a row's noise is typically {noise} %"
        )
    }
}

impl Judgement {
    /// The line of the table, and a second one if it was measured again.
    fn lines(&self, task: &Task) -> impl Iterator<Item = Vec<String>> {
        let verdict = match self.verdict() {
            Verdict::Slower => "slower",
            Verdict::Faster => "faster",
            Verdict::NoChange if self.again.is_some() => "not confirmed",
            Verdict::NoChange => "no change",
        };
        let name = task.shape.name.clone().unwrap_or_else(|| task.shape.to_string());
        let words = [task.threads.to_string(), self.backend.clone(), name];
        let first = [vec![verdict.to_owned()], cells(&self.first), words.to_vec()].concat();
        let again = self.again.as_ref().map(|again| [vec!["  again".to_owned()], cells(again)].concat());
        std::iter::once(first).chain(again)
    }
}

fn titles() -> Vec<String> {
    let interval = format!("{:.0} % interval", 100.0 * CONFIDENCE);
    let titles =
        ["verdict", "ratio", &interval, "noise %", "beyond %", "BASE ms", "HEAD ms", "threads", "backend", "shape"];
    titles.map(str::to_owned).to_vec()
}

fn cells(judged: &Judged) -> Vec<String> {
    let Judged { findings: Findings { change, noise, base_ms, head_ms, .. }, threshold, .. } = judged;
    vec![
        ratio(change.middle),
        format!("{} .. {}", ratio(change.low), ratio(change.high)),
        percent(*noise),
        percent(*threshold),
        milliseconds(*base_ms),
        milliseconds(*head_ms),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Time;
    use super::*;

    fn time(best_ms: f64) -> Time {
        Time { best_ms, median_ms: 9.0, resolution_ms: 1e-4 }
    }

    fn row(task: usize, head: f64) -> Row {
        let backend = "direct".to_owned();
        Row { task, backend, rounds: vec![[time(2.0), time(2.01), time(head)]; 10] }
    }

    fn judgement(task: usize, first: f64, again: Option<f64>) -> Judgement {
        let judge = |head| row(task, head).findings().unwrap().judge(0.0);
        Judgement { task, backend: "direct".to_owned(), first: judge(first), again: again.map(judge) }
    }

    #[test]
    fn findings_come_from_the_best_times() {
        let findings = row(0, 2.2).findings().unwrap();
        assert!((findings.change.middle - 1.1f64.ln()).abs() < 1e-12);
        assert!((findings.noise - 1.005f64.ln()).abs() < 1e-12);
        assert_eq!([findings.base_ms, findings.head_ms], [2.0, 2.2]);
    }

    #[test]
    fn times_too_short_for_their_digits_are_no_change_and_zeros_no_pairs() {
        let coarse = |best_ms| Time { best_ms, median_ms: best_ms, resolution_ms: 1e-4 };
        let rounds = vec![[coarse(0.0007), coarse(0.0007), coarse(0.0008)]; 10];
        let row = |rounds| Row { task: 0, backend: "direct".to_owned(), rounds };
        assert_eq!(row(rounds).findings().unwrap().judge(0.0).verdict, Verdict::NoChange);
        let zeros = vec![[coarse(0.0), coarse(0.0), coarse(0.0)]; 10];
        assert!(row(zeros).findings().unwrap_err().to_string().starts_with("only 0 of its pairs"));
    }

    #[test]
    fn slower_rows_come_first_and_what_was_measured_again_shows_both_times() {
        let shape = |name: &str| format!("mb1ic1ih5oc1kh2n\"{name}\"").parse().unwrap();
        let task = |name| Task { shape: shape(name), threads: 1, backends: vec!["direct".to_owned()] };
        let tasks = ["same", "slow", "fast", "lucky"].map(task);
        let rows = vec![
            judgement(0, 2.0, None),
            judgement(1, 2.2, Some(2.24)),
            judgement(2, 1.8, Some(1.8)),
            judgement(3, 2.2, Some(2.0)),
        ];
        let judgements = Judgements { rows, typical_noise: 0.01 };
        let text = judgements.table(&tasks);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let starts: Vec<_> = lines.iter().map(|line| line.split("  ").next().unwrap_or_default()).collect();
        let expected =
            ["verdict", "slower", "again", "faster", "again", "not confirmed", "again", "no change"].as_slice();
        assert_eq!(starts, expected, "\n{text}");
        assert!(lines[1].ends_with("slow") && lines[2].contains("1.120"), "\n{text}");
        assert_eq!(
            judgements.summary(),
            "1 slower, 1 faster, 2 without a change (1 looked changed, but not a second time); \
             a row's noise is typically 1.0 %"
        );
    }
}
