//! `convgrad machine` as programs meet it: the fields that records of measurements are made of, and its refusals.
//!
//! Needs `--features cli`.

#![cfg(feature = "cli")]

use serde_json::Value;
use std::process::{Command, Output};

fn machine(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_convgrad"));
    command.arg("machine").args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn json_is_one_flat_object_with_every_field() {
    let output = machine("--json --threads 1 --dtype f64 --isa scalar");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let fields: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    let mut names: Vec<_> = fields.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = "cores cpu dram_gbs dtype isa l1_gbs l2_gbs l3_gbs peak_gflops threads version";
    assert_eq!(names.join(" "), expected);
    assert_eq!([&fields["dtype"], &fields["isa"]], ["f64", "scalar"]);
    assert_eq!(fields["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(fields["threads"], 1);
    assert!(fields["cores"].as_u64() >= Some(1) && fields["cpu"].as_str() > Some(""), "{text}");
    for rate in ["peak_gflops", "l1_gbs", "l2_gbs", "l3_gbs", "dram_gbs"] {
        assert!(fields[rate].as_f64().is_some_and(|rate| rate > 0.0), "{rate}: {text}");
    }
}

#[test]
fn people_get_lines_with_units() {
    let output = machine("--threads 2");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for words in ["2 threads, f32 on ", "FMA peak ", " GFLOP/s\n", "L1   reads ", "DRAM reads ", " GB/s"] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}

#[test]
fn what_cannot_be_measured_is_refused_in_one_line() {
    for (arguments, named) in [("--isa mmx", "mmx"), ("--dtype f16", "f16"), ("--threads 5000", "5000"), ("x", "x")] {
        let output = machine(arguments);
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {line}");
        assert!(line.lines().count() == 1 && line.contains(named) && output.stdout.is_empty(), "{arguments}: {line}");
    }
}
