//! The README's block of measurements: two pictures and a short table, between marks that say where.

use super::measurement::Contestant;
use super::measurements::Measurements;
use super::numbers::{hundredths, times};
use super::page::day;
use super::summary::{Beside, SetSummary};
use anyhow::{Context, Result};
use std::collections::BTreeSet;

/// Where the README keeps them.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The README with this report's block in place of the old one. `pictures` are titles and paths from the README.
pub fn renewed(readme: &str, measurements: &Measurements, pictures: &[(String, String)]) -> Result<String> {
    between_marks(readme, &block(measurements, pictures))
        .with_context(|| format!("README.md has no `{BEGIN}` followed by `{END}`"))
}

/// The document with `text` between the marks.
fn between_marks(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

fn block(measurements: &Measurements, pictures: &[(String, String)]) -> String {
    let joined = |values: Vec<String>| values.join(", ");
    let mut text = format!(
        "`cargo xtask report` wrote this from records of {}: {}, {}, version {}.\n\n",
        joined(measurements.distinct(|run| day(&run.date))),
        measurements.machines().into_iter().collect::<Vec<_>>().join("; "),
        joined(measurements.distinct(|run| run.rustc.clone())),
        joined(measurements.distinct(|run| run.machine.version.clone())),
    );
    for (title, path) in pictures {
        text += &format!("![{title}]({path})\n\n");
    }
    text + &table(measurements)
}

/// A line for each set that libraries were run on, or for each if there are none: the share of the peak, and the mean
/// ratio to each library, each on few and on many threads.
fn table(measurements: &Measurements) -> String {
    let passes = measurements.pictured_of_passes();
    let beside: Vec<Beside> =
        passes.iter().flatten().flat_map(|conditions| Beside::all(measurements, conditions)).collect();
    let libraries: BTreeSet<Contestant> = beside.iter().map(|beside| beside.library.contestant()).collect();
    let threads: Vec<String> = passes[0].iter().map(|conditions| conditions.threads.to_string()).collect();
    let titles = libraries.iter().map(|library| format!(" × {} |", library.name));
    let mut text = format!("| pass | set | shapes | % of peak |{}\n", titles.collect::<String>());
    text += &format!("|---|---|--:|--:|{}\n", "--:|".repeat(libraries.len()));
    for (pictured, set) in passes.iter().flat_map(|pass| measurements.sets().into_iter().map(move |set| (pass, set))) {
        let of_set = |b: &&Beside| b.set == set && b.conditions.pass == pictured[0].pass;
        if !beside.is_empty() && !beside.iter().any(|b| of_set(&b)) {
            continue;
        }
        let summaries = pictured.iter().flat_map(|conditions| SetSummary::all(measurements, conditions));
        let summaries: Vec<SetSummary> = summaries.filter(|summary| summary.set == set).collect();
        let Some(shapes) = summaries.iter().map(|summary| summary.winners.len()).max() else { continue };
        let shares: Vec<String> = summaries.iter().map(|summary| hundredths(summary.shares()[1])).collect();
        text += &format!("| {} | {set} | {shapes} | {} |", pictured[0].pass_name(), shares.join(" / "));
        for library in &libraries {
            let of_library = beside.iter().filter(of_set).filter(|b| b.library.contestant() == *library);
            let ratios: Vec<String> = of_library.map(|b| times(b.ratios().mean)).collect();
            text += &format!(" {} |", ratios.join(" / "));
        }
        text += "\n";
    }
    text += &format!("\nOn {} threads, {}. % of peak: ", threads.join(" / "), passes[0][0].numbers());
    text += "the fastest backend on each shape, in the median.";
    if !libraries.is_empty() {
        text += "\n×: a library's time over ours, geometric mean of the shapes.";
    }
    text += " All figures: [docs/performance.md](docs/performance.md).\n";
    text + "Pictures, and the command behind each figure: `docs/report.html`, which opens from disk."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = between_marks(&document, "new").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(between_marks(&new, "new").unwrap(), new);
        assert_eq!(between_marks("no marks", "new"), None);
    }

    #[test]
    fn the_readme_has_the_marks() {
        assert!(between_marks(include_str!("../../../README.md"), "").is_some());
    }
}
