//! `cargo xtask measured`: writes the README's measurements anew, with where and when they come from.
//!
//! The text is what the command line prints, so that anyone can print their own beside it.

use crate::process::{self, cargo, program};
use anyhow::{Context, Result};
use std::path::Path;

/// Where the README keeps them.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// One shape of each kind: a stem, 3x3 and 1x1 layers, depthwise, one channel with a large kernel.
const SHAPES: &[&str] = &[
    r#"mb8ic3ih224oc64oh112kh7sh2ph3n"resnet_50:conv1""#,
    r#"mb8ic64ih56oc64oh56kh3ph1n"resnet_50:res2a_branch2b""#,
    r#"mb8ic64ih56oc256oh56kh1n"resnet_50:res2a_branch1""#,
    r#"mb8ic256ih14oc256oh14kh3ph1n"resnet_50:res4a_branch2b""#,
    r#"mb8ic512ih7oc512oh7kh3ph1n"resnet_50:res5a_branch2b""#,
    r#"mb8g32ic32ih112oc32oh112kh3ph1n"mobilenet:conv2_1/dw""#,
    r#"mb1ic1ih512oc1oh498kh15n"image_512:k15""#,
];

/// Measures on one thread and on all, and replaces what stands between the marks.
pub fn run(root: &Path) -> Result<()> {
    replace(root, &measure(root)?)
}

fn measure(root: &Path) -> Result<String> {
    let all = std::thread::available_parallelism()?.to_string();
    let read_cpu = "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1";
    let cpu = process::output(program("sh", root).args(["-c", read_cpu]))?;
    let date = process::output(program("date", root).arg("+%F"))?;
    let rustc = process::output(program("rustc", root).arg("--version"))?;
    let package = process::output(cargo(root).args(["pkgid", "--package", "convgrad"]))?;
    let version = package.rsplit(['#', '@']).next().unwrap_or_default();
    let mut text = format!(
        "`cargo xtask measured` wrote this on {date}: {cpu}, {all} cores, {rustc}, version {version}.\n\n```text\n"
    );
    let mut threads = vec!["1", &all];
    threads.dedup();
    for threads in threads {
        let bench = ["convgrad", "bench", "--backend", "direct,im2col", "--threads", threads];
        let table = process::output(cargo(root).args(bench).args(SHAPES))?;
        text += &table.lines().map(|line| line.trim_end().to_owned() + "\n").collect::<String>();
        text += "\n";
    }
    Ok(text.trim_end().to_owned() + "\n```")
}

fn replace(root: &Path, text: &str) -> Result<()> {
    let path = root.join("README.md");
    let readme = std::fs::read_to_string(&path).context("cannot read README.md")?;
    let new =
        between_marks(&readme, text).with_context(|| format!("README.md has no `{BEGIN}` followed by `{END}`"))?;
    std::fs::write(&path, new).context("cannot write README.md")
}

/// The document with `text` between the marks.
fn between_marks(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
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
    fn the_readme_has_the_marks_and_the_shapes_parse() {
        assert!(between_marks(include_str!("../../README.md"), "").is_some());
        assert!(SHAPES.iter().all(|shape| shape.parse::<convgrad::NamedShape>().is_ok()));
    }
}
