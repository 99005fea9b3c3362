//! Transformed weights: those of some output channels, with all input channels of their group.

use super::plan::ForwardPlan;
use crate::backend::winograd::plan::TileSize;
use crate::backend::winograd::workspace::with_workspace;
use crate::correlation::Weights;
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk};
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::toom::Linear;
use crate::simd::toom::forward::{WeightsOfFour, WeightsOfTwo};
use crate::simd::transpose::Transpose;
use crate::simd::winograd::TAPS;
use crate::simd::winograd::forward::TransformedWeights;
use std::marker::PhantomData;
use std::ops::Range;

/// Taps of a kernel.
const KERNEL: usize = TAPS * TAPS;

/// Elements read of each kernel where it is copied by itself: a number of columns that is transposed in registers.
const RUN: usize = 16;

/// The order of the taps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Forward,
    Reversed,
}

/// Weights transposed for all channels of a block before the next ones.
const TRANSPOSED: usize = 128;

/// Transforms the weights of some blocks of output channels, counted through all groups, to `[block][point][ic][oc]`.
pub(super) fn transform_weights<T: Element>(
    shape: &ConvShape,
    plan: &ForwardPlan,
    isa: Isa,
    weights: Weights<'_, T>,
    blocks: Range<usize>,
    out: &mut [T::Acc],
) {
    let len = plan.weights_block_len(shape);
    let out = &mut out[..blocks.len() * len];
    let work = out.len() as f64 * ELEMENT_FLOPS;
    for_each_chunk(out, len, work, |index, out| {
        let (group, block) = ((blocks.start + index) / plan.oc_blocks, (blocks.start + index) % plan.oc_blocks);
        let first = block * plan.oc_width;
        let channels = first..shape.group_out_channels().min(first + plan.oc_width);
        let block = Block { shape, plan, isa, weights, group, channels };
        with_workspace(|strip| match plan.size {
            TileSize::Four => block.transform::<WeightsOfFour, 6>(strip, out),
            TileSize::Two => block.transform::<WeightsOfTwo, 4>(strip, out),
        });
    });
}

/// Some output channels of a group.
struct Block<'a, T> {
    shape: &'a ConvShape,
    plan: &'a ForwardPlan,
    isa: Isa,
    weights: Weights<'a, T>,
    group: usize,
    channels: Range<usize>,
}

impl<T: Element> Block<'_, T> {
    fn transform<L: Linear<TAPS, O>, const O: usize>(&self, strip: &mut [T::Acc], out: &mut [T::Acc]) {
        let width = self.plan.oc_width;
        // Lanes without a channel are never written anywhere; they should hold ordinary numbers all the same.
        strip.fill(T::Acc::default());
        let room = (strip.len() / width - (RUN - KERNEL)) / KERNEL;
        let ics = self.shape.group_in_channels();
        for first in (0..ics).step_by(room) {
            let count = room.min(ics - first);
            let order = self.copy(first..first + count, strip);
            self.isa.run(TransformedWeights::<L, T::Acc, O> {
                coefficients: L::COEFFICIENTS.map(T::Acc::from_f64),
                weights: &strip[..count * KERNEL * width],
                is_reversed: order == Order::Reversed,
                width,
                out: &mut out[first * width..],
                pitch: self.plan.weights_pitch(self.shape),
                map: PhantomData,
            });
        }
    }

    /// Copies the kernels of some input channels to `[ic][tap][oc]`, and tells in which order their taps are.
    fn copy(&self, ics: Range<usize>, strip: &mut [T::Acc]) -> Order {
        let Weights { in_channel, taps: [_, down, across], .. } = self.weights;
        let taps = TAPS.cast_signed();
        let Some(data) = T::as_acc(self.weights.data) else { return self.copy_each(ics, strip) };
        match (down, across) {
            // Kernel after kernel, as a forward pass finds them.
            (3, 1) if in_channel == taps * taps => {
                let rows = |lane: usize| &data[self.first(lane, ics.start)..][..ics.len() * KERNEL];
                self.transpose(rows, strip);
                Order::Forward
            }
            (3, 1) => self.copy_kernels(ics, strip, data, 0, Order::Forward),
            (-3, -1) => self.copy_kernels(ics, strip, data, KERNEL - 1, Order::Reversed),
            _ => self.copy_each(ics, strip),
        }
    }

    /// Copies kernels that begin `back` elements before their first tap.
    fn copy_kernels(
        &self,
        ics: Range<usize>,
        strip: &mut [T::Acc],
        data: &[T::Acc],
        back: usize,
        order: Order,
    ) -> Order {
        let width = self.plan.oc_width;
        // The longest run begins with the kernel that lies behind the others.
        let begins = |ic: usize| [0, self.channels.len() - 1].map(|lane| self.first(lane, ic) - back);
        let last = [ics.start, ics.end - 1].into_iter().flat_map(begins).fold(0, usize::max);
        if last + RUN > data.len() {
            return self.copy_each(ics, strip);
        }
        for (index, ic) in ics.enumerate() {
            // What a run has beyond its kernel is overwritten by the next one.
            self.transpose(|lane| &data[self.first(lane, ic) - back..][..RUN], &mut strip[index * KERNEL * width..]);
        }
        order
    }

    fn transpose<'d>(&self, rows: impl Fn(usize) -> &'d [T::Acc], out: &mut [T::Acc]) {
        let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
        let (count, pitch) = (self.channels.len(), self.plan.oc_width);
        self.isa.run(Transpose { rows, count, out, pitch, block: TRANSPOSED, put });
    }

    fn copy_each(&self, ics: Range<usize>, strip: &mut [T::Acc]) -> Order {
        let Weights { data, taps: [_, down, across], .. } = self.weights;
        let width = self.plan.oc_width;
        for (ic, strip) in ics.zip(strip.chunks_exact_mut(KERNEL * width)) {
            for lane in 0..self.channels.len() {
                let start = self.first(lane, ic);
                for (tap, out) in strip[lane..].iter_mut().step_by(width).enumerate() {
                    let [i, j] = [tap / TAPS, tap % TAPS].map(usize::cast_signed);
                    let at = start.wrapping_add_signed(down.wrapping_mul(i).wrapping_add(across.wrapping_mul(j)));
                    *out = data[at].to_acc();
                }
            }
        }
        Order::Forward
    }

    /// Where the first tap of a kernel lies.
    fn first(&self, lane: usize, ic: usize) -> usize {
        self.weights.index(self.group, self.channels.start + lane, ic)
    }
}
