//! Where problems come from: the command line, files, named sets; and the numbers beside them.

use crate::{Folder, assert_refused, assert_success, backends};
use convgrad::catalog;
use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};

#[test]
fn lists_and_numbers_are_checked() {
    let folder = Folder::new();
    fs::write(folder.path("empty"), "# nothing\n--mb=2\n").unwrap();
    fs::write(folder.path("wrong"), "ic1ih5oc1kh2\nic1ih5oc1kh9\n").unwrap();
    fs::write(folder.path("binary"), [0xff, 0xfe]).unwrap();
    for command in ["verify", "bench"] {
        let refused = |arguments: &str, words: &[&str]| {
            assert_refused(&folder.convgrad(&format!("{command} {arguments}")), words);
        };
        refused("", &["SHAPE"]);
        refused("-f empty", &["--file empty", "there is no shape in it"]);
        refused("-f no", &["--file no", "No such file"]);
        refused("-f binary", &["--file binary", "UTF-8"]);
        refused("-f wrong", &["--file wrong, line 2", "kernel spans 9"]);
        refused("ic1ih5oc1kh2 ic0ih5oc1kh2", &["SHAPE", "ic0ih5oc1kh2", "is 0"]);
        refused("ic1ih5oc1kh2 --backend direct,quick", &["--backend", "quick", &backends().join(", ")]);
        refused("--set resnet51", &["--set", "`resnet51`", "choose from", &set_names().join(", ")]);
        refused("--set core,resnet51", &["--set", "`resnet51`"]);
        refused("--set core,", &["--set", "``"]);
        refused("ic1ih5oc1kh2 --isa mmx", &["--isa", "mmx", "scalar"]);
        refused("ic1ih5oc1kh2 --dtype f16", &["--dtype", "f16", "f32, f64"]);
        refused("mb100000ic1000ih10000oc1kh2", &["SHAPE mb100000", "GiB"]);
        refused("mb99999999999ic99999999999ih9oc1kh2", &["SHAPE", "address space"]);
    }
    for time in ["nan", "-1", "0", "inf", "soon"] {
        assert_refused(&folder.convgrad(&format!("bench ic1ih5oc1kh2 --min-time {time}")), &["--min-time", time]);
    }
    for threads in ["-1", "1.5", "1025", "99999999999999999999"] {
        let words = ["--threads", threads, "from 0", "to 1024"];
        assert_refused(&folder.convgrad(&format!("bench ic1ih5oc1kh2 --threads {threads}")), &words);
    }
    assert_refused(&folder.convgrad("sets core resnet51"), &["NAME", "`resnet51`", &set_names().join(", ")]);
    assert_refused(&folder.convgrad("gradiant"), &["gradiant", "gradient"]);
    assert_refused(&folder.convgrad("bench ic1ih5oc1kh2 --fast"), &["--fast"]);
}

fn set_names() -> Vec<&'static str> {
    catalog::sets().iter().map(|set| set.name()).collect()
}

/// The shapes in the rows of a table, whose last column they are.
fn shapes_of(output: &Output) -> Vec<String> {
    assert_success(output);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let rows = text.lines().filter(|line| line.contains("  ok  "));
    rows.map(|line| line.split_whitespace().next_back().unwrap().to_owned()).collect()
}

#[test]
fn shapes_of_the_line_of_files_and_of_sets_come_in_this_order() {
    let folder = Folder::new();
    fs::write(folder.path("shapes"), "mb1ic2iw9oc1kw2\n").unwrap();
    let texts = |set: &str| catalog::set(set).unwrap().iter().map(|named| named.to_string()).collect::<Vec<_>>();
    let (example, tiny) = (texts("example"), texts("tiny"));
    let (line, file) = (vec!["mb1ic1iw9oc1kw2".to_owned()], vec!["mb1ic2iw9oc1kw2".to_owned()]);
    for (arguments, expected) in [
        ("--set example", vec![&example]),
        ("--set tiny,example", vec![&tiny, &example]),
        ("--set example --set tiny", vec![&example, &tiny]),
        ("--set example mb1ic1iw9oc1kw2 -f shapes", vec![&line, &file, &example]),
    ] {
        let output = folder.convgrad(&format!("verify {arguments} --backend naive"));
        assert_eq!(shapes_of(&output), expected.into_iter().flatten().cloned().collect::<Vec<_>>(), "{arguments}");
    }
}

#[test]
fn sets_are_listed_with_their_sizes_and_descriptions() {
    let output = Folder::new().convgrad("sets");
    assert_success(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap().split_whitespace().take(2).collect::<Vec<_>>(), ["set", "shapes"]);
    for set in catalog::sets() {
        let line = lines.next().unwrap().trim_start();
        let expected = format!("{} {} {}", set.name(), set.shapes().len(), set.description());
        assert_eq!(line.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn printed_sets_can_be_read_from_standard_input() {
    let folder = Folder::new();
    let printed = folder.convgrad("sets example tiny");
    assert_success(&printed);
    let text_of = |name| catalog::sets().iter().find(|set| set.name() == name).unwrap().text();
    let text = format!("{}{}", text_of("example"), text_of("tiny"));
    assert_eq!(String::from_utf8(printed.stdout.clone()).unwrap(), text);
    let mut verify = folder.command("verify -f - --backend naive");
    let mut child = verify.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&printed.stdout).unwrap();
    let direct = folder.convgrad("verify --set example,tiny --backend naive");
    assert_eq!(shapes_of(&child.wait_with_output().unwrap()), shapes_of(&direct));
}
