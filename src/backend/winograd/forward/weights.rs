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
        let room = strip.len() / (KERNEL * width);
        let strip = &mut strip[..room * KERNEL * width];
        // Lanes without a channel are never written anywhere; they should hold ordinary numbers all the same.
        strip.fill(T::Acc::default());
        let ics = self.shape.group_in_channels();
        for first in (0..ics).step_by(room) {
            let count = room.min(ics - first);
            self.copy(first..first + count, strip);
            self.isa.run(TransformedWeights::<L, T::Acc, O> {
                coefficients: L::COEFFICIENTS.map(T::Acc::from_f64),
                weights: &strip[..count * KERNEL * width],
                width,
                out: &mut out[first * width..],
                pitch: self.plan.weights_pitch(self.shape),
                map: PhantomData,
            });
        }
    }

    /// Copies the kernels of some input channels to `[ic][tap][oc]`.
    fn copy(&self, ics: Range<usize>, strip: &mut [T::Acc]) {
        let Weights { data, in_channel, taps: [_, down, across], .. } = self.weights;
        let (width, count) = (self.plan.oc_width, self.channels.len());
        let first = |lane: usize, ic: usize| self.weights.index(self.group, self.channels.start + lane, ic);
        let taps = TAPS.cast_signed();
        let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
        match T::as_acc(data) {
            // Kernel after kernel, as a forward pass finds them.
            Some(data) if (down, across) == (taps, 1) && (in_channel == taps * taps || ics.len() == 1) => {
                let rows = |lane: usize| &data[first(lane, ics.start)..][..ics.len() * KERNEL];
                self.isa.run(Transpose { rows, count, out: strip, pitch: width, block: TRANSPOSED, put });
            }
            _ => {
                for (ic, strip) in ics.zip(strip.chunks_exact_mut(KERNEL * width)) {
                    for lane in 0..count {
                        let start = first(lane, ic);
                        for (tap, out) in strip[lane..].iter_mut().step_by(width).enumerate() {
                            let offset = down
                                .wrapping_mul((tap / TAPS).cast_signed())
                                .wrapping_add(across.wrapping_mul((tap % TAPS).cast_signed()));
                            *out = data[start.wrapping_add_signed(offset)].to_acc();
                        }
                    }
                }
            }
        }
    }
}
