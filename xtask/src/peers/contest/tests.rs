//! Contestants that are shell scripts, honest ones and others.

use super::*;
use std::ffi::OsString;
use std::time::{Duration, Instant};

const RIGHT: [f32; 2] = [1.0, -2.0];

/// A contestant whose answers to requests are the shell's commands given for them.
struct Script {
    load: &'static str,
    compute: &'static str,
    time: &'static str,
}

/// Every answer as it should be; `$directory` is what was loaded.
const HONEST: Script = Script {
    load: "echo ready",
    compute: "cp $directory/right $directory/result.f32; echo written",
    time: "echo timed 0.5 0.25",
};

impl Script {
    fn text(&self) -> String {
        let Script { load, compute, time } = self;
        format!(
            "echo peer fake 1.0
            while read word argument; do
                case $word in
                    load) directory=$argument; {load};;
                    compute) {compute};;
                    time) echo \"$name\" >> $directory/order; {time};;
                esac
            done"
        )
    }

    fn contestant(&self, name: &str) -> Contestant {
        shell(name, &self.text().replace("$name", name))
    }
}

fn shell(name: &str, script: &str) -> Contestant {
    Contestant::new(name, false, Ok(["sh", "-c", script].map(OsString::from).to_vec()))
}

/// What came of the contestants, and the order of their turns. None of them is given up but one who never answers.
fn held(contestants: &mut [Contestant], schedule: Schedule) -> (Vec<Standing>, String) {
    held_within(Duration::from_secs(300), contestants, schedule)
}

fn held_within(limit: Duration, contestants: &mut [Contestant], schedule: Schedule) -> (Vec<Standing>, String) {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = RIGHT.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(directory.path().join("right"), bytes).unwrap();
    std::fs::write(directory.path().join("zeros"), [0; 8]).unwrap();
    std::fs::write(directory.path().join("expected.txt"), "0 1\n1 -2\n").unwrap();
    let expected = Expected::read(directory.path()).unwrap();
    let task = Task { directory: directory.path(), expected, entries: 2, terms: 1 };
    let patience = Patience { limit, stop: &|| false };
    let standings = hold(contestants, &task, schedule, patience).unwrap();
    (standings, std::fs::read_to_string(directory.path().join("order")).unwrap_or_default())
}

const BRIEF: Schedule = Schedule { threads: 1, rounds: 2, seconds: 2.0 };

fn verdict_of(script: &Script) -> Verdict {
    let (mut standings, _) = held(&mut [script.contestant("fake"), HONEST.contestant("honest")], BRIEF);
    assert!(matches!(standings[1].verdict, Verdict::Timed(_)), "the run goes on: {:?}", standings[1]);
    standings.remove(0).verdict
}

/// The reason of a failure.
fn failure_of(script: &Script) -> String {
    match verdict_of(script) {
        Verdict::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_honest_contestant_is_checked_and_timed_in_every_round() {
    let (standings, _) = held(&mut [HONEST.contestant("honest")], BRIEF);
    let timing = Timing { best: 0.25, median: 0.375, samples: 4 };
    assert_eq!(standings, [Standing { verdict: Verdict::Timed(timing), error: Some(0.0) }]);
}

#[test]
fn turns_change_and_each_round_begins_with_another() {
    let schedule = Schedule { threads: 1, rounds: 3, seconds: 30.0 };
    let (_, order) = held(&mut ["a", "b", "c"].map(|name| HONEST.contestant(name)), schedule);
    assert_eq!(order.split_whitespace().collect::<String>(), "abcbcacab");
}

#[test]
fn one_slow_call_is_enough() {
    let slow = Script { time: "echo timed 9", ..HONEST };
    let (standings, order) = held(&mut [slow.contestant("s"), HONEST.contestant("h")], BRIEF);
    assert_eq!(order.split_whitespace().collect::<String>(), "shh");
    assert_eq!(standings[0].verdict, Verdict::Timed(Timing { best: 9.0, median: 9.0, samples: 1 }));
}

#[test]
fn a_wrong_result_is_caught_and_not_timed() {
    let liar = Script { compute: "cp $directory/zeros $directory/result.f32; echo written", ..HONEST };
    let (standings, order) = held(&mut [HONEST.contestant("h"), liar.contestant("l")], BRIEF);
    assert!(matches!(&standings[1].verdict, Verdict::Wrong(reason) if reason.contains("1.3e0")), "{standings:?}");
    assert!(standings[1].error.is_some_and(|error| error > 1.2), "{standings:?}");
    assert_eq!(order.split_whitespace().collect::<String>(), "hh");
}

#[test]
fn another_s_result_is_not_taken_for_one_s_own() {
    let lazy = Script { compute: "echo written", ..HONEST };
    let (standings, _) = held(&mut [HONEST.contestant("h"), lazy.contestant("l")], BRIEF);
    let Verdict::Failed(reason) = &standings[1].verdict else { panic!("{standings:?}") };
    assert!(reason.starts_with("it wrote no result: "), "{reason}");
}

#[test]
fn a_refusal_is_a_refusal() {
    let refusing = Script { load: "echo refused no groups", ..HONEST };
    assert_eq!(verdict_of(&refusing), Verdict::Refused("no groups".to_owned()));
}

#[test]
fn one_who_hangs_is_given_up() {
    let begin = Instant::now();
    let hanging = Script { compute: "exec sleep 600", ..HONEST };
    let (standings, order) = held_within(Duration::from_secs(1), &mut [hanging.contestant("h")], BRIEF);
    let Verdict::Failed(reason) = &standings[0].verdict else { panic!("{standings:?}") };
    assert!(reason.starts_with("it had not answered to") && reason.ends_with("after 1 s"), "{reason}");
    assert_eq!(order, "", "it has no turns");
    assert!(begin.elapsed() < Duration::from_secs(300), "its program is ended");
}

#[test]
fn one_who_dies_leaves_its_last_words() {
    let reason = failure_of(&Script { time: "echo some words; echo out of luck >&2; exit 3", ..HONEST });
    assert!(reason.starts_with("it answered `some words`"), "{reason}");
    let reason = failure_of(&Script { time: "echo out of luck >&2; exit 3", ..HONEST });
    assert!(
        reason.starts_with("it died (") && reason.contains(": 3)") && reason.ends_with(": out of luck"),
        "{reason}"
    );
    let panic = "printf \"thread 'main' panicked at a.rs:1:\\nno room\\nnote: that is all\\n\" >&2; exit 101";
    let reason = failure_of(&Script { load: panic, ..HONEST });
    assert!(reason.ends_with("): thread 'main' panicked at a.rs:1: no room"), "{reason}");
}

#[test]
fn nonsense_and_failures_are_named() {
    assert!(failure_of(&Script { load: "echo hello", ..HONEST }).starts_with("it answered `hello`, which is nothing"));
    assert!(failure_of(&Script { load: "echo written", ..HONEST }).starts_with("it answered Written out of turn"));
    assert_eq!(failure_of(&Script { compute: "echo failed out of memory", ..HONEST }), "out of memory");
}

#[test]
fn one_who_failed_begins_anew_with_the_next_problem() {
    let directory = tempfile::tempdir().unwrap();
    let mortal = Script { load: "[ -z \"$first\" ] || exit 1; echo ready", ..HONEST };
    let mark = directory.path().join("mark");
    let script = format!("mkdir {} 2>/dev/null && first=yes\n{}", mark.display(), mortal.text());
    let mut contestants = [shell("mortal", &script)];
    let (first, _) = held(&mut contestants, BRIEF);
    assert!(matches!(&first[0].verdict, Verdict::Failed(reason) if reason.starts_with("it died")), "{first:?}");
    let (second, _) = held(&mut contestants, BRIEF);
    assert!(matches!(second[0].verdict, Verdict::Timed(_)), "{second:?}");
}

#[test]
fn who_is_missing_or_cannot_be_started_says_so() {
    let missing = Contestant::new("a", false, Err("missing: no compiler".to_owned()));
    let absent = Contestant::new("b", false, Ok(vec!["/no/such/program".into()]));
    let mute = shell("c", "echo ready");
    let (standings, _) = held(&mut [missing, absent, mute], BRIEF);
    let reasons: Vec<String> = standings.iter().filter_map(|standing| standing.verdict.reason()).collect();
    assert_eq!(reasons[0], "missing: no compiler");
    assert!(reasons[1].starts_with("`/no/such/program` cannot be started"), "{}", reasons[1]);
    assert_eq!(reasons[2], "it began with Ready instead of a greeting");
}

#[test]
fn the_wish_to_stop_ends_a_wait() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("expected.txt"), "0 1\n").unwrap();
    let expected = Expected::read(directory.path()).unwrap();
    let task = Task { directory: directory.path(), expected, entries: 1, terms: 1 };
    let patience = Patience { limit: Duration::from_secs(600), stop: &|| true };
    let mut contestants = [Script { load: "exec sleep 600", ..HONEST }.contestant("sleeper")];
    let error = hold(&mut contestants, &task, BRIEF, patience).unwrap_err();
    assert_eq!(error.to_string(), "interrupted");
}
