//! `docs/performance.md`: the figures as text, for reading in the repository and for differences between versions.

use super::contest::{Comparison, Winner};
use super::measurement::Contestant;
use super::measurements::Measurements;
use super::numbers::{count, decimal, percent, times};
use super::page::day;
use super::summary::{self, Beside, Refusals, SetSummary};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The whole document.
pub fn document(measurements: &Measurements) -> String {
    let mut text = header(measurements);
    text += "\n## In short\n\n";
    for sentence in summary::sentences(measurements) {
        text += &format!("- {}\n", escaped(&sentence));
    }
    text += "\n";
    text += &machine(measurements);
    for conditions in measurements.conditions() {
        let summaries = SetSummary::all(measurements, &conditions);
        if summaries.is_empty() {
            continue;
        }
        write!(text, "## {}\n\n", conditions.describe()).expect("a string grows");
        for summary in &summaries {
            text += &set(measurements, summary);
        }
    }
    text += &refusals(measurements);
    text += READING;
    text
}

fn header(measurements: &Measurements) -> String {
    let joined = |values: Vec<String>| values.join(", ");
    format!(
        "<!-- Written by `cargo xtask report` from records of measurements: do not edit. -->\n\n\
         # Performance\n\n\
         `cargo xtask report` wrote this from records of {}: {}; {}; version {}, revision {}.\n",
        joined(measurements.distinct(|run| day(&run.date))),
        escaped(&measurements.machines().into_iter().collect::<Vec<_>>().join("; ")),
        joined(measurements.distinct(|run| run.rustc.clone())),
        joined(measurements.distinct(|run| run.machine.version.clone())),
        joined(measurements.distinct(|run| run.revision.clone())),
    )
}

/// Limits of the machine as each run measured them, and the runs' commands.
fn machine(measurements: &Measurements) -> String {
    let mut text = "## Machine\n\nEach run measures the peak of fused multiply-adds and the bandwidths of reading \
                    itself, with all its threads.\n\n"
        .to_owned();
    let titles = ["run", "began (UTC)", "isa", "dtype", "threads", "GFLOP/s", "L1 GB/s", "L2 GB/s", "L3 GB/s"];
    let titles = titles.map(str::to_owned).into_iter().chain(["DRAM GB/s".to_owned(), "command".to_owned()]);
    let rows = measurements.runs.iter().enumerate().map(|(i, run)| {
        let m = &run.machine;
        let limits = [m.peak_gflops, m.l1_gbs, m.l2_gbs, m.l3_gbs, m.dram_gbs].map(decimal);
        let first = [(i + 1).to_string(), run.date.clone(), m.isa.clone(), m.dtype.clone(), m.threads.to_string()];
        first.into_iter().chain(limits).chain([format!("`{}`", run.command)]).collect()
    });
    text += &table(&titles.collect::<Vec<_>>(), 4..10, rows);
    text
}

/// A set under some conditions: what is fastest on each shape, and libraries beside it.
fn set(measurements: &Measurements, summary: &SetSummary) -> String {
    let beside: Vec<Beside> = Beside::all(measurements, &summary.conditions);
    let beside: Vec<&Beside> = beside.iter().filter(|beside| beside.set == summary.set).collect();
    let [least, median, greatest] = summary.shares().map(percent);
    let mut text = format!(
        "### {}\n\n{}, fastest: {}. Share of the peak: {median} in the median, {least} to {greatest}.\n\n",
        summary.set,
        count(summary.winners.len(), "shape"),
        summary.wins()
    );
    let libraries: BTreeSet<Contestant> = beside.iter().map(|beside| beside.library.contestant()).collect();
    let titles: Vec<String> = ["shape", "fastest", "ms", "GFLOP/s", "% of peak"]
        .map(str::to_owned)
        .into_iter()
        .chain(libraries.iter().map(|library| format!("× {}", library.name)))
        .collect();
    let row = |winner: &Winner| {
        let m = winner.best;
        let figures = [m.best_ms(), m.gflops(), m.share_of_peak().map(|share| 100.0 * share)];
        let figures = figures.map(|figure| figure.map(decimal).unwrap_or_default());
        let ratio = |beside: &&Beside| {
            let same = |c: &&Comparison| c.library.record.shape == m.record.shape;
            beside.comparisons.iter().find(same).map(|c| times(c.ratio())).unwrap_or_default()
        };
        let first = [format!("`{}`", m.record.shape), m.implementation().to_owned()];
        first.into_iter().chain(figures).chain(beside.iter().map(ratio)).collect()
    };
    text += &table(&titles, 2..titles.len(), summary.winners.iter().map(row));
    for beside in beside {
        let ratios = beside.ratios();
        let worst = ratios.worst;
        writeln!(
            text,
            "- {}: {} in the geometric mean of {}, {} at worst (`{}`).",
            beside.library.library(),
            times(ratios.mean),
            count(ratios.count, "shape"),
            times(worst.ratio()),
            worst.library.record.shape,
        )
        .expect("a string grows");
    }
    text.trim_end().to_owned() + "\n\n"
}

fn refusals(measurements: &Measurements) -> String {
    let all = Refusals::all(measurements);
    if all.is_empty() {
        return String::new();
    }
    let mut text = "## Refused\n\n".to_owned();
    for refusals in &all {
        let shapes = refusals.shapes();
        let shown = shapes.iter().take(3).map(|shape| format!("`{shape}`")).collect::<Vec<_>>().join(", ");
        let more = if shapes.len() > 3 { ", .." } else { "" };
        let (name, reason) = (refusals.implementation, escaped(refusals.reason));
        writeln!(text, "- {name}, {}: {reason} ({shown}{more})", count(shapes.len(), "shape")).expect("a string grows");
    }
    text + "\n"
}

const READING: &str = "\
## How to reproduce

```sh
cargo xtask bench       # our backends, with the machine's limits
cargo xtask peers       # libraries beside them
cargo xtask report      # this document, the page report.html with pictures, and the README's figures
```

[report.html](report.html), opened from disk, gives the command for each single row.

## How to read it

`×` is the library's time over that of our first choice (`auto`), both of one run, taken in turns: above 1 ours is faster.
Rates count two operations for each tap, channel pair and output position, padding included, whatever a backend
executes: one that leaves the padding out can exceed the peak. All come from the best sample of an implementation, since
others on the machine can only lengthen a call. Shares of the peak relate two figures of one run, so that a slower clock
lowers both; times of different runs may differ by several percent without any change of the code. Whether a change made
something slower is for `cargo xtask compare` to say, which measures two revisions in turns.
";

/// A table, its columns of numbers aligned right.
fn table(titles: &[String], numbers: std::ops::Range<usize>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..titles.len()).map(|i| if numbers.contains(&i) { "--:" } else { "---" }.to_owned());
    let rows = rows.map(|cells| line(cells.iter().map(|cell| cell.replace('|', "\\|")).collect()));
    line(titles.to_vec()) + &line(rule.collect()) + &rows.collect::<String>() + "\n"
}

/// Text that markdown shows as it is written, outside of code.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        if "\\`*_<>[]|&#".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stay_in_their_columns() {
        let text = table(&["a".to_owned(), "b".to_owned()], 1..2, [vec!["x|y".to_owned(), "1".to_owned()]].into_iter());
        assert_eq!(text, "| a | b |\n| --- | --: |\n| x\\|y | 1 |\n\n");
        assert_eq!(escaped("a_b <i>"), "a\\_b \\<i\\>");
    }
}
