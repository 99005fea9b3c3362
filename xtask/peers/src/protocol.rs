//! The contestants' end of the lines: reads requests, answers each.

use crate::problem::Problem;
use crate::sampling;
use anyhow::{Context, Result, bail};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A library's computation of one problem.
pub trait Computation: Send {
    /// Computes it and keeps the result: the call that is timed.
    ///
    /// # Errors
    /// The library's own.
    fn run(&mut self) -> Result<()>;

    /// The result of the last [`run`](Self::run), channels before positions.
    ///
    /// # Errors
    /// If there is none, or the library does not give it.
    fn result(&self) -> Result<Vec<f32>>;
}

/// Answers requests until `quit` or the end of stdin. An error of `load` is the library's refusal of the problem.
pub fn serve(version: &str, load: impl Fn(Problem) -> Result<Box<dyn Computation>> + Sync) -> ExitCode {
    let talk = || talk(version, &load, &mut io::stdin().lock(), &mut io::stdout());
    // `scope` moves the talk, and with it every call, into the pool.
    match rayon::scope(|_| talk()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

type Load<'a> = &'a dyn Fn(Problem) -> Result<Box<dyn Computation>>;

fn talk(version: &str, load: Load<'_>, requests: &mut dyn BufRead, answers: &mut dyn Write) -> Result<()> {
    let mut answer = |text: String| {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(answers, "{line}").and_then(|()| answers.flush()).context("nobody reads the answers")
    };
    answer(format!("peer {version}"))?;
    let mut loaded = None;
    for request in requests.lines() {
        let request = request.context("cannot read requests")?;
        if request == "quit" {
            break;
        }
        answer(respond(&request, load, &mut loaded).unwrap_or_else(|error| format!("failed {error:#}")))?;
    }
    Ok(())
}

/// A problem taken up, and where its result belongs.
type Loaded = (PathBuf, Box<dyn Computation>);

fn respond(request: &str, load: Load<'_>, loaded: &mut Option<Loaded>) -> Result<String> {
    let (word, argument) = request.split_once(' ').unwrap_or((request, ""));
    if word == "load" {
        // The last problem's memory is free before the next one is read.
        *loaded = None;
        let problem = Problem::read(Path::new(argument))?;
        return Ok(match load(problem) {
            Ok(computation) => {
                *loaded = Some((argument.into(), computation));
                "ready".to_owned()
            }
            Err(refusal) => format!("refused {refusal:#}"),
        });
    }
    let (directory, computation) = loaded.as_mut().context("no problem is loaded")?;
    match word {
        "compute" => {
            computation.run()?;
            crate::write_numbers(&directory.join("result.f32"), &computation.result()?)?;
            Ok("written".to_owned())
        }
        "time" => {
            let seconds = argument.parse().with_context(|| format!("`{argument}` is no time"))?;
            let samples = sampling::samples(|| computation.run(), seconds)?;
            Ok(samples.iter().fold("timed".to_owned(), |line, seconds| line + &format!(" {seconds:e}")))
        }
        _ => bail!("no request is called `{word}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Pass;
    use crate::shape::{Axis, Layout, Shape};

    /// The sum of all input numbers.
    struct Sum(Vec<f32>, Option<f32>);

    impl Computation for Sum {
        fn run(&mut self) -> Result<()> {
            self.1 = Some(self.0.iter().sum());
            Ok(())
        }

        fn result(&self) -> Result<Vec<f32>> {
            Ok(vec![self.1.context("nothing was computed")?])
        }
    }

    fn load(problem: Problem) -> Result<Box<dyn Computation>> {
        if problem.shape.layout == Layout::Nhwc {
            bail!("channels come\nfirst");
        }
        Ok(Box::new(Sum(problem.input, None)))
    }

    /// The answers to these requests, with `DIR` standing for a directory in which lies a problem of this layout.
    fn answers(layout: Layout, requests: &str) -> (Vec<String>, Option<Vec<f32>>) {
        let directory = tempfile::tempdir().unwrap();
        let axis = Axis { input: 3, kernel: 2, output: 2, stride: 1, dilation: 1, padding: 0 };
        let descriptor = "mb1ic1iw3oc1ow2kw2".to_owned();
        let shape =
            Shape { descriptor, layout, batch: 1, groups: 1, in_channels: 1, out_channels: 1, axes: vec![axis] };
        let operands = [vec![1.0, 2.0, 4.5], vec![0.0; 2], vec![0.0; 2]];
        let [input, weights, delta] = operands;
        let problem = Problem { pass: Pass::Wgrad, shape, input, weights, delta };
        problem.write(directory.path()).unwrap();
        let requests = requests.replace("DIR", &directory.path().to_string_lossy());
        let mut answers = Vec::new();
        talk("fake 1.0", &load, &mut requests.as_bytes(), &mut answers).unwrap();
        let lines = String::from_utf8(answers).unwrap().lines().map(str::to_owned).collect();
        (lines, crate::numbers(&directory.path().join("result.f32")).ok())
    }

    #[test]
    fn each_request_has_its_answer() {
        let (lines, result) = answers(Layout::Nchw, "load DIR\ncompute\ntime 0.001\nquit\nload DIR\n");
        assert_eq!(lines[..3], ["peer fake 1.0", "ready", "written"]);
        let samples = lines[3].strip_prefix("timed ").unwrap().split(' ').map(|s| s.parse::<f64>().unwrap());
        assert!(samples.into_iter().all(|seconds| seconds > 0.0 && seconds < 1.0), "{}", lines[3]);
        assert_eq!(lines.len(), 4, "nothing is answered after `quit`");
        assert_eq!(result, Some(vec![7.5]));
    }

    #[test]
    fn a_refusal_is_one_line_and_leaves_nothing_loaded() {
        let (lines, result) = answers(Layout::Nhwc, "load DIR\ncompute\n");
        assert_eq!(lines, ["peer fake 1.0", "refused channels come first", "failed no problem is loaded"]);
        assert_eq!(result, None);
    }

    #[test]
    fn what_cannot_be_done_is_answered_with_its_reason() {
        let (lines, _) = answers(Layout::Nchw, "load /no/such\nload DIR\ntime soon\nsing\n");
        assert!(lines[1].starts_with("failed cannot read /no/such/problem.json: "), "{}", lines[1]);
        assert!(lines[3].starts_with("failed `soon` is no time: "), "{}", lines[3]);
        assert_eq!(lines[4], "failed no request is called `sing`");
    }
}
