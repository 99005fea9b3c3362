//! `convgrad choose`: which backend is chosen for a problem, out of which, and why.

use crate::CheckFailed;
use crate::arguments::{self, Dtype, LayoutName, Pass, Task, Tasks, Threads};
use anyhow::{Result, ensure};
use convgrad::auto::{Accuracy, Budget, Candidate, Explanation, Policy, Rates, Wisdom};
use convgrad::{Auto, Isa, Op, Registered};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What a choice is made for and within which limits.
#[derive(clap::Args)]
pub struct Limits {
    /// The pass of the layer
    #[arg(long, value_enum, default_value = "wgrad")]
    pass: Pass,

    /// Memory order of input, output and delta
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,

    /// Number type
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,

    /// Instruction set the backends use; the best of this processor if not given
    #[arg(long, value_name = "NAME", value_parser = Isa::by_name)]
    isa: Option<Isa>,

    /// Most bytes of workspace, such as 64MiB or 4096
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_workspace: Option<usize>,

    /// Largest typical error: plain-loop, what a loop in the number type has; any; or relative to the gradient, such as 1e-6
    #[arg(long, value_name = "ERROR", default_value = "plain-loop", allow_negative_numbers = true, value_parser = accuracy)]
    accuracy: Accuracy,

    /// Only these backends, separated by commas
    #[arg(long = "backend", value_name = "LIST", value_delimiter = ',', value_parser = known_backend)]
    allowed: Vec<String>,

    /// Not these backends, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = known_backend)]
    forbid: Vec<String>,

    /// Only backends, and a choice, whose bits are the same on every processor
    #[arg(long, conflicts_with = "isa")]
    reproducible: bool,

    /// Estimate at the rates of this processor, from a file where they are measured once, instead of a reference processor's
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,

    #[command(flatten)]
    pub threads: Threads,
}

impl Limits {
    /// The pass of the layer.
    pub fn op(&self) -> Op {
        self.pass.op()
    }

    /// The number type.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// A chooser for the threads of the current pool.
    pub fn auto<T: Registered>(&self) -> Auto<T> {
        let auto = if self.reproducible { Auto::reproducible() } else { Auto::on(self.isa.unwrap_or(Isa::best())) };
        let mut auto = auto.layout(self.layout.layout()).accuracy(self.accuracy);
        if !self.allowed.is_empty() {
            auto = auto.allow(&names(&self.allowed));
        }
        if let Some(bytes) = self.max_workspace {
            auto = auto.max_workspace(bytes);
        }
        if let Some(path) = &self.rates {
            let (rates, warning) = Rates::remembered::<T>(self.isa.unwrap_or(Isa::best()), path);
            warning.into_iter().for_each(|warning| eprintln!("convgrad: {warning}"));
            auto = auto.rates(rates);
        }
        auto.forbid(&names(&self.forbid))
    }
}

fn names(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// Options of `convgrad choose`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad choose mb8ic64ih56oc64kh3ph1
  convgrad choose --set resnet50 --threads 1 --max-workspace 1MiB --json
  convgrad choose mb8ic64ih56oc64kh3ph1 --measure --accuracy 1e-6
  convgrad choose --set tiny --pass dgrad --rates rates.json

Without --measure and --wisdom the choice is an estimate at the rates of a reference processor, and the same every time. \
The typical error counts roundings: the root mean square error to expect, over the unit roundoff and the root mean square of \
the gradient. Exit code 1 if the limits leave no backend.

--json prints one object a problem: shape, op, layout, dtype, isa, threads, choice and rule (null if there is no choice), and \
candidates, each with backend, legal, reason, predicted_ms, measured_ms, workspace_bytes, error_bound, typical_error.")]
pub struct ChooseOptions {
    #[command(flatten)]
    tasks: Tasks,

    #[command(flatten)]
    limits: Limits,

    /// Time the candidates whose estimates are near, and choose the fastest
    #[arg(long)]
    measure: bool,

    /// With --measure, seconds for each problem
    #[arg(long, value_name = "SEC", allow_negative_numbers = true, default_value = "0.5", value_parser = arguments::seconds)]
    budget: Duration,

    /// Use the times a file remembers (`convgrad tune` writes it)
    #[arg(long, value_name = "FILE")]
    wisdom: Option<PathBuf>,

    /// Print one JSON object a problem
    #[arg(long)]
    json: bool,
}

/// Explains each choice.
pub fn run(options: &ChooseOptions) -> Result<()> {
    let tasks = options.tasks.read()?;
    options.limits.threads.run(|| match options.limits.dtype {
        Dtype::F32 => choose::<f32>(options, &tasks),
        Dtype::F64 => choose::<f64>(options, &tasks),
    })
}

fn choose<T: Registered>(options: &ChooseOptions, tasks: &[Task]) -> Result<()> {
    let policy = match (options.measure, &options.wisdom) {
        (true, _) => Policy::Measure(Budget { shape: options.budget, process: Duration::MAX }),
        (false, Some(_)) => Policy::RememberedOnly,
        (false, None) => Policy::Estimate,
    };
    let mut auto = options.limits.auto::<T>().policy(policy);
    if let Some(path) = &options.wisdom {
        let (wisdom, warnings) = Wisdom::load(path);
        ensure!(path.exists(), "--wisdom {}: there is no such file; `convgrad tune` writes one", path.display());
        for warning in warnings {
            writeln!(io::stderr(), "convgrad: {warning}")?;
        }
        auto = auto.with_wisdom(&wisdom);
    }
    let out = &mut io::stdout();
    let mut without = 0;
    for Task { text, shape } in tasks {
        let explanation = auto.explain(options.limits.op(), shape);
        without += usize::from(explanation.choice.is_none());
        match options.json {
            true => writeln!(out, "{}", json::<T>(text, &explanation, &options.limits))?,
            false => writeln!(out, "{text}\n{explanation}\n")?,
        }
    }
    match without {
        0 => Ok(()),
        _ => Err(CheckFailed(format!("the limits leave no backend for {without} of {} problems", tasks.len())).into()),
    }
}

fn json<T: Registered>(text: &str, explanation: &Explanation, limits: &Limits) -> Value {
    let Explanation { op, threads, candidates, choice, .. } = explanation;
    let isa = if limits.reproducible { Isa::SCALAR } else { limits.isa.unwrap_or(Isa::best()) };
    // JSON has no infinity; what a backend does not compute has no error either.
    let candidate = |candidate: &Candidate| {
        let Candidate { backend, refusal, predicted_ms, measured_ms, workspace, .. } = candidate;
        let (bound, typical) = (candidate.error_bound, candidate.typical_error);
        json!({
            "backend": backend,
            "legal": refusal.is_none(),
            "reason": refusal.as_ref().map(ToString::to_string),
            "predicted_ms": predicted_ms,
            "measured_ms": measured_ms,
            "workspace_bytes": workspace,
            "error_bound": bound.is_finite().then_some(bound),
            "typical_error": typical.is_finite().then_some(typical),
        })
    };
    json!({
        "shape": text,
        "op": op.to_string(),
        "layout": limits.layout.name(),
        "dtype": T::NAME,
        "isa": isa.name(),
        "threads": threads,
        "choice": choice.map(|(name, _)| name),
        "rule": choice.map(|(_, rule)| rule.to_string()),
        "candidates": candidates.iter().map(candidate).collect::<Vec<_>>(),
    })
}

fn known_backend(name: &str) -> Result<String, convgrad::Error> {
    convgrad::by_name::<f32>(name).map(|backend| backend.name().to_owned())
}

fn accuracy(text: &str) -> Result<Accuracy, String> {
    match text {
        "plain-loop" => Ok(Accuracy::PlainLoop),
        "any" => Ok(Accuracy::Any),
        number => match number.parse::<f64>() {
            Ok(error) if error > 0.0 && error.is_finite() => Ok(Accuracy::AtMost(error)),
            _ => Err("give plain-loop, any, or a positive number such as 1e-6".to_owned()),
        },
    }
}

/// A number of bytes, of KiB, MiB or GiB.
fn size(text: &str) -> Result<usize, String> {
    let wrong = || "give a whole number of bytes, or of KiB, MiB or GiB, such as 64MiB".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: usize = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    digits.parse::<usize>().ok().and_then(|count| count.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("3KiB", 3072), ("64MiB", 64 << 20), ("1GiB", 1 << 30), ("7B", 7)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5MiB", "1MB", "1 MiB", "99999999999999999999", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_accuracy_is_a_word_or_a_positive_number() {
        assert_eq!(accuracy("plain-loop"), Ok(Accuracy::PlainLoop));
        assert_eq!(accuracy("any"), Ok(Accuracy::Any));
        assert_eq!(accuracy("1e-6"), Ok(Accuracy::AtMost(1e-6)));
        for text in ["", "0", "-1", "nan", "inf", "best"] {
            assert!(accuracy(text).is_err(), "{text}");
        }
    }
}
