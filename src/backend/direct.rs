//! The direct backend: SIMD kernels that read the input where the convolution reads it, without unfolding.
//!
//! Seven kernels divide the weight gradients between them, and a plan that is plain data says which one a shape gets:
//!
//! - [`plain`]: the definition as loops; for problems so small that nothing is worth preparing.
//! - [`slide`]: positions in lanes, nothing packed; for depthwise convolutions and images of few channels whose rows lie
//!   contiguous.
//! - [`depthwise`]: channels in lanes; for depthwise convolutions whose channels lie side by side, and those of small planes.
//! - [`planar`]: channels of one operand in lanes, the other broadcast from where it lies; for 1x1 kernels and few input
//!   channels, whatever the stride.
//! - [`outer`]: output channels in lanes, input channels broadcast; for layers with channels enough to fill lanes. Or, under
//!   the name `grouped`, groups in lanes, for groups of few channels.
//! - [`dot`]: positions in lanes; for the same where it is strided or lies otherwise.
//!
//! The pass [`forward`], which the input gradient is made of, has kernels of its own.

mod cut;
mod depthwise;
mod depthwise_pack;
mod depthwise_plan;
mod dot;
mod dot_pack;
mod dot_plan;
mod dot_streams;
mod forward;
mod gather;
mod operand;
mod outer;
mod outer_plan;
mod panel;
mod parts;
mod plain;
mod plan;
mod planar;
mod planar_plan;
mod planes;
mod public_plan;
mod remembered;
mod rooms;
mod slide;
mod slide_plan;
mod slots;
#[cfg(test)]
mod tests;
mod window;

pub use public_plan::{DirectKernel, DirectPlan, KernelPlan};

use super::Backend;
use crate::bias;
use crate::correlation::{for_each_correlation, phase_shapes};
use crate::cost::Cost;
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::problem::{Problem, WeightGradient};
use crate::shape::{Axis, ConvShape};
use crate::simd::Isa;
use plan::{Kernel, Plan};

/// SIMD kernels on one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Direct {
    isa: Isa,
}

impl Direct {
    /// On an instruction set of the caller's choice.
    pub(crate) fn on(isa: Isa) -> Direct {
        Direct { isa }
    }

    /// The plan of a shape, whose kernels need the fewest cycles.
    fn recall<T: Element>(&self, shape: &ConvShape) -> Plan {
        remembered::plan(shape, self.isa.registers::<T::Acc>(), size_of::<T::Acc>())
    }
}

/// Whether the operands lie as a kernel reads them.
fn can_read<T: Element>(kernel: &Kernel, problem: &WeightGradient<'_, T>) -> bool {
    match kernel {
        Kernel::Slide(_) => slide::can_read([&problem.delta, &problem.input]),
        Kernel::Depthwise(_) => depthwise::can_read([&problem.delta, &problem.input]),
        Kernel::Planar(plan) => planar::can_read(problem, plan),
        Kernel::Plain | Kernel::Outer(_) | Kernel::Dot(_) => true,
    }
}

/// Whether a kernel that [can read](can_read) the operands sums delta along where it has it at hand.
fn fuses_bias<T: Element>(kernel: &Kernel, problem: &WeightGradient<'_, T>) -> bool {
    match kernel {
        Kernel::Planar(plan) => planar::fuses_bias(problem, plan),
        Kernel::Outer(_) => true,
        Kernel::Plain | Kernel::Slide(_) | Kernel::Depthwise(_) | Kernel::Dot(_) => false,
    }
}

/// Computes a problem whose operands the kernel [can read](can_read), and the bias gradient that it asks for along with it.
fn run<T: Element>(kernel: &Kernel, mut problem: WeightGradient<'_, T>, isa: Isa, scratch: &mut [T::Acc]) {
    if !fuses_bias(kernel, &problem)
        && let Some(bias) = problem.split_bias()
    {
        bias::bias_gradient(bias);
    }
    match kernel {
        Kernel::Plain => plain::run(problem),
        Kernel::Slide(plan) => slide::run(problem, plan, isa, scratch),
        Kernel::Depthwise(plan) => depthwise::run(problem, plan, isa, scratch),
        Kernel::Planar(plan) => planar::run(problem, plan, isa, scratch),
        Kernel::Outer(plan) => outer::run(problem, plan, isa, scratch),
        Kernel::Dot(plan) => dot::run(problem, plan, isa, scratch),
    }
}

/// Lines that are copied or written one after the other, however short: rows of the input and of the output, or planes where
/// one lies as the other does, and of the weights the taps of each pair of channels.
fn lines(shape: &ConvShape) -> f64 {
    let lie_alike = |axis: &Axis| axis.kernel == 1 && axis.stride == 1 && axis.padding == 0;
    let rows = |size: fn(&Axis) -> usize| shape.axes()[..2].iter().map(|axis| size(axis) as f64).product::<f64>();
    let [of_input, of_output] = if shape.axes().iter().all(lie_alike) {
        [1.0, 1.0]
    } else {
        [rows(|axis| axis.input), rows(|axis| axis.output)]
    };
    let [ins, outs] = [shape.in_channels(), shape.out_channels()].map(|channels| channels as f64);
    shape.batch() as f64 * (ins * of_input + outs * of_output) + outs * shape.group_in_channels() as f64
}

impl<T: Element> Backend<T> for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn description(&self) -> String {
        format!("parallel SIMD kernels without unfolding, on {}", self.isa)
    }

    fn supports(&self, _: Op, _: &ConvShape) -> Result<(), Unsupported> {
        Ok(())
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        match op {
            Op::WeightGradient if plain::suits(shape) => 0,
            Op::WeightGradient => self.recall::<T>(shape).scratch_len(shape),
            Op::BiasGradient => 0,
            Op::Forward => forward::scratch_len::<T>(shape, self.isa),
            Op::InputGradient => {
                phase_shapes(shape).map(|phase| forward::scratch_len::<T>(&phase, self.isa)).fold(0, usize::max)
            }
        }
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let operands = |dims: Vec<usize>| dims.iter().product::<usize>() as f64;
        let delta = operands(shape.output_dims());
        match op {
            Op::WeightGradient => {
                let plan = self.recall::<T>(shape);
                // Two multiply-adds of a vector a cycle.
                let flops = 4.0 * self.isa.registers::<T::Acc>().lanes as f64 * plan.cycles(shape);
                // Operands are read once and packed: written once and read once more.
                let elements = 3.0 * (delta + operands(shape.input_dims())) + shape.weights_len() as f64;
                let loops = if plain::suits(shape) { 0.0 } else { lines(shape) };
                let bytes = elements * size_of::<T>() as f64;
                Cost { flops, bytes, loops, tasks: plan.tasks(shape), kernel: plan.name() }
            }
            Op::BiasGradient => Cost { flops: delta, bytes: delta * size_of::<T>() as f64, ..Cost::default() },
            Op::Forward => forward::cost::<T>(shape, self.isa),
            Op::InputGradient => Cost::sum(phase_shapes(shape).map(|phase| forward::cost::<T>(&phase, self.isa))),
        }
    }

    /// A product is rounded once itself where multiply-adds are not fused, then takes part in the additions of its kernel's
    /// longest chain: an output of the forward pass is one sum over input channels and taps, which begins with the bias. `h`
    /// roundings on the way to the result bound the error by `h * u / (1 - h * u)` of the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
    /// section 4.2). Zeros that fill gaps and the scale 1 do not round. No order of summing `n` products errs by more than
    /// `n * u` (Jeannerod and Rump, SIAM J. Matrix Anal. Appl. 34, 2013), which is less for short sums.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        let chain = match op {
            Op::WeightGradient => self.recall::<T>(shape).longest_chain(shape),
            Op::BiasGradient => return bias::bias_error_bound::<T>(shape),
            Op::Forward => forward::longest_chain(shape),
            Op::InputGradient => {
                let phases = phase_shapes(shape);
                let bounds = phases.map(|phase| Backend::<T>::error_bound(self, Op::Forward, &phase));
                return bounds.fold(0.0, f64::max);
            }
        };
        let terms = if op == Op::Forward { chain } else { shape.terms() };
        let roundings = 1.0 + chain as f64;
        (roundings / (1.0 - roundings * T::UNIT_ROUNDOFF).max(0.0)).min(terms as f64)
    }

    /// Number by number it is Rust's own arithmetic, which fuses nothing.
    fn is_reproducible(&self) -> bool {
        self.isa == Isa::SCALAR
    }

    fn plan(&self, op: Op, shape: &ConvShape) -> Option<String> {
        match op {
            Op::WeightGradient => Some(DirectPlan::new::<T>(shape, self.isa).to_string()),
            Op::Forward => Some(forward::kernel_name::<T>(shape, self.isa).to_owned()),
            Op::BiasGradient | Op::InputGradient => None,
        }
    }

    fn fuses_bias(&self, shape: &ConvShape) -> bool {
        !plain::suits(shape) && self.recall::<T>(shape).fuses_bias()
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        match problem {
            // Before a plan is looked for, which would take as long.
            Problem::WeightGradient(problem) if plain::suits(problem.shape) => plain::run(problem),
            Problem::WeightGradient(problem) => {
                let Plan { in_place, anywhere } = self.recall::<T>(problem.shape);
                let in_place = in_place.into_iter().flatten().find(|kernel| can_read(kernel, &problem));
                run(&in_place.unwrap_or(anywhere), problem, self.isa, scratch)
            }
            Problem::BiasGradient(problem) => bias::bias_gradient(problem),
            Problem::Forward(problem) => forward::run(problem.into(), self.isa, scratch),
            Problem::InputGradient(problem) => {
                for_each_correlation(problem, |pass| forward::run(pass, self.isa, scratch));
            }
        }
    }
}
