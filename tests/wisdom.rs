//! Files of remembered times: shared by processes, never trusted, never fatal. Needs the feature `wisdom`.

#![cfg(feature = "wisdom")]

use convgrad::auto::{Policy, Rule, Wisdom, WisdomKey, WisdomWarning};
use convgrad::{Auto, ConvShape, Isa, Layout, Op};
use std::fs;
use std::path::{Path, PathBuf};

fn key(text: &str) -> WisdomKey {
    WisdomKey::here::<f32>(Op::WeightGradient, &text.parse().unwrap(), Layout::Nchw, Isa::best(), 1)
}

/// Wisdom of one problem, two backends.
fn wisdom(text: &str, ms: f64) -> Wisdom {
    let mut wisdom = Wisdom::default();
    wisdom.insert(key(text), "direct", ms);
    wisdom.insert(key(text), "im2col", 2.0 * ms);
    wisdom
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("caches").join("wisdom.json");
    (folder, path)
}

fn saved(path: &Path) -> String {
    wisdom("mb2ic16ih14oc32kh3ph1", 0.5).save(path).unwrap();
    fs::read_to_string(path).unwrap()
}

#[test]
fn what_is_saved_is_read_again_and_added_to() {
    let (_folder, path) = folder();
    saved(&path);
    wisdom("mb2ic16ih20oc32kh3ph1", 0.25).save(&path).unwrap();
    let (all, warnings) = Wisdom::load(&path);
    assert_eq!(warnings, []);
    assert_eq!(all.len(), 2);
    assert_eq!(all.milliseconds(&key("mb2ic16ih14oc32kh3ph1"), "im2col"), Some(1.0));
    assert_eq!(all.milliseconds(&key("mb2ic16ih20oc32kh3ph1"), "direct"), Some(0.25));
    // An entry a line, for people and for version control.
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4);
}

#[test]
fn writers_at_once_lose_nothing() {
    let (_folder, path) = folder();
    std::thread::scope(|scope| {
        for writer in 0..6 {
            let path = &path;
            scope.spawn(move || {
                for i in 0..10 {
                    wisdom(&format!("mb{}ic{}ih14oc32kh3ph1", 1 + writer, 1 + i), 0.5).save(path).unwrap();
                    // A reader in between sees a whole file.
                    assert_eq!(Wisdom::load(path).1, []);
                }
            });
        }
    });
    assert_eq!(Wisdom::load(&path).0.len(), 60);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.len() == 2, "the file and its lock: {names:?}");
}

#[test]
fn a_file_cut_anywhere_is_ignored_with_a_warning_and_replaced() {
    let (_folder, path) = folder();
    let text = saved(&path);
    for end in (0..text.trim_end().len()).step_by(7) {
        fs::write(&path, &text[..end]).unwrap();
        let (read, warnings) = Wisdom::load(&path);
        assert!(read.is_empty(), "{end}");
        assert!(matches!(warnings[..], [WisdomWarning::Corrupt { .. }]), "{end}: {warnings:?}");
    }
    assert_eq!(saved(&path), text);
}

#[test]
fn other_files_are_no_wisdom() {
    let (_folder, path) = folder();
    let text = saved(&path);
    for foreign in [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\u{0}\u{1}binary".to_owned(),
        text.replace("convgrad wisdom", "fftw wisdom"),
        text.replace("\"version\":1", "\"version\":2"),
        text.replace("\"entries\":[", "\"entries\":7,\"was\":["),
    ] {
        fs::write(&path, &foreign).unwrap();
        let (read, warnings) = Wisdom::load(&path);
        assert!(read.is_empty() && matches!(warnings[..], [WisdomWarning::Corrupt { .. }]), "{foreign}: {warnings:?}");
    }
    // A folder is not a file, and one that is not there is empty.
    let (read, warnings) = Wisdom::load(path.parent().unwrap());
    assert!(read.is_empty() && matches!(warnings[..], [WisdomWarning::Unreadable { .. }]), "{warnings:?}");
    assert_eq!(Wisdom::load(path.with_extension("none")), (Wisdom::default(), vec![]));
}

#[test]
fn entries_that_make_no_sense_are_left_out_and_counted() {
    let (_folder, path) = folder();
    let text = saved(&path);
    for (from, to) in [
        ("\"direct\":0.5", "\"direct\":-0.5"),
        ("\"direct\":0.5", "\"direct\":1e999"),
        ("\"direct\":0.5", "\"direct\":\"fast\""),
        ("\"threads\":1", "\"threads\":0"),
        ("\"threads\":1", "\"threads\":-1"),
        ("ih14", "ih0"),
        ("\"op\":", "\"pass\":"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        fs::write(&path, changed).unwrap();
        let (read, warnings) = Wisdom::load(&path);
        assert!(read.is_empty(), "{to}");
        // Numbers beyond all bounds are no JSON.
        let told =
            |w: &WisdomWarning| matches!(w, WisdomWarning::Entries { count: 1, .. } | WisdomWarning::Corrupt { .. });
        assert!(warnings.len() == 1 && told(&warnings[0]), "{to}: {warnings:?}");
    }
}

#[test]
fn another_processor_s_times_are_kept_and_not_used() {
    let (_folder, path) = folder();
    let text = saved(&path);
    let cpu = serde_json::to_string(WisdomKey::this_cpu()).unwrap();
    fs::write(&path, text.replace(&cpu, "\"another\"")).unwrap();
    let (read, warnings) = Wisdom::load(&path);
    assert_eq!(read.len(), 1);
    assert!(matches!(warnings[..], [WisdomWarning::Foreign { count: 1, .. }]), "{warnings:?}");
    let shape: ConvShape = "mb2ic16ih14oc32kh3ph1".parse().unwrap();
    let auto = Auto::<f32>::new().threads(1).policy(Policy::RememberedOnly);
    let elsewhere = auto.with_wisdom(&read);
    assert_eq!(elsewhere.explain(Op::WeightGradient, &shape).choice.unwrap().1, Rule::Estimated);
    saved(&path);
    assert_eq!(Wisdom::load(&path).0.len(), 2);
}
