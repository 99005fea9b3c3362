//! `convgrad choose`, `tune` and `wisdom`: what they print, write and refuse.

use crate::{Folder, assert_refused, assert_success, backends};
use std::fs;

fn text(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_choice_is_a_table_or_an_object_a_line() {
    let folder = Folder::new();
    let shapes = "mb2ic16ih14oc32kh3ph1 mb1ic1ih5oc1kh2n\"small\"";
    let table = folder.convgrad(&format!("choose {shapes} --threads 1"));
    assert_success(&table);
    assert_eq!(text(&table).matches("\nchoice: ").count(), 2, "{}", text(&table));

    let objects = folder.convgrad(&format!("choose {shapes} --threads 1 --json --layout nhwc --dtype f64"));
    assert_success(&objects);
    let objects: Vec<serde_json::Value> =
        text(&objects).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[1]["shape"], "mb1ic1ih5oc1kh2n\"small\"");
    for object in &objects {
        assert_eq!([&object["layout"], &object["dtype"], &object["op"]], ["nhwc", "f64", "weight gradient"]);
        assert_eq!(object["threads"], 1);
        let candidates = object["candidates"].as_array().unwrap();
        let names: Vec<_> = candidates.iter().map(|c| c["backend"].as_str().unwrap()).collect();
        assert_eq!(names, backends());
        let chosen = candidates.iter().find(|c| c["backend"] == object["choice"]).unwrap();
        assert!(
            chosen["legal"] == true && chosen["predicted_ms"].as_f64().unwrap() > 0.0 && chosen["reason"].is_null()
        );
        for candidate in candidates.iter().filter(|c| c["legal"] == false) {
            assert!(!candidate["reason"].as_str().unwrap().is_empty());
        }
    }
}

#[test]
fn limits_leave_few_or_none() {
    let folder = Folder::new();
    let shape = "mb2ic16ih28oc16oh28kh3ph1";
    for (limit, choice) in [
        ("--max-workspace 0", "naive"),
        ("--backend im2col", "im2col"),
        ("--accuracy 3e-8", "naive"),
        ("--measure --budget 0.05 --backend im2col,naive", "im2col"),
    ] {
        let output = folder.convgrad(&format!("choose {shape} --threads 1 {limit}"));
        assert_success(&output);
        assert!(text(&output).contains(&format!("choice: {choice}: ")), "{limit}: {}", text(&output));
    }
    let output = folder.convgrad(&format!("choose {shape} --backend direct --max-workspace 1KiB"));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output).contains("no choice"), "{}", text(&output));
    for (bad, words) in [
        ("--max-workspace 1MB", ["--max-workspace", "64MiB"]),
        ("--accuracy best", ["--accuracy", "plain-loop"]),
        ("--accuracy -1", ["--accuracy", "positive"]),
        ("--backend fastest", ["fastest", "direct"]),
        ("--wisdom none.json", ["none.json", "no such file"]),
    ] {
        assert_refused(&folder.convgrad(&format!("choose {shape} {bad}")), &words);
    }
}

#[test]
fn two_processes_tune_into_one_file_and_lose_nothing() {
    let folder = Folder::new();
    let shapes = |begin: usize| (begin..begin + 6).map(|ic| format!("mb2ic{ic}ih14oc16kh3ph1\n")).collect::<String>();
    fs::write(folder.path("a.txt"), shapes(8)).unwrap();
    fs::write(folder.path("b.txt"), shapes(20)).unwrap();
    let tune = |file: &str| {
        let arguments = format!("tune -f {file} --wisdom w.json --threads 1 --budget 0.02 --forbid naive");
        folder.command(&arguments).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn()
    };
    let [a, b] = [tune("a.txt").unwrap(), tune("b.txt").unwrap()];
    for process in [a, b] {
        let output = process.wait_with_output().unwrap();
        assert_success(&output);
        assert_eq!(text(&output).lines().count(), 1 + 6 + 2, "{}", text(&output));
    }
    let check = folder.convgrad("wisdom check w.json");
    assert_success(&check);
    assert_eq!(text(&check), "w.json: 12 problems, 12 of use here\n");
    let choice = folder.convgrad("choose -f a.txt --wisdom w.json --threads 1 --forbid naive");
    assert_success(&choice);
    assert_eq!(text(&choice).matches("timed earlier").count(), 6, "{}", text(&choice));
}

#[test]
fn files_of_wisdom_are_shown_merged_and_checked() {
    let folder = Folder::new();
    for (file, shape) in [("a.json", "mb2ic8ih9oc8kh3"), ("b.json", "mb2ic8ih10oc8kh3")] {
        assert_success(&folder.convgrad(&format!("tune {shape} --wisdom {file} --threads 1 --budget 0.02")));
    }
    let merged = folder.convgrad("wisdom merge all.json a.json b.json");
    assert_success(&merged);
    assert_eq!(text(&merged), "all.json: 2 problems\n");
    let shown = folder.convgrad("wisdom show all.json");
    assert_success(&shown);
    for words in ["weight gradient", "mb2ic8ih9oc8", "mb2ic8ih10oc8", "f32", "nchw"] {
        assert!(text(&shown).contains(words), "no {words} in {}", text(&shown));
    }
    fs::write(folder.path("bad.json"), "{\"format\":").unwrap();
    let check = folder.convgrad("wisdom check all.json bad.json");
    assert_eq!(check.status.code(), Some(1), "{check:?}");
    assert!(text(&check).contains("bad.json is no wisdom"), "{}", text(&check));
    assert_refused(&folder.convgrad("wisdom show none.json"), &["none.json", "no such file"]);
    assert_refused(&folder.convgrad("wisdom merge all.json none.json"), &["none.json"]);
    // A corrupt file is told and does not stop a choice.
    let choice = folder.convgrad("choose mb2ic8ih9oc8kh3 --wisdom bad.json --threads 1");
    assert_success(&choice);
    assert!(String::from_utf8_lossy(&choice.stderr).contains("is no wisdom"), "{choice:?}");
}

#[test]
fn rates_are_measured_into_a_file_and_read_from_it() {
    let folder = Folder::new();
    let choose = || folder.convgrad("choose mb1ic4ih9oc4kh3 --rates rates.json --isa scalar --threads 1");
    let first = choose();
    assert_success(&first);
    let kept = fs::read_to_string(folder.path("rates.json")).unwrap();
    let second = choose();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(fs::read_to_string(folder.path("rates.json")).unwrap(), kept, "they were not measured again");
    fs::write(folder.path("rates.json"), "nonsense").unwrap();
    let third = choose();
    assert_success(&third);
    assert!(String::from_utf8_lossy(&third.stderr).contains("rates.json"), "a corrupt file is told of");
}
