//! `convgrad bench`: a table for people, columns for programs.

use crate::{Folder, assert_success, backends};
use std::fs;

#[test]
fn bench_prints_exactly_the_columns() {
    expect_columns("");
}

#[test]
fn bench_prints_the_same_columns_of_calls_that_find_nothing_in_the_caches() {
    expect_columns(" --cold");
}

fn expect_columns(option: &str) {
    let folder = Folder::new();
    fs::write(folder.path("shapes"), "# a list\n  mb1ic1ih5oc1oh4kh2n\"seed\"   # small\n\nmb1_ic2ih6oc2kh3\n")
        .unwrap();
    let shapes = "mb1ic1iw9oc1kw2n\"a,b\" -f shapes";
    let output = folder.convgrad(&format!("bench {shapes} --csv --min-time 0.002 --threads 1{option}"));
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("backend,pass,layout,shape,threads,best_ms,median_ms,gflops"));
    for shape in ["\"mb1ic1iw9oc1kw2n\"\"a,b\"\"\"", "mb1ic1ih5oc1oh4kh2n\"seed\"", "mb1_ic2ih6oc2kh3"] {
        // Winograd's backends refuse them, which is told elsewhere.
        for backend in backends().into_iter().filter(|name| !name.starts_with("winograd")) {
            let line = lines.next().unwrap();
            let numbers = line.strip_prefix(&format!("{backend},wgrad,nchw,{shape},1,")).expect(line);
            // Decimals that are always there, and significant digits that even the smallest problem has.
            for (number, [decimals, significant]) in numbers.split(',').zip([[4, 5], [4, 5], [1, 3]]) {
                let (whole, fraction) = number.split_once('.').expect(line);
                let digits = format!("{whole}{fraction}").trim_start_matches('0').len();
                assert!(fraction.len() >= decimals && digits >= significant, "{number} in {line}");
            }
            let numbers: Vec<f64> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
            assert!(numbers.len() == 3 && numbers[0] <= numbers[1], "{line}");
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn bench_times_every_pass() {
    let folder = Folder::new();
    for pass in ["wgrad", "bgrad", "forward", "dgrad"] {
        let output =
            folder.convgrad(&format!("bench mb1ic2ih6oc2kh3sh2 --csv --min-time 0.001 --pass {pass} --backend im2col"));
        assert_success(&output);
        let text = String::from_utf8(output.stdout).unwrap();
        let row = text.lines().nth(1).expect("a row");
        assert!(row.starts_with(&format!("im2col,{pass},nchw,mb1ic2ih6oc2kh3sh2,")), "{text}");
    }
}

#[test]
fn bench_marks_one_winner_a_shape() {
    let output =
        Folder::new().convgrad("bench mb1ic1ih5oc1kh2 mb1ic2ih6oc2kh3 --min-time 0.002 --layout nhwc --dtype f64");
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("FMA peak of "), "{text}");
    assert_eq!(text.matches("* ").count(), 2, "{text}");
    assert!(output.stderr.is_empty(), "a progress bar belongs to a terminal");
}
