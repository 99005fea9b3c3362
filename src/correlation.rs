//! The sum that the forward pass and the input gradient have in common.
//!
//! ```text
//! x[n,m,o]       = b[m] + sum_c sum_k  w[m,c,k] * o[n,c, o*stride + k*dilation - padding]
//! dInput[n,c,i]  = sum_m sum_k         w[m,c,k] * delta[n,m,o]          over all o, k with o*stride + k*dilation - padding = i
//! ```
//!
//! The second is the transpose of the first. For a stride of 1 it *is* a forward pass: of delta, by weights whose channels are
//! exchanged and whose taps are reversed. With a stride `s` the inputs `i = r + s*t` of each residue `r` see some of the taps
//! only, those with `r + padding - k*dilation` divisible by `s`; they are a forward pass of stride 1 by these taps:
//! [`phases`]. Nothing is multiplied that is known to be zero, and a backend that computes a [`Correlation`] computes both.

mod phases;

pub(crate) use phases::{for_each_correlation, phase_shapes};

use crate::element::Element;
use crate::problem::{Forward, Update};
use crate::shape::ConvShape;
use crate::tensor::{View, ViewMut};

/// A forward pass of the given shape, with weights that may lie in any way: `output = scale * (sum + bias)`, or `+=`.
#[derive(Debug)]
pub(crate) struct Correlation<'a, T> {
    pub shape: ConvShape,
    pub input: View<'a, T>,
    pub weights: Weights<'a, T>,
    pub bias: Option<&'a [T]>,
    pub output: ViewMut<'a, T>,
    pub update: Update<T>,
}

impl<'a, T: Element> From<Forward<'a, T>> for Correlation<'a, T> {
    fn from(problem: Forward<'a, T>) -> Self {
        let Forward { shape, input, weights, bias, output, update } = problem;
        Correlation { shape: *shape, input, weights: Weights::of_layer(shape, &weights), bias, output, update }
    }
}

/// Weights as the sum reads them: by group, its output and input channels, and tap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weights<'a, T> {
    pub data: &'a [T],
    /// Index of the first tap of the first channels.
    pub origin: usize,
    /// Elements from a group, an output channel of a group, an input channel of a group to the next.
    pub group: isize,
    pub out_channel: isize,
    pub in_channel: isize,
    /// Elements from a tap to the next, along each axis.
    pub taps: [isize; 3],
}

impl<'a, T: Element> Weights<'a, T> {
    /// Those of a layer, as its forward pass reads them.
    fn of_layer(shape: &ConvShape, weights: &View<'a, T>) -> Self {
        let [out_channel, in_channel, taps @ ..] = weights.strides5();
        // Wrapping: strides that are never stepped may be anything.
        let group = out_channel.wrapping_mul(shape.group_out_channels().cast_signed());
        Weights { data: weights.data(), origin: weights.index([0; 5]), group, out_channel, in_channel, taps }
    }

    /// The same weights with the channels of each group exchanged.
    fn transposed(self) -> Self {
        Weights { out_channel: self.in_channel, in_channel: self.out_channel, ..self }
    }

    /// Elements from the first tap to another.
    #[inline(always)]
    pub fn tap_offset(&self, tap: [usize; 3]) -> isize {
        let along = |axis: usize| self.taps[axis].wrapping_mul(tap[axis].cast_signed());
        along(0).wrapping_add(along(1)).wrapping_add(along(2))
    }

    /// Those from a tap on, every `step`-th along each axis, forwards or backwards.
    fn taps_from(self, first: [usize; 3], step: [isize; 3]) -> Self {
        let taps = [0, 1, 2].map(|axis| self.taps[axis].wrapping_mul(step[axis]));
        Weights { origin: self.origin.wrapping_add_signed(self.tap_offset(first)), taps, ..self }
    }

    /// Index of the first tap of two channels of a group.
    #[inline(always)]
    pub fn index(&self, group: usize, out_channel: usize, in_channel: usize) -> usize {
        let offset = |count: usize, stride: isize| stride.wrapping_mul(count.cast_signed());
        self.origin
            .wrapping_add_signed(offset(group, self.group))
            .wrapping_add_signed(offset(out_channel, self.out_channel))
            .wrapping_add_signed(offset(in_channel, self.in_channel))
    }
}
