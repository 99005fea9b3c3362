//! What a contest comes to, as Markdown whose columns also stand under each other in a terminal.

use super::summary::{Row, Summary};
use crate::record::Run;
use convgrad::Op;

/// A contest on one number of threads.
pub struct Contest {
    pub run: Run,
    /// Contestants, in the order of each row's times.
    pub names: Vec<String>,
    pub rows: Vec<Row>,
    /// Contestant, label of the shape, and why it was not timed.
    pub untimed: Vec<(String, String, String)>,
    /// Whether a result was wrong or one of our backends broke off.
    pub failed: bool,
}

/// What stands above the tables.
pub struct Heading<'a> {
    pub pass: Op,
    pub set: &'a str,
    pub layout: &'a str,
    /// What took part, with versions.
    pub versions: &'a [String],
}

/// The whole text.
pub fn document(heading: &Heading<'_>, contests: &[Contest]) -> String {
    let mut text = format!("# `{}`: {}, {}\n", heading.set, heading.pass, heading.layout);
    if let Some(Run { date, command, revision, rustc, machine }) = contests.first().map(|contest| &contest.run) {
        text += &format!(
            "\n`{command}` wrote this, begun {date}: {}, {} cores, {}; {rustc}, revision {revision}.\n",
            machine.cpu, machine.cores, machine.isa
        );
    }
    text += &format!("Took part: {}.\n", heading.versions.join(", "));
    for contest in contests {
        text += &contest.text();
    }
    text
}

impl Contest {
    fn text(&self) -> String {
        let machine = &self.run.machine;
        let unit = if machine.threads == 1 { "thread" } else { "threads" };
        let peak = format!("{:.1} GFLOP/s at most in {}", machine.peak_gflops, machine.dtype);
        format!(
            "\n## {} {unit}, {peak}\n\nMilliseconds, the best sample and the median one in brackets:\n\n{}\n\
            Times over that of `auto`, by the best samples: 2.00 takes twice as long, 0.50 half:\n\n{}\n\
            All shapes together; totals count each layer as often as the network has it:\n\n{}{}",
            machine.threads,
            self.times(),
            self.ratios(),
            self.summaries(),
            self.reasons()
        )
    }

    fn times(&self) -> String {
        let titles = ["shape".to_owned()].into_iter().chain(self.names.iter().cloned());
        let row = |row: &Row| {
            let cell = |time: &Option<(f64, f64)>| {
                time.map_or("-".to_owned(), |(best, median)| {
                    format!("{} ({})", milliseconds(best), milliseconds(median))
                })
            };
            [row.label.clone()].into_iter().chain(row.times.iter().map(cell)).collect()
        };
        markdown(titles.collect(), self.rows.iter().map(row).collect())
    }

    fn ratios(&self) -> String {
        let titles = ["shape", "auto", "% peak"].map(str::to_owned).into_iter().chain(self.names.iter().cloned());
        let row = |row: &Row| {
            let auto = row.auto.map_or("-", |auto| &self.names[auto]);
            let share = row.auto_time().map(|time| 100.0 * row.flops / time / (self.run.machine.peak_gflops * 1e9));
            let share = share.map_or("-".to_owned(), |share| format!("{share:.1}"));
            let ratio = |i| row.ratio(i).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            let cells = [row.label.clone(), auto.to_owned(), share];
            cells.into_iter().chain((0..row.times.len()).map(ratio)).collect()
        };
        markdown(titles.collect(), self.rows.iter().map(row).collect())
    }

    fn summaries(&self) -> String {
        let titles = ["against", "shapes", "geometric mean", "worst", "best", "total ms", "auto's", "ratio"];
        let row = |(i, name): (usize, &String)| {
            let Summary { shapes, geometric_mean, worst, best, total, auto_total } = Summary::of(&self.rows, i)?;
            let extreme = |(ratio, label): (f64, String)| format!("{ratio:.2} {label}");
            Some(vec![
                name.clone(),
                shapes.to_string(),
                format!("{geometric_mean:.2}"),
                extreme(worst),
                extreme(best),
                milliseconds(total),
                milliseconds(auto_total),
                format!("{:.2}", total / auto_total),
            ])
        };
        markdown(titles.map(str::to_owned).to_vec(), self.names.iter().enumerate().filter_map(row).collect())
    }

    /// Who was not timed and why, the same reason once with its shapes.
    fn reasons(&self) -> String {
        let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for (name, label, reason) in &self.untimed {
            match groups.iter_mut().find(|group| (group.0, group.1) == (name, reason)) {
                Some(group) => group.2.push(label),
                None => groups.push((name, reason, vec![label])),
            }
        }
        if groups.is_empty() {
            return "\nEveryone was timed on every shape.\n".to_owned();
        }
        let line = |(name, reason, labels): &(&str, &str, Vec<&str>)| {
            let shapes = if labels.len() == self.rows.len() { "every shape".to_owned() } else { labels.join(", ") };
            format!("- {name}: {reason} ({shapes})\n")
        };
        format!("\nNot timed:\n\n{}", groups.iter().map(line).collect::<String>())
    }
}

/// Four digits that count.
fn milliseconds(seconds: f64) -> String {
    let milliseconds = seconds * 1e3;
    let digits = 3 - milliseconds.max(1e-9).log10().floor() as i32;
    format!("{milliseconds:.*}", digits.clamp(0, 6) as usize)
}

/// A table, its first column set left and the others right.
fn markdown(titles: Vec<String>, rows: Vec<Vec<String>>) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| &row[i]).chain([&titles[i]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cell = |(i, cell): (usize, &String)| match i {
            0 => format!("| {cell:<0$} |", widths[i]),
            _ => format!(" {cell:>0$} |", widths[i]),
        };
        cells.iter().enumerate().map(cell).collect::<String>() + "\n"
    };
    let rule = |i: usize| if i == 0 { "-".repeat(widths[i]) } else { "-".repeat(widths[i] - 1) + ":" };
    let rules: Vec<String> = (0..titles.len()).map(rule).collect();
    line(&titles) + &line(&rules) + &rows.iter().map(|row| line(row)).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Machine;

    fn contest() -> Contest {
        let machine = Machine {
            version: "0.1.0".to_owned(),
            cpu: "AMD EPYC".to_owned(),
            cores: 2,
            isa: "avx512".to_owned(),
            threads: 1,
            dtype: "f32".to_owned(),
            peak_gflops: 200.0,
            l1_gbs: 4.0,
            l2_gbs: 3.0,
            l3_gbs: 2.0,
            dram_gbs: 1.0,
        };
        let run = Run {
            date: "2026-11-23T08:00:00Z".to_owned(),
            command: "cargo xtask peers".to_owned(),
            revision: "d0ba4468a1c2".to_owned(),
            rustc: "rustc 1.95.0".to_owned(),
            machine,
        };
        let row = |label: &str, times: [Option<(f64, f64)>; 2]| Row {
            label: label.to_owned(),
            flops: 1e9,
            repetitions: 2,
            auto: Some(0),
            times: times.to_vec(),
        };
        Contest {
            run,
            names: vec!["direct".to_owned(), "candle".to_owned()],
            rows: vec![
                row("net:conv1", [Some((0.01, 0.0125)), Some((0.04, 0.05))]),
                row("net:a", [Some((20e-6, 21e-6)), None]),
            ],
            untimed: vec![("candle".to_owned(), "net:a".to_owned(), "refused: one dimension".to_owned())],
            failed: false,
        }
    }

    #[test]
    fn the_document_says_what_came_of_it_and_where_it_is_from() {
        let heading =
            Heading { pass: Op::WeightGradient, set: "net", layout: "nchw", versions: &["convgrad 0.1.0".to_owned()] };
        let text = document(&heading, &[contest()]);
        let expected = "\
# `net`: weight gradient, nchw

`cargo xtask peers` wrote this, begun 2026-11-23T08:00:00Z: AMD EPYC, 2 cores, avx512; rustc 1.95.0, revision d0ba4468a1c2.
Took part: convgrad 0.1.0.

## 1 thread, 200.0 GFLOP/s at most in f32

Milliseconds, the best sample and the median one in brackets:

| shape     |            direct |        candle |
| --------- | ----------------: | ------------: |
| net:conv1 |     10.00 (12.50) | 40.00 (50.00) |
| net:a     | 0.02000 (0.02100) |             - |

Times over that of `auto`, by the best samples: 2.00 takes twice as long, 0.50 half:

| shape     |   auto |  % peak | direct | candle |
| --------- | -----: | ------: | -----: | -----: |
| net:conv1 | direct |    50.0 |   1.00 |   4.00 |
| net:a     | direct | 25000.0 |   1.00 |      - |

All shapes together; totals count each layer as often as the network has it:

| against | shapes | geometric mean |          worst |           best | total ms | auto's | ratio |
| ------- | -----: | -------------: | -------------: | -------------: | -------: | -----: | ----: |
| direct  |      2 |           1.00 | 1.00 net:conv1 |     1.00 net:a |    20.04 |  20.04 |  1.00 |
| candle  |      1 |           4.00 | 4.00 net:conv1 | 4.00 net:conv1 |    80.00 |  20.00 |  4.00 |

Not timed:

- candle: refused: one dimension (net:a)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_reason_is_said_once_with_its_shapes() {
        let mut contest = contest();
        let untimed = |name: &str, label: &str| (name.to_owned(), label.to_owned(), "missing: no compiler".to_owned());
        contest.untimed = vec![untimed("a", "net:conv1"), untimed("b", "net:a"), untimed("a", "net:a")];
        let reasons = "\nNot timed:\n\n- a: missing: no compiler (every shape)\n- b: missing: no compiler (net:a)\n";
        assert_eq!(contest.reasons(), reasons);
        contest.untimed.clear();
        assert_eq!(contest.reasons(), "\nEveryone was timed on every shape.\n");
    }

    #[test]
    fn times_have_four_digits() {
        for (seconds, text) in [(12.3456, "12346"), (1.23456, "1235"), (0.0123456, "12.35"), (1.23456e-6, "0.001235")] {
            assert_eq!(milliseconds(seconds), text);
        }
    }
}
