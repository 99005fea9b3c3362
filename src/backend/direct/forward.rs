//! The forward pass, which is the input gradient's as well: four kernels, and which of them a shape gets.
//!
//! - [`channels`]: output channels in lanes; for layers with channels enough to fill them.
//! - [`plain`]: the definition as loops; for tiny problems.
//! - [`pointwise`]: output positions in lanes; for 1x1 kernels, where these lie side by side.
//! - [`shifts`]: output positions in lanes; for depthwise convolutions and groups of few output channels.

mod channels;
mod channels_plan;
mod plain;
mod pointwise;
mod shifts;
mod shifts_plan;
mod weights;
mod write;

use super::lines;
use crate::correlation::Correlation;
use crate::cost::Cost;
use crate::element::Element;
use crate::shape::ConvShape;
use crate::simd::{Isa, Registers};
use channels_plan::{ChannelsPlan, is_pointwise};
use pointwise::PointwisePlan;
use shifts_plan::ShiftsPlan;

/// How a forward pass is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ForwardPlan {
    /// Positions in lanes, if that takes fewer cycles.
    positions: Option<Positions>,
    /// However the operands lie.
    channels: ChannelsPlan,
}

/// A kernel with positions in lanes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Positions {
    Pointwise(PointwisePlan),
    Shifts(ShiftsPlan),
}

impl ForwardPlan {
    /// The plan that needs the fewest cycles.
    pub fn new(shape: &ConvShape, registers: Registers) -> ForwardPlan {
        let channels = ChannelsPlan::new(shape, registers);
        let positions = if is_pointwise(shape) {
            Positions::Pointwise(PointwisePlan::new(shape, registers))
        } else {
            Positions::Shifts(ShiftsPlan::new(shape, registers))
        };
        let is_faster = positions.cycles(shape) < channels.cycles(shape);
        ForwardPlan { positions: is_faster.then_some(positions), channels }
    }

    /// Elements of scratch that suffice for each kernel.
    fn scratch_len(&self, shape: &ConvShape) -> usize {
        let positions = match &self.positions {
            Some(Positions::Pointwise(plan)) => plan.scratch_len(shape),
            Some(Positions::Shifts(plan)) => plan.scratch_len(shape),
            None => 0,
        };
        self.channels.scratch_len(shape).max(positions)
    }

    /// Cycles on one core.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        self.positions.map_or_else(|| self.channels.cycles(shape), |plan| plan.cycles(shape))
    }

    /// Pieces that do not wait for each other.
    pub fn tasks(&self) -> usize {
        match &self.positions {
            Some(Positions::Pointwise(plan)) => plan.parts,
            Some(Positions::Shifts(plan)) => plan.parts,
            None => self.channels.parts * self.channels.pieces,
        }
    }

    /// The kernel's name.
    fn name(&self) -> &'static str {
        match &self.positions {
            Some(Positions::Pointwise(_)) => "pointwise",
            Some(Positions::Shifts(_)) => "shifts",
            None => "channels",
        }
    }
}

impl Positions {
    fn cycles(&self, shape: &ConvShape) -> f64 {
        match self {
            Positions::Pointwise(plan) => plan.cycles(shape),
            Positions::Shifts(plan) => plan.cycles(shape),
        }
    }
}

/// The kernel of a shape.
pub(super) fn kernel_name<T: Element>(shape: &ConvShape, isa: Isa) -> &'static str {
    if plain::suits(shape) { "forward plain" } else { ForwardPlan::new(shape, isa.registers::<T::Acc>()).name() }
}

/// What a forward pass costs.
pub(super) fn cost<T: Element>(shape: &ConvShape, isa: Isa) -> Cost {
    let elements = |dims: Vec<usize>| dims.iter().map(|&size| size as f64).product::<f64>();
    let (input, output) = (elements(shape.input_dims()), elements(shape.output_dims()));
    let weights = shape.weights_len() as f64;
    // Input and weights are read once and packed: written once and read once more.
    let bytes = (3.0 * (input + weights) + output) * size_of::<T>() as f64;
    if plain::suits(shape) {
        // Each input channel of an output is a loop.
        let loops = output * (1 + shape.group_in_channels()) as f64;
        return Cost { flops: shape.met_flops(), bytes, loops, tasks: 1, kernel: "forward plain" };
    }
    let registers = isa.registers::<T::Acc>();
    let plan = ForwardPlan::new(shape, registers);
    // Two multiply-adds of a vector a cycle.
    let flops = 4.0 * registers.lanes as f64 * plan.cycles(shape);
    let of_weights = match &plan.positions {
        // Every weight begins a loop over the positions of an image.
        Some(Positions::Shifts(_)) => shape.batch() as f64 * weights,
        _ => 0.0,
    };
    Cost { flops, bytes, loops: lines(shape) + of_weights, tasks: plan.tasks(), kernel: plan.name() }
}

/// Elements of scratch.
pub(super) fn scratch_len<T: Element>(shape: &ConvShape, isa: Isa) -> usize {
    if plain::suits(shape) { 0 } else { ForwardPlan::new(shape, isa.registers::<T::Acc>()).scratch_len(shape) }
}

/// Computes a forward pass.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>, isa: Isa, scratch: &mut [T::Acc]) {
    if plain::suits(&problem.shape) {
        return plain::run(problem);
    }
    let ForwardPlan { positions, channels } = ForwardPlan::new(&problem.shape, isa.registers::<T::Acc>());
    // Channels that lie side by side are best left so, if they fill lanes.
    let lie_as_channels = problem.input.strides5()[1] == 1 && problem.output.strides5()[1] == 1;
    match positions {
        Some(Positions::Pointwise(plan)) if !lie_as_channels => pointwise::run(problem, &plan, isa, scratch),
        Some(Positions::Shifts(plan)) if !(lie_as_channels && channels.is_depthwise) => {
            shifts::run(problem, &plan, isa, scratch);
        }
        _ => channels::run(problem, &channels, isa, scratch),
    }
}

/// Additions of the longest chain of roundings: an output is one sum, which its bias begins.
pub(super) fn longest_chain(shape: &ConvShape) -> usize {
    shape.group_in_channels() * shape.taps() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telling_shapes_get_the_kernels_made_for_them() {
        let registers = Registers { lanes: 16, count: 32 };
        for (shape, name) in [
            ("mb8ic64ih56oc64oh56kh3ph1", "channels"),
            ("mb8ic3ih224oc64oh112kh7sh2ph3", "channels"),
            ("mb8ic64ih56oc256oh56kh1", "pointwise"),
            ("mb8g512ic512ih14oc512oh14kh3ph1", "channels"),
            ("mb8g32ic32ih112oc32oh112kh3ph1", "shifts"),
            // Three output channels, as the input gradient of an image.
            ("mb8ic64ih112oc3oh112kh3ph1", "shifts"),
        ] {
            assert_eq!(ForwardPlan::new(&shape.parse().unwrap(), registers).name(), name, "{shape}");
        }
    }

    #[test]
    fn the_worked_example_needs_no_scratch() {
        assert_eq!(scratch_len::<f32>(&"mb1ic1ih5oc1oh4kh2".parse().unwrap(), Isa::best()), 0);
    }
}
