//! Records as tables for people, one for each set and number of threads.

use crate::record::{Machine, Outcome, Record, milliseconds};
use convgrad::NamedShape;

/// Columns: titles, right-aligned but for the last.
const TITLES: [&str; 6] = ["backend", "GFLOP/s", "% peak", "best ms", "median ms", "shape"];

/// The tables, in the order of their first records.
pub fn of(records: &[Record]) -> Vec<String> {
    let mut groups: Vec<Vec<&Record>> = Vec::new();
    for record in records {
        let key = |record: &Record| (record.set.clone(), record.run.machine.threads);
        match groups.iter_mut().find(|group| key(group[0]) == key(record)) {
            Some(group) => group.push(record),
            None => groups.push(vec![record]),
        }
    }
    groups.iter().map(|group| table(group)).collect()
}

/// One record in a line, for those who watch.
pub fn line(record: &Record) -> String {
    let Record { set, shape, implementation, run, .. } = record;
    let what = match &record.outcome {
        Outcome::Timed { best_ms, .. } => format!("{} ms", milliseconds(*best_ms)),
        Outcome::Refused { refused } => refused.clone(),
    };
    format!("{set}, {}: {implementation} {what}, {shape}", threads(&run.machine))
}

fn table(records: &[&Record]) -> String {
    let Record { set, layout, run, .. } = records[0];
    let machine = &run.machine;
    let mut text = format!(
        "{set}, {}, {} {layout} on {}: FMA peak {:.1} GFLOP/s\n\n",
        threads(machine),
        machine.dtype,
        machine.isa,
        machine.peak_gflops
    );
    let rows: Vec<_> = records.iter().map(|record| row(record)).collect();
    let titles = TITLES.map(str::to_owned);
    let all = || std::iter::once(&titles).chain(&rows);
    let mut widths = [0; TITLES.len()];
    for row in all() {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in all() {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        text += &format!("{}  {}\n", cells[..TITLES.len() - 1].join("  "), row[TITLES.len() - 1]);
    }
    text
}

fn row(record: &Record) -> [String; TITLES.len()] {
    let Record { shape, implementation, run, .. } = record;
    let numbers = match record.outcome {
        Outcome::Timed { best_ms, median_ms, .. } => {
            // What a record cannot be read for is left out rather than made up.
            let flops = shape.parse().map_or(f64::NAN, |named: NamedShape| named.shape.flops());
            let gflops = flops / best_ms / 1e6;
            let share = 100.0 * gflops / run.machine.peak_gflops;
            [format!("{gflops:.1}"), format!("{share:.1}"), milliseconds(best_ms), milliseconds(median_ms)]
        }
        Outcome::Refused { .. } => ["-", "-", "-", "-"].map(str::to_owned),
    };
    let [gflops, share, best, median] = numbers;
    let note = match &record.outcome {
        Outcome::Timed { .. } => String::new(),
        Outcome::Refused { refused } => format!("  {refused}"),
    };
    [implementation.clone(), gflops, share, best, median, format!("{shape}{note}")]
}

fn threads(machine: &Machine) -> String {
    let plural = if machine.threads == 1 { "" } else { "s" };
    format!("{} thread{plural}", machine.threads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(set: &str, threads: usize, implementation: &str, outcome: &str) -> Record {
        let line = format!(
            r#"{{"format":1,"date":"","command":"","revision":"","rustc":"","version":"0.1.0","cpu":"","cores":2,
            "isa":"avx2","threads":{threads},"dtype":"f32","peak_gflops":100.0,"l1_gbs":1.0,"l2_gbs":1.0,"l3_gbs":1.0,
            "dram_gbs":1.0,"set":"{set}","shape":"mb1ic1ih5oc1oh4kh2n\"a\"","pass":"wgrad","layout":"nchw",
            "implementation":"{implementation}","implementation_version":"",{outcome}}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn each_set_and_number_of_threads_has_its_table() {
        // 128 operations: 12.8 and 6.4 GFLOP/s.
        let timed = |ms: f64| format!(r#""best_ms":{ms},"median_ms":{},"samples":10"#, 2.0 * ms);
        let records = [
            record("tiny", 1, "direct", &timed(1e-5)),
            record("tiny", 2, "direct", &timed(2e-5)),
            record("tiny", 1, "im2col", r#""refused":"too deep""#),
        ];
        let tables = of(&records);
        let first = r#"tiny, 1 thread, f32 nchw on avx2: FMA peak 100.0 GFLOP/s

backend  GFLOP/s  % peak     best ms   median ms  shape
 direct     12.8    12.8  0.00001000  0.00002000  mb1ic1ih5oc1oh4kh2n"a"
 im2col        -       -           -           -  mb1ic1ih5oc1oh4kh2n"a"  too deep
"#;
        assert_eq!(tables[0], first);
        assert!(tables[1].starts_with("tiny, 2 threads, ") && tables[1].contains("  6.4  "), "{}", tables[1]);
        assert_eq!(tables.len(), 2);
        assert_eq!([0.0123456, 1.23456, 12345.6].map(milliseconds), ["0.01235", "1.235", "12346"]);
        assert_eq!(line(&records[2]), r#"tiny, 1 thread: im2col too deep, mb1ic1ih5oc1oh4kh2n"a""#);
    }
}
