//! The forward pass, which is the input gradient's as well: three kernels, and which of them a shape gets.
//!
//! - [`channels`]: output channels in lanes; for layers with channels enough to fill them.
//! - [`pointwise`]: output positions in lanes; for 1x1 kernels, where these lie side by side.
//! - [`shifts`]: output positions in lanes; for depthwise convolutions and groups of few output channels.

mod channels;
mod channels_plan;
mod pointwise;
mod shifts;
mod shifts_plan;
mod weights;
mod write;

use crate::correlation::Correlation;
use crate::element::Element;
use crate::shape::ConvShape;
use crate::simd::{Isa, Registers};
use channels_plan::{ChannelsPlan, is_pointwise};
use pointwise::PointwisePlan;
use shifts_plan::ShiftsPlan;

/// How a forward pass is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ForwardPlan {
    /// Faster where channels do not lie side by side.
    pointwise: Option<PointwisePlan>,
    anywhere: Kernel,
}

/// A kernel for operands that lie in any way.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kernel {
    Channels(ChannelsPlan),
    Shifts(ShiftsPlan),
}

impl ForwardPlan {
    /// The plan that needs the fewest cycles.
    pub fn new(shape: &ConvShape, registers: Registers) -> ForwardPlan {
        let channels = ChannelsPlan::new(shape, registers);
        let shifts = ShiftsPlan::new(shape, registers);
        let anywhere = if shifts.cycles(shape) < channels.cycles(shape) {
            Kernel::Shifts(shifts)
        } else {
            Kernel::Channels(channels)
        };
        let pointwise = is_pointwise(shape).then(|| PointwisePlan::new(shape, registers));
        ForwardPlan { pointwise: pointwise.filter(|plan| plan.cycles(shape) < anywhere.cycles(shape)), anywhere }
    }

    /// Elements of scratch that suffice for each kernel.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let anywhere = match &self.anywhere {
            Kernel::Channels(plan) => plan.scratch_len(shape),
            Kernel::Shifts(plan) => plan.scratch_len(shape),
        };
        self.pointwise.map_or(0, |plan| plan.scratch_len(shape)).max(anywhere)
    }

    /// Cycles on one core.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        self.pointwise.map_or_else(|| self.anywhere.cycles(shape), |plan| plan.cycles(shape))
    }

    /// Pieces that do not wait for each other.
    pub fn tasks(&self) -> usize {
        match (&self.pointwise, &self.anywhere) {
            (Some(plan), _) => plan.parts,
            (None, Kernel::Channels(plan)) => plan.parts * plan.pieces,
            (None, Kernel::Shifts(plan)) => plan.parts,
        }
    }

    /// The kernel's name.
    pub fn name(&self) -> &'static str {
        match (&self.pointwise, &self.anywhere) {
            (Some(_), _) => "pointwise",
            (None, Kernel::Channels(_)) => "channels",
            (None, Kernel::Shifts(_)) => "shifts",
        }
    }
}

impl Kernel {
    fn cycles(&self, shape: &ConvShape) -> f64 {
        match self {
            Kernel::Channels(plan) => plan.cycles(shape),
            Kernel::Shifts(plan) => plan.cycles(shape),
        }
    }
}

/// Computes a forward pass.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>, isa: Isa, scratch: &mut [T::Acc]) {
    let ForwardPlan { pointwise, anywhere } = ForwardPlan::new(&problem.shape, isa.registers::<T::Acc>());
    match (pointwise.filter(|_| pointwise::suits(&problem)), anywhere) {
        (Some(plan), _) => pointwise::run(problem, &plan, isa, scratch),
        (None, Kernel::Channels(plan)) => channels::run(problem, &plan, isa, scratch),
        (None, Kernel::Shifts(plan)) => shifts::run(problem, &plan, isa, scratch),
    }
}

/// Additions of the longest chain of roundings: an output is one sum, which its bias begins.
pub(super) fn longest_chain(shape: &ConvShape) -> usize {
    shape.group_in_channels() * shape.taps() + 1
}
