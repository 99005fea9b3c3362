//! The report as a whole, on records that a fixture makes up.

use super::*;
use crate::record::{Outcome, Record};
use std::sync::LazyLock;

const README: &str = "# A\n<!-- measured: begin -->\nold\n<!-- measured: end -->\n";

/// What the fixture gives, generated once for all tests.
static OUTPUTS: LazyLock<Vec<(String, String)>> =
    LazyLock::new(|| outputs(&fixture::measurements(), README).expect("the fixture can be reported"));

fn output(path: &str) -> &'static str {
    let paths = || OUTPUTS.iter().map(|(path, _)| path).collect::<Vec<_>>();
    &OUTPUTS.iter().find(|(other, _)| other == path).unwrap_or_else(|| panic!("{path} is not in {:?}", paths())).1
}

/// The page without style and script, which are no markup: the rest is written so that it is XML too.
fn page_as_xml() -> String {
    let mut page = output("docs/report.html").replacen("<!DOCTYPE html>", "", 1);
    for tag in ["style", "script"] {
        let (from, to) = (page.find(&format!("<{tag}>")).unwrap(), page.rfind(&format!("</{tag}>")).unwrap());
        page.replace_range(from..to + tag.len() + 3, "");
    }
    let (from, to) = (page.find("<meta").unwrap(), page.find("<title>").unwrap());
    page.replace_range(from..to, "");
    page
}

fn words(node: roxmltree::Node) -> String {
    node.descendants().filter(|n| n.is_text()).filter_map(|n| n.text()).collect()
}

#[test]
fn every_picture_is_whole_and_described() {
    let page = page_as_xml();
    let page = roxmltree::Document::parse(&page).unwrap();
    let pictures: Vec<_> =
        page.descendants().filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "svg"))).collect();
    // Rooflines, heat maps and two networks on one thread and on two, and accuracy of both number types.
    assert_eq!(pictures.len(), 2 + 4 + 4 + 2);
    for picture in pictures {
        assert_eq!(picture.attribute("role"), Some("img"));
        assert!(picture.attribute("aria-label").is_some_and(|label| label.len() > 40), "{picture:?}");
        assert!(picture.descendants().filter(|n| n.is_element()).count() > 30, "{picture:?} is empty");
    }
    for path in ["docs/roofline.svg", "docs/layers.svg"] {
        let picture = roxmltree::Document::parse(output(path)).unwrap();
        assert!(picture.root_element().children().any(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "title"))));
        assert!(output(path).contains("prefers-color-scheme:dark"));
    }
}

#[test]
fn nothing_stands_outside_its_picture() {
    for (path, text) in OUTPUTS.iter().filter(|(path, _)| path.ends_with(".svg")) {
        let picture = roxmltree::Document::parse(text).unwrap();
        let height: f64 = picture.root_element().attribute("height").unwrap().parse().unwrap();
        for node in picture.descendants().filter(|n| n.has_attribute("x") || n.has_attribute("cx")) {
            let number = |names: [&str; 2]| names.iter().find_map(|name| node.attribute(*name)?.parse::<f64>().ok());
            let (x, y) = (number(["x", "cx"]).unwrap(), number(["y", "cy"]).unwrap());
            assert!((0.0..=f64::from(picture::WIDTH)).contains(&x) && (0.0..=height).contains(&y), "{path}: {node:?}");
        }
    }
}

#[test]
fn the_table_has_every_newest_record_and_its_command() {
    let page = page_as_xml();
    let page = roxmltree::Document::parse(&page).unwrap();
    let table = page.descendants().find(|n| n.attribute("id") == Some("everything")).unwrap();
    let columns = table.descendants().filter(|n| n.attribute("scope") == Some("col")).count();
    let rows: Vec<_> = table.descendants().filter(|n| n.has_tag_name("tr")).skip(1).collect();
    let newest = fixture::measurements().newest;
    assert_eq!(rows.len(), newest.len());
    for (row, m) in rows.iter().zip(&newest) {
        let cells: Vec<_> = row.children().filter(|n| n.is_element()).collect();
        let span = |n: &roxmltree::Node| n.attribute("colspan").map_or(1, |span| span.parse::<usize>().unwrap());
        assert_eq!(cells.iter().map(span).sum::<usize>(), columns);
        assert_eq!(words(cells[1]), m.record.shape);
        let code = row.descendants().find(|n| n.has_tag_name("code")).unwrap();
        assert_eq!(words(code), reproduce::command(m));
        if let Some(reason) = m.refusal() {
            assert!(words(cells[7]).ends_with(reason), "{}", words(cells[7]));
        }
    }
    assert!(newest.iter().any(|m| m.record.shape.contains(fixture::HOSTILE)));
    assert!(newest.iter().any(|m| m.refusal().is_some()));
}

#[test]
fn nothing_is_fetched_and_every_number_is_one() {
    for (path, text) in OUTPUTS.iter() {
        let text = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for outside in ["http:", "https:", "url(", "@import", "src="] {
            assert!(!text.contains(outside), "{path} has {outside}");
        }
        let script = include_str!("page.js");
        let text = text.replace(script, "");
        let mut tokens = text.split(|c: char| !c.is_ascii_alphanumeric());
        let wrong = tokens.find(|token| ["nan", "inf", "infinity"].contains(&token.to_lowercase().as_str()));
        assert_eq!(wrong, None, "{path}");
    }
}

#[test]
fn the_same_records_give_the_same_files_in_any_order() {
    let mut records = fixture::records();
    records.reverse();
    let again = outputs(&Measurements::new(records, false).unwrap(), README).unwrap();
    assert!(again == *OUTPUTS);
}

#[test]
fn marks_are_told_apart_and_summaries_counted() {
    let page = output("docs/report.html");
    assert!(page.contains("times as fast as burn-flex 0.22.0 (30 shapes"), "a library is named with its version");
    assert!(page.contains("grouped convolutions panic in its &lt;gemm&gt; &amp; are left out"));
    let performance = output("docs/performance.md");
    assert!(performance.starts_with("<!-- Written by `cargo xtask report`") && performance.contains("do not edit"));
    assert!(performance.contains("### resnet50") && performance.contains("- im2col-gemm (gemm 0.19.0): "));
    let readme = output("README.md");
    assert!(readme.starts_with("# A\n<!-- measured: begin -->\n`cargo xtask report`") && !readme.contains("old"));
    assert!(
        readme.contains("\n| weight gradient | resnet50 | 20 |")
            && readme.contains("\n| forward pass | resnet50 | 3 |")
    );
    assert!(performance.contains("## 1 thread, forward pass, f32, NCHW, avx512\n"));
    assert!(readme.contains("](docs/roofline.svg)") && readme.contains("](docs/layers.svg)"));
}

#[test]
fn no_two_backends_share_a_mark() {
    let count = convgrad::backends::<f32>().len();
    let marks: Vec<_> = (0..count).map(|place| picture::Mark::point(place, false)).collect();
    for (i, mark) in marks.iter().enumerate() {
        assert!(!marks[i + 1..].contains(mark), "{mark:?} stands for two");
    }
}

/// A record of the fixture that was timed.
fn record() -> Record {
    fixture::records().into_iter().find(|record| record.implementation == "direct").unwrap()
}

fn refusal(records: Vec<Record>) -> String {
    format!("{:#}", Measurements::new(records, false).err().expect("they are refused"))
}

#[test]
fn the_newest_wins_whatever_comes_last() {
    let timed = |date: &str, best_ms| {
        let mut record = record();
        record.run.date = date.to_owned();
        record.outcome = Outcome::Timed { best_ms, median_ms: best_ms, samples: 5 };
        record
    };
    let records = vec![timed("2026-11-23T10:00:00Z", 2.0), timed("2026-11-23T09:59:59Z", 1.0)];
    let measurements = Measurements::new(records, false).unwrap();
    assert_eq!(measurements.newest.iter().map(|m| m.best_ms()).collect::<Vec<_>>(), [Some(2.0)]);
    assert_eq!(measurements.runs.len(), 1, "only runs that are shown are told");
}

#[test]
fn an_error_stays_known_while_the_code_is_the_same() {
    let (mut checked, mut newer) = (record(), record());
    checked.error = Some(1e-7);
    newer.error = None;
    newer.run.date = "2026-11-24T00:00:00Z".to_owned();
    let error = |records| Measurements::new(records, false).unwrap().newest[0].record.error;
    assert_eq!(error(vec![checked.clone(), newer.clone()]), Some(1e-7));
    newer.run.revision = "0123456".to_owned();
    assert_eq!(error(vec![checked, newer]), None);
}

#[test]
fn machines_are_not_mixed_unasked_and_revisions_are_told() {
    let mut other = record();
    other.run.machine.cpu = "Another".to_owned();
    other.implementation = "im2col".to_owned();
    let message = refusal(vec![record(), other.clone()]);
    assert!(message.contains("AMD EPYC, 2 cores; Another, 2 cores") && message.contains("--mixed"), "{message}");
    let page = |records, mixed| {
        let measurements = Measurements::new(records, mixed).unwrap();
        page::page(&measurements, &pictures(&measurements).unwrap())
    };
    assert!(page(vec![record(), other.clone()], true).contains("Several machines."));
    other.run.machine.cpu = record().run.machine.cpu;
    assert!(!page(vec![record(), other.clone()], false).contains("Several"));
    other.run.revision = "0123456".to_owned();
    assert!(page(vec![record(), other], false).contains("Several revisions."));
}

#[test]
fn what_cannot_be_reported_is_refused_with_the_remedy() {
    assert!(refusal(vec![]).contains("run `cargo xtask bench` first"));
    let mut refused = record();
    refused.outcome = Outcome::Refused { refused: "no".to_owned() };
    assert!(refusal(vec![refused]).contains("run `cargo xtask bench` first"));
    let mut zero = record();
    zero.outcome = Outcome::Timed { best_ms: 0.0, median_ms: 1.0, samples: 1 };
    assert!(refusal(vec![zero]).contains("best_ms is 0"));
    let mut shapeless = record();
    shapeless.shape = "mb1".to_owned();
    assert!(refusal(vec![shapeless]).contains("\"mb1\""));
    let directory = tempfile::tempdir().unwrap();
    for missing in [directory.path().to_owned(), directory.path().join("none")] {
        let message = recorded(&missing).unwrap_err().to_string();
        assert!(message.contains("run `cargo xtask bench` first"), "{message}");
    }
}

#[test]
fn a_report_needs_neither_libraries_nor_images_nor_errors() {
    let mut only = record();
    only.set = "resnet50".to_owned();
    only.error = None;
    let measurements = Measurements::new(vec![only], false).unwrap();
    let outputs = outputs(&measurements, README).unwrap();
    let page = &outputs.iter().find(|(path, _)| path == "docs/report.html").unwrap().1;
    assert!(page.contains("run <code>cargo xtask peers</code>") && page.contains("No record carries an error."));
}

#[test]
fn libraries_are_compared_within_their_own_run() {
    let measurements = fixture::measurements();
    let conditions = &measurements.pictured()[0];
    let comparisons = measurements.comparisons("resnet50", conditions);
    assert_eq!(comparisons.len(), 20 * 4);
    for comparison in &comparisons {
        assert_eq!(comparison.ours.record.run, comparison.library.record.run);
        assert_eq!(comparison.ours.record.shape, comparison.library.record.shape);
    }
    // Of the backends of a run, that which the chooser takes.
    let is_forward = |conditions: &&measurement::Conditions| conditions.pass == "forward";
    let forward = measurements.conditions().into_iter().find(|conditions| is_forward(&conditions)).unwrap();
    let chosen = measurements.comparisons("resnet50", &forward);
    assert_eq!(chosen.iter().map(|c| c.ours.implementation()).collect::<Vec<_>>(), ["winograd"; 3]);
    // A later run of a library alone does not take the comparison away.
    let mut later = fixture::records();
    let alone: Vec<Record> = later.iter().filter(|r| r.implementation == "torch").cloned().collect();
    later.extend(alone.into_iter().map(|mut record| {
        record.run.date = "2026-11-24T00:00:00Z".to_owned();
        record
    }));
    assert_eq!(Measurements::new(later, false).unwrap().comparisons("resnet50", conditions).len(), 20 * 4);
    // Without ours in the same run there is nothing to compare with.
    let is_ours = |record: &Record| record.implementation_version.starts_with("convgrad");
    let records = fixture::records().into_iter().filter(|r| !(r.run.command.contains("peers") && is_ours(r)));
    let apart = Measurements::new(records.collect(), false).unwrap();
    assert!(apart.comparisons("resnet50", conditions).is_empty());
}
