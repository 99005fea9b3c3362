//! The direct backend: SIMD kernels that read the input where the convolution reads it, without unfolding.
//!
//! Three kernels divide the problems between them, and a plan that is plain data says which one a shape gets:
//!
//! - [`slide`]: positions in lanes, nothing packed; for depthwise convolutions and images of few channels whose rows lie
//!   contiguous.
//! - [`outer`]: output channels in lanes, input channels broadcast; for layers with channels enough to fill lanes.
//! - [`dot`]: positions in lanes; for the same where it is strided or lies otherwise.

mod dot;
mod dot_pack;
mod dot_plan;
mod dot_streams;
mod outer;
mod outer_plan;
mod panel;
mod slide;
mod slide_plan;
mod slots;
mod window;
mod write;

use super::{Backend, Cost};
use crate::bias;
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::problem::Problem;
use crate::shape::ConvShape;
use crate::simd::Isa;
use dot_plan::DotPlan;
use outer_plan::OuterPlan;
use slide_plan::SlidePlan;

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

    /// The plans whose kernels need the fewest cycles.
    fn plan<T: Element>(&self, shape: &ConvShape) -> Plan {
        let registers = self.isa.registers::<T::Acc>();
        let outer = OuterPlan::new(shape, registers, size_of::<T::Acc>());
        let dot = DotPlan::new(shape, registers);
        let packed = if outer.cycles(shape) <= dot.cycles(shape) { Packed::Outer(outer) } else { Packed::Dot(dot) };
        let choose = || SlidePlan::new(shape, registers).filter(|slide| slide.cycles(shape) < packed.cycles(shape));
        let in_place = if shape.flops() < WORTH_A_CHOICE { None } else { choose() };
        Plan { in_place, packed }
    }
}

/// Work from which on one more plan is weighed: a fifth of a microsecond, of calls that take two.
const WORTH_A_CHOICE: f64 = 1e5;

/// How a weight gradient is computed.
#[derive(Debug, Clone, PartialEq)]
struct Plan {
    /// Where that is faster and the operands lie as it reads them.
    in_place: Option<SlidePlan>,
    /// However the operands lie.
    packed: Packed,
}

/// The plan of a kernel that packs its operands.
#[derive(Debug, Clone, PartialEq)]
enum Packed {
    Outer(OuterPlan),
    Dot(DotPlan),
}

impl Plan {
    fn scratch_len(&self, shape: &ConvShape) -> usize {
        let packed = match &self.packed {
            Packed::Outer(plan) => plan.scratch_len(shape),
            Packed::Dot(plan) => plan.scratch_len(shape),
        };
        self.in_place.as_ref().map_or(0, |plan| plan.scratch_len(shape)).max(packed)
    }

    fn cycles(&self, shape: &ConvShape) -> f64 {
        self.in_place.as_ref().map_or_else(|| self.packed.cycles(shape), |plan| plan.cycles(shape))
    }

    fn longest_chain(&self, shape: &ConvShape) -> usize {
        let packed = match &self.packed {
            Packed::Outer(plan) => plan.longest_chain(shape),
            Packed::Dot(plan) => plan.longest_chain(shape),
        };
        self.in_place.as_ref().map_or(0, |plan| plan.longest_chain(shape)).max(packed)
    }
}

impl Packed {
    fn cycles(&self, shape: &ConvShape) -> f64 {
        match self {
            Packed::Outer(plan) => plan.cycles(shape),
            Packed::Dot(plan) => plan.cycles(shape),
        }
    }
}

impl<T: Element> Backend<T> for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn description(&self) -> String {
        format!("parallel SIMD kernels without unfolding, on {}", self.isa)
    }

    fn supports(&self, op: Op, _: &ConvShape) -> Result<(), Unsupported> {
        match op {
            Op::WeightGradient | Op::BiasGradient => Ok(()),
            Op::Forward => Err(Unsupported {
                backend: "direct",
                op,
                reason: "its kernels are written for gradients",
                remedy: "use `im2col` or `naive`",
            }),
        }
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        match op {
            Op::WeightGradient => self.plan::<T>(shape).scratch_len(shape),
            Op::BiasGradient | Op::Forward => 0,
        }
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let operands = |dims: Vec<usize>| dims.iter().product::<usize>() as f64;
        let delta = operands(shape.output_dims());
        let (flops, elements) = match op {
            // Operands are read once and packed: written once and read once more.
            Op::WeightGradient => {
                let cycles = self.plan::<T>(shape).cycles(shape);
                // Two multiply-adds of a vector a cycle.
                let flops = 4.0 * self.isa.registers::<T::Acc>().lanes as f64 * cycles;
                (flops, 3.0 * (delta + operands(shape.input_dims())) + shape.weights_len() as f64)
            }
            Op::BiasGradient | Op::Forward => (delta, delta),
        };
        Cost { flops, bytes: elements * size_of::<T>() as f64 }
    }

    /// A product of the weight gradient is rounded once itself where multiply-adds are not fused, then takes part in the
    /// additions of its kernel's longest chain. `h` roundings on the way to the result bound the error by
    /// `h * u / (1 - h * u)` of the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
    /// section 4.2). Zeros that fill gaps and the scale 1 do not round. No order of summing `n` products errs by more than
    /// `n * u` (Jeannerod and Rump, SIAM J. Matrix Anal. Appl. 34, 2013), which is less for short sums.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        let chain = match op {
            Op::WeightGradient => self.plan::<T>(shape).longest_chain(shape),
            Op::BiasGradient | Op::Forward => return bias::bias_error_bound::<T>(shape),
        };
        let roundings = 1.0 + chain as f64;
        (roundings / (1.0 - roundings * T::UNIT_ROUNDOFF).max(0.0)).min(shape.terms() as f64)
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        match problem {
            Problem::WeightGradient(problem) => match self.plan::<T>(problem.shape) {
                Plan { in_place: Some(plan), .. } if slide::can_read([&problem.delta, &problem.input]) => {
                    slide::run(problem, &plan, self.isa, scratch)
                }
                Plan { packed: Packed::Outer(plan), .. } => outer::run(problem, &plan, self.isa, scratch),
                Plan { packed: Packed::Dot(plan), .. } => dot::run(problem, &plan, self.isa, scratch),
            },
            Problem::BiasGradient(problem) => bias::bias_gradient(problem),
            // `supports` refuses it.
            Problem::Forward(_) => unreachable!("direct does not compute the forward pass"),
        }
    }
}
