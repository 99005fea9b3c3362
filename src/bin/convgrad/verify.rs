//! `convgrad verify`: every backend against the definition in double precision.
//!
//! Two checks on each problem. On random reals, every entry must lie within the bound the backend declares: `c * u` times
//! the sum of magnitudes, which is the same definition run on absolute values, or norms of operands, whichever
//! the backend's errors scale with; the bound of the reference's own sum is added, which matters for f64 only. An entry
//! whose magnitudes are all 0 must be 0 by the first scale, and no comparison with NaN succeeds. On small integers every
//! sum is exact, so the result must equal the reference's; it must keep the bound where the backend forms other sums.

use crate::CheckFailed;
use crate::arguments::{BackendList, Dtype, LayoutName, Pass, Task, Tasks};
use crate::data::{self, Operands};
use crate::table::{self, Column};
use anyhow::{Context, Result};
use convgrad::{Backend, ConvShape, Element, ErrorScale, Layout, Op, Registered};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};

/// Options of `convgrad verify`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad verify mb2ic16ih14oc32kh3ph1
  convgrad verify -f shapes.txt --backend direct,im2col --layout nhwc --dtype f64
  convgrad verify --set tiny --isa avx2
  convgrad verify --set tiny --pass dgrad

error/bound is the worst entry's distance from the result in double precision, as a share of what the backend's \
error bound allows: above 1 is a failure. integers says whether sums of small integers come out exactly equal; where \
a backend's need not, its share of the bound again. The definition is computed plainly, five times in all: allow some \
seconds for a billion operations.")]
pub struct VerifyOptions {
    #[command(flatten)]
    tasks: Tasks,

    #[command(flatten)]
    backends: BackendList,

    /// The pass of the layer
    #[arg(long, value_enum, default_value = "wgrad")]
    pass: Pass,

    /// Memory order of input, output and delta
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,

    /// Number type
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

/// Checks, prints a row each, and fails if one failed.
pub fn run(options: &VerifyOptions) -> Result<()> {
    let tasks = options.tasks.read()?;
    let (op, layout, out) = (options.pass.op(), options.layout.layout(), &mut io::stdout());
    let tally = match options.dtype {
        Dtype::F32 => verify::<f32>(op, &tasks, &options.backends.select(layout), layout, out)?,
        Dtype::F64 => verify::<f64>(op, &tasks, &options.backends.select(layout), layout, out)?,
    };
    let Tally { passed, failed, unsupported } = tally;
    if failed > 0 {
        let checks = passed + failed;
        return Err(CheckFailed(format!("verify: {failed} of {checks} checks failed, marked FAIL above")).into());
    }
    writeln!(out, "{passed} passed, none failed, {unsupported} unsupported")?;
    Ok(())
}

#[derive(Debug, Default, PartialEq)]
struct Tally {
    passed: usize,
    failed: usize,
    unsupported: usize,
}

fn verify<T: Registered>(
    op: Op,
    tasks: &[Task],
    backends: &[Box<dyn Backend<T>>],
    layout: Layout,
    out: &mut dyn Write,
) -> Result<Tally> {
    let name_width = backends.iter().map(|b| b.name().len()).max().unwrap_or(0);
    let columns = [
        Column::new("backend", name_width),
        Column::new("error/bound", 0),
        Column::new("integers", 0),
        Column::new("verdict", "unsupported".len()),
        Column::new("shape", 0),
    ];
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?;
    let progress = ProgressBar::new((tasks.len() * (backends.len() + 1)) as u64).with_style(style);
    let mut tally = Tally::default();
    table::write_titles(out, &columns)?;
    for Task { text, shape } in tasks {
        progress.set_message(format!("{text}: reference"));
        let case = Case::<T>::new(op, shape, layout).with_context(|| format!("SHAPE {text}"))?;
        progress.inc(1);
        for backend in backends {
            progress.set_message(format!("{text}: {}", backend.name()));
            let [error, integers, verdict, note] = match backend.supports(op, shape) {
                Err(refusal) => {
                    tally.unsupported += 1;
                    let reason = format!("  {}; {}", refusal.reason, refusal.remedy);
                    ["-".to_owned(), "-".to_owned(), "unsupported".to_owned(), reason]
                }
                Ok(()) => {
                    let findings = case.check(&**backend).with_context(|| format!("SHAPE {text}"))?;
                    let verdict = if findings.pass() { "ok" } else { "FAIL" };
                    *(if findings.pass() { &mut tally.passed } else { &mut tally.failed }) += 1;
                    let integers = match findings.integers {
                        Integers::Unequal(0) => "equal".to_owned(),
                        Integers::Unequal(unequal) => format!("{unequal} wrong"),
                        Integers::Worst(worst) => format!("{worst:.4}"),
                    };
                    [format!("{:.4}", findings.worst), integers, verdict.to_owned(), String::new()]
                }
            };
            let cells = [backend.name().to_owned(), error, integers, verdict, format!("{text}{note}")];
            progress.suspend(|| table::write_row(out, &columns, cells))?;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(tally)
}

/// What came of one backend's results.
#[derive(Debug, PartialEq)]
struct Findings {
    /// The largest quotient of error and bound; infinite where there was no bound to keep, or NaN.
    worst: f64,
    integers: Integers,
}

/// What came of the integer problem.
#[derive(Debug, PartialEq)]
enum Integers {
    /// Entries that are not exactly right, as all should be.
    Unequal(usize),
    /// The largest quotient of error and bound, of a backend whose results are not exact.
    Worst(f64),
}

impl Findings {
    fn pass(&self) -> bool {
        let integers = match self.integers {
            Integers::Unequal(unequal) => unequal == 0,
            Integers::Worst(worst) => worst <= 1.0,
        };
        self.worst <= 1.0 && integers
    }
}

/// A problem with operands and their results by the definition.
struct Case<'a, T> {
    op: Op,
    shape: &'a ConvShape,
    layout: Layout,
    reals: Operands<T>,
    integers: Operands<T>,
    expected_reals: Vec<f64>,
    magnitudes: Vec<f64>,
    expected_integers: Vec<f64>,
}

impl<'a, T: Registered> Case<'a, T> {
    fn new(op: Op, shape: &'a ConvShape, layout: Layout) -> Result<Case<'a, T>> {
        let len = |dims: Vec<usize>| dims.iter().product::<usize>();
        let operands = len(shape.input_dims()) + len(shape.output_dims()) + shape.weights_len();
        // Reals and integers as T; both and the magnitudes once more in double precision.
        let bytes = operands as f64 * (2 * size_of::<T>() + 3 * size_of::<f64>()) as f64;
        data::expect_room(bytes + data::result_len(op, shape) as f64 * (3 * size_of::<f64>() + size_of::<T>()) as f64)?;

        let reals = Operands::<T>::uniform(shape)?;
        let integers = Operands::<T>::integers(op, shape)?;
        let exact = |operands: &Operands<T>, change: fn(f64) -> f64| {
            operands.map(change)?.compute(&*convgrad::reference::<f64>(), op, shape, layout)
        };
        let (expected_reals, (magnitudes, expected_integers)) = rayon::join(
            || exact(&reals, |x| x),
            || rayon::join(|| exact(&reals, f64::abs), || exact(&integers, |x| x)),
        );
        Ok(Case {
            op,
            shape,
            layout,
            expected_reals: expected_reals?,
            magnitudes: magnitudes?,
            expected_integers: expected_integers?,
            reals,
            integers,
        })
    }

    fn check(&self, backend: &dyn Backend<T>) -> Result<Findings> {
        let op = self.op;
        let bound = backend.error_bound(op, self.shape) * T::UNIT_ROUNDOFF;
        let reals = self.reals.compute(backend, op, self.shape, self.layout)?;
        let integers = self.integers.compute(backend, op, self.shape, self.layout)?;
        match backend.error_scale(op, self.shape) {
            ErrorScale::Products => {
                let bound = bound + convgrad::reference::<f64>().error_bound(op, self.shape) * f64::UNIT_ROUNDOFF;
                let unequal = integers.iter().zip(&self.expected_integers).filter(|(g, e)| g.to_f64() != **e).count();
                let worst = worst(&reals, &self.expected_reals, |entry| bound * self.magnitudes[entry]);
                Ok(Findings { worst, integers: Integers::Unequal(unequal) })
            }
            ErrorScale::Norms => {
                let norms = self.reals.norms(op, self.shape, self.layout)?;
                let own = convgrad::reference::<f64>().error_bound(op, self.shape) * f64::UNIT_ROUNDOFF;
                let allowed = |entry: usize| bound * norms[entry] + own * self.magnitudes[entry];
                let worst_real = worst(&reals, &self.expected_reals, allowed);
                // The reference sums integers exactly.
                let norms = self.integers.norms(op, self.shape, self.layout)?;
                let allowed = |entry: usize| bound * norms[entry];
                let worst_integer = worst(&integers, &self.expected_integers, allowed);
                Ok(Findings { worst: worst_real, integers: Integers::Worst(worst_integer) })
            }
            other => anyhow::bail!("errors of {} scale with {other:?}, which verify does not know", backend.name()),
        }
    }
}

/// The largest quotient of error and what is allowed; infinite where that is 0, or for NaN.
fn worst<T: Element>(given: &[T], expected: &[f64], allowed: impl Fn(usize) -> f64) -> f64 {
    let quotients = given.iter().zip(expected).enumerate().map(|(entry, (given, expected))| {
        let error = (given.to_f64() - expected).abs();
        match error {
            0.0 => 0.0,
            _ if error.is_nan() => f64::INFINITY,
            _ => error / allowed(entry),
        }
    });
    quotients.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use convgrad::{Cost, Problem, Unsupported, ViewMut};

    /// The reference with one entry of its result changed.
    struct Faulty {
        fault: fn(f32) -> f32,
        refuses: bool,
    }

    impl Backend<f32> for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn description(&self) -> String {
            "wrong on purpose".to_owned()
        }

        fn supports(&self, op: Op, _: &ConvShape) -> Result<(), Unsupported> {
            let refusal = Unsupported { backend: "faulty", op, reason: "it is broken", remedy: "use another" };
            if self.refuses { Err(refusal) } else { Ok(()) }
        }

        fn scratch_len(&self, _: Op, _: &ConvShape) -> usize {
            0
        }

        fn cost(&self, _: Op, _: &ConvShape) -> Cost {
            Cost::default()
        }

        fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
            convgrad::reference::<f32>().error_bound(op, shape)
        }

        fn run(&self, problem: Problem<'_, f32>, _: &mut [f32]) {
            let Problem::WeightGradient(problem) = problem else { panic!("verify computes weight gradients") };
            let (shape, input, delta, mut gradient, update) = problem.into_parts();
            let mut result = vec![0.0; shape.weights_len()];
            let view = ViewMut::nchw(&mut result, &shape.weights_dims()).unwrap();
            convgrad::reference().weight_gradient(shape, input, delta, view, update).unwrap();
            result[1] = (self.fault)(result[1]);
            gradient.data_mut().copy_from_slice(&result);
        }
    }

    fn verdict(shape: &str, fault: fn(f32) -> f32, refuses: bool) -> (Tally, String) {
        let task: Task = shape.parse().unwrap();
        let mut out = Vec::new();
        let backend: Box<dyn Backend<f32>> = Box::new(Faulty { fault, refuses });
        let tally = verify(Op::WeightGradient, &[task], &[backend], Layout::Nchw, &mut out).unwrap();
        (tally, String::from_utf8(out).unwrap())
    }

    const SHAPE: &str = "mb2ic3ih7oc2kh3";
    const PASSED: Tally = Tally { passed: 1, failed: 0, unsupported: 0 };
    const FAILED: Tally = Tally { passed: 0, failed: 1, unsupported: 0 };
    const UNSUPPORTED: Tally = Tally { passed: 0, failed: 0, unsupported: 1 };

    #[test]
    fn right_results_pass() {
        assert_eq!(verdict(SHAPE, |g| g, false).0, PASSED);
    }

    #[test]
    fn every_kind_of_wrong_real_fails() {
        // The integer problem is left right, so that the bound alone must find the fault.
        assert_eq!(verdict(SHAPE, |g| if g.fract() != 0.0 { f32::NAN } else { g }, false).0, FAILED);
        assert_eq!(verdict(SHAPE, |g| if g.fract() != 0.0 { f32::INFINITY } else { g }, false).0, FAILED);
        assert_eq!(verdict(SHAPE, |g| if g.fract() != 0.0 { -g } else { g }, false).0, FAILED);
        assert_eq!(verdict(SHAPE, |g| if g.fract() != 0.0 { g * (1.0 + 1e-4) } else { g }, false).0, FAILED);
    }

    #[test]
    fn a_wrong_integer_fails() {
        assert_eq!(verdict(SHAPE, |g| if g.fract() == 0.0 { g + 1.0 } else { g }, false).0, FAILED);
        assert_eq!(verdict(SHAPE, |g| if g.fract() == 0.0 { f32::NAN } else { g }, false).0, FAILED);
    }

    #[test]
    fn an_entry_without_terms_must_be_zero() {
        // The first two taps see nothing but padding: input 1, padding 2 before it, kernel 3, output 1.
        let padded = "mb1ic1iw1oc1ow1kw3pw2";
        assert_eq!(verdict(padded, |g| g, false).0, PASSED);
        assert_eq!(verdict(padded, |_| 1e-30, false).0, FAILED);
        let shape = padded.parse().unwrap();
        let case = Case::<f32>::new(Op::WeightGradient, &shape, Layout::Nchw).unwrap();
        let findings = case.check(&Faulty { fault: |_| 1e-30, refuses: false }).unwrap();
        assert_eq!(findings, Findings { worst: f64::INFINITY, integers: Integers::Unequal(1) });
    }

    #[test]
    fn a_refusal_is_shown_and_is_no_failure() {
        let (tally, out) = verdict(SHAPE, |g| g, true);
        assert_eq!(tally, UNSUPPORTED);
        assert!(out.contains("unsupported") && out.contains("it is broken; use another"), "{out}");
    }
}
