//! The forward pass, which is the input gradient's as well.

mod channels;
mod channels_plan;
mod weights;
mod write;

use crate::correlation::Correlation;
use crate::element::Element;
use crate::shape::ConvShape;
use crate::simd::{Isa, Registers};
use channels_plan::ChannelsPlan;

/// Computes a forward pass.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>, isa: Isa, scratch: &mut [T::Acc]) {
    let plan = ChannelsPlan::new(&problem.shape, isa.registers::<T::Acc>());
    channels::run(problem, &plan, isa, scratch);
}

/// Elements of scratch.
pub(super) fn scratch_len(shape: &ConvShape, registers: Registers) -> usize {
    ChannelsPlan::new(shape, registers).scratch_len(shape)
}

/// Cycles on one core.
pub(super) fn cycles(shape: &ConvShape, registers: Registers) -> f64 {
    ChannelsPlan::new(shape, registers).cycles(shape)
}

/// Additions of the longest chain of roundings: an output is one sum.
pub(super) fn longest_chain(shape: &ConvShape) -> usize {
    shape.group_in_channels() * shape.taps() + 1
}
