//! The weight gradient by Fourier transforms, for few channels and large kernels.
//!
//! ```text
//! for sheet of delta:                                         t1 x t2 positions, filled up with zeros to n1 x n2
//!     D[oc] = F delta[oc]         X[ic] = F input[ic]         of the n1 x n2 positions of the input it meets
//!     S[oc,ic] += D[oc] * conjugate(X[ic])                    frequency by frequency
//! dW[oc,ic] = Re F S[oc,ic] / (n1 n2)                         at the lags 0 <= k <= n - t, of each axis
//! ```
//!
//! A circular correlation of `n` points is the plain one at the lags where no position of delta wraps around, so sheets
//! overlap in the input only. `F` is linear, so the sums of all sheets and images are formed before the one transform back.
//!
//! ```text
//! for block of channels, tap along depth, block of lags:      a job
//!     for part of the pairs of sheets, in parallel:           a task
//!         for pair of sheets:
//!             for channel:  columns = transforms down the height, 16 columns at a time
//!             for 16 frequencies of the height:
//!                 for channel:  spectrum = transforms along the width, of the transposed columns
//!                 sums += products of the spectra
//!     add up the parts; transform back
//! write the weights
//! ```
//!
//! Deviations from `F` as a library has it:
//!
//! 1. Two sheets are transformed as the real and the imaginary part of one: `Re(conjugate(d1 + i d2) (x1 + i x2))` is
//!    `d1 x1 + d2 x2`, which is the sum over both. The rest is imaginary and left behind; nothing need be taken apart.
//! 2. Sixteen columns are transformed side by side in lanes, on any instruction set; [`fourier`](crate::simd::fourier) tells
//!    how. Frequencies stay in the order in which they arise.
//! 3. Strides and dilations are taken apart into plain correlations by the module `axis`, kernels of many lags into blocks of lags.
//! 4. A kernel of one row needs no transform down the height: rows of sheets are then unrelated strips of one row each.
//! 5. Lengths, blocks and parts depend on the shape and the registers: the bits are the same on any number of threads.
//!
//! The transforms are this crate's own: lanes that are transforms need no shuffles, AVX-512 is used, and nothing is allocated
//! to plan them. 192 transforms of 192 points take 6.0 microseconds, on AVX2 10.4; RustFFT 6.4 takes 20.5 (Zen 5, f32).

mod axis;
mod job;
mod plan;
mod sheet;

use super::{Backend, ErrorScale, RANDOM_WALK};
use crate::bias;
use crate::cost::Cost;
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::partition::for_each_chunk;
use crate::problem::{Problem, WeightGradient};
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::write::{SumRows, Sums, write};
use job::{Context, Job};
use plan::Plan;
use std::ops::Range;

/// Fourier transforms on one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fft {
    isa: Isa,
}

impl Fft {
    /// On an instruction set of the caller's choice.
    pub(crate) fn on(isa: Isa) -> Fft {
        Fft { isa }
    }

    /// The plan of a weight gradient that is not refused.
    fn plan<T: Element>(&self, op: Op, shape: &ConvShape) -> Option<Plan> {
        let is_supported = op == Op::WeightGradient && refusal(shape).is_none();
        is_supported.then(|| Plan::new(shape, self.isa.registers::<T::Acc>(), size_of::<T::Acc>()))
    }
}

/// Why a weight gradient is refused, and what to do instead.
fn refusal(shape: &ConvShape) -> Option<(&'static str, &'static str)> {
    let [_, height, width] = shape.axes();
    (height.kernel == 1 && width.kernel == 1)
        .then_some(("a kernel of one row and column has no taps that could share a transform", "use `direct`"))
}

impl<T: Element> Backend<T> for Fft {
    fn name(&self) -> &'static str {
        "fft"
    }

    fn description(&self) -> String {
        format!("few channels and large kernels by Fourier transforms of tiles, on {}", self.isa)
    }

    fn supports(&self, op: Op, shape: &ConvShape) -> Result<(), Unsupported> {
        let refuse = |(reason, remedy)| Err(Unsupported { backend: "fft", op, reason, remedy });
        match op {
            Op::WeightGradient => refusal(shape).map_or(Ok(()), refuse),
            Op::BiasGradient => Ok(()),
            _ => refuse(("it is written for gradients of weights", "use `im2col` or `naive`")),
        }
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        self.plan::<T>(op, shape).map_or(0, |plan| plan.scratch_len(shape))
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let elements = |dims: Vec<usize>| dims.iter().product::<usize>() as f64;
        let (delta, input) = (elements(shape.output_dims()), elements(shape.input_dims()));
        let (flops, elements, tasks) = match self.plan::<T>(op, shape) {
            Some(plan) => (plan.flops(), plan.elements(shape, delta, input), plan.jobs.saturating_mul(plan.parts)),
            None => (delta, delta, 1),
        };
        // Elements of the operands are taken one by one.
        Cost { flops, bytes: elements * size_of::<T>() as f64, loops: delta + input, tasks, kernel: "" }
    }

    /// Let `D` and `X` be the spectra of a pair of sheets, `d` and `x` what they are of, `N` their points. By Parseval's theorem
    /// `|D| |X| = N |d| |x|` in 2-norms.
    ///
    /// A computed spectrum errs by at most `e u |D|` in the 2-norm, `e` from
    /// [`Stages::norm_error`](crate::simd::fourier::Stages::norm_error), so the sum of its products with another one, over all
    /// frequencies, errs by `2 e u N |d| |x|` to first order, and by `sqrt(2) (k + 2) u N |d| |x|` for the complex products and
    /// for adding up `k` of them. An entry of the transform back errs by at most `f u` times the sum of the magnitudes of what is
    /// transformed, [`Stages::error`](crate::simd::fourier::Stages::error), which again is at most `N |d| |x|`. The factor `1 / N`
    /// rounds twice. By Cauchy's inequality the norms over all sheets are those of all of delta, and those of all of the
    /// input times the square root of the number of sheets an input belongs to.
    ///
    /// So errors grow with the logarithm of the length, and with the products that are added up one after the other.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        match self.plan::<T>(op, shape) {
            Some(plan) => plan.error_bound(T::UNIT_ROUNDOFF),
            None => bias::bias_error_bound::<T>(shape),
        }
    }

    fn error_scale(&self, op: Op, _: &ConvShape) -> ErrorScale {
        if op == Op::WeightGradient { ErrorScale::Norms } else { ErrorScale::Products }
    }

    fn typical_error(&self, op: Op, shape: &ConvShape) -> f64 {
        let plan = self.plan::<T>(op, shape);
        plan.map_or_else(|| RANDOM_WALK * bias::bias_error_bound::<T>(shape).sqrt(), |plan| plan.typical_error())
    }

    fn plan(&self, op: Op, shape: &ConvShape) -> Option<String> {
        self.plan::<T>(op, shape).map(|plan| plan.to_string())
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        match problem {
            Problem::WeightGradient(problem) => {
                let plan = Plan::new(problem.shape, self.isa.registers::<T::Acc>(), size_of::<T::Acc>());
                weight_gradient(problem, &plan, self.isa, scratch);
            }
            Problem::BiasGradient(problem) => bias::bias_gradient(problem),
            // `supports` refuses it.
            problem => unreachable!("fft does not compute the {}", problem.op()),
        }
    }
}

/// Computes a supported problem by its plan.
fn weight_gradient<T: Element>(problem: WeightGradient<'_, T>, plan: &Plan, isa: Isa, scratch: &mut [T::Acc]) {
    let shape = problem.shape;
    let [height, width] = plan.factors_lens();
    let (height, rest) = scratch.split_at_mut(height);
    let (width, rest) = rest.split_at_mut(width);
    let (weights, rest) = rest.split_at_mut(shape.weights_len());
    plan.height.stages.write_factors(height, T::Acc::from_f64);
    plan.width.stages.write_factors(width, T::Acc::from_f64);

    let context = Context { problem: &problem, plan, isa, factors: [height, width] };
    for first in (0..plan.jobs).step_by(plan.round) {
        let jobs = plan.round.min(plan.jobs - first);
        let job = |number| Job::new(first + number, shape, plan);
        let tasks = &mut rest[..jobs * plan.parts * plan.task_len()];
        let work = plan.flops() * jobs as f64 / plan.jobs as f64;
        for_each_chunk(tasks, plan.task_len(), work, |task, scratch| {
            job(task / plan.parts).sum(&context, task % plan.parts, scratch);
        });
        for_each_chunk(tasks, plan.parts * plan.task_len(), work, |number, scratch| {
            job(number).finish(&context, scratch);
        });
        for (number, scratch) in tasks.chunks_exact(plan.parts * plan.task_len()).enumerate() {
            job(number).for_each_weight(shape, plan, scratch, |weight, sum| weights[weight] = sum);
        }
    }
    let WeightGradient { gradient, update, .. } = problem;
    write(isa, shape, &Weights { weights, of_channel: shape.weights_len() / shape.out_channels() }, gradient, update);
}

/// Finished weights in the order of the gradient's dimensions.
struct Weights<'a, A> {
    weights: &'a [A],
    of_channel: usize,
}

impl<A: Sync> Sums<A> for Weights<'_, A> {
    fn neighbours(&self, channel: usize) -> Range<usize> {
        channel..channel + 1
    }

    fn rows(&self, channels: Range<usize>) -> SumRows<'_, A> {
        SumRows { data: &self.weights[channels.start * self.of_channel..], pitch: 1, channels: 1 }
    }
}
