//! Finished sums into the caller's gradient, each thread some output channels.

use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, join};
use crate::problem::Update;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::transpose::Transpose;
use crate::tensor::ViewMut;
use std::ops::Range;

/// Where the sums of a block of output channels lie: those of weight `[first channel + c, ic, tap]`, for all channels
/// `c` of the block, are neighbours.
pub(super) trait Sums<A>: Sync {
    /// Blocks of channels, in order.
    fn blocks(&self) -> usize;

    /// The output channels of a block.
    fn channels(&self, block: usize) -> Range<usize>;

    /// The sums of all channels of a block for one input channel and tap.
    fn at(&self, block: usize, ic: usize, tap: usize) -> &[A];
}

/// Writes all sums.
pub(super) fn write<T: Element>(
    isa: Isa,
    shape: &ConvShape,
    sums: &impl Sums<T::Acc>,
    gradient: ViewMut<'_, T>,
    update: Update<T>,
) {
    write_blocks(isa, shape, sums, 0..sums.blocks(), gradient, update);
}

/// Writes some blocks into the part of the gradient that holds their channels: half each thread, where memory allows.
fn write_blocks<T: Element>(
    isa: Isa,
    shape: &ConvShape,
    sums: &impl Sums<T::Acc>,
    blocks: Range<usize>,
    gradient: ViewMut<'_, T>,
    update: Update<T>,
) {
    let middle = blocks.start + blocks.len() / 2;
    let half = sums.channels(middle).start - sums.channels(blocks.start).start;
    match gradient.split_first(half) {
        Ok((low, high)) => {
            let weights: usize = [&low, &high].map(|half| half.dims5().iter().product::<usize>()).iter().sum();
            let (before, after) = (blocks.start..middle, middle..blocks.end);
            let low = || write_blocks(isa, shape, sums, before, low, update);
            let high = || write_blocks(isa, shape, sums, after, high, update);
            join(weights as f64 * ELEMENT_FLOPS, low, high);
        }
        Err(mut gradient) => {
            let first = sums.channels(blocks.start).start;
            for block in blocks {
                let channel = sums.channels(block).start - first;
                write_block(isa, shape, sums, block, channel, &mut gradient, update);
            }
        }
    }
}

/// Writes one block, whose first channel is `channel` of this part of the gradient.
fn write_block<T: Element>(
    isa: Isa,
    shape: &ConvShape,
    sums: &impl Sums<T::Acc>,
    block: usize,
    channel: usize,
    gradient: &mut ViewMut<'_, T>,
    update: Update<T>,
) {
    let (taps, ics) = (shape.taps(), shape.group_in_channels());
    let [_, ics_, depth, height, width] = gradient.dims5();
    debug_assert_eq!((ics_, depth * height * width), (ics, taps));
    let [channel_stride, inner @ ..] = gradient.strides5();
    let contiguous = [taps, height * width, width, 1];
    let lens = [ics, depth, height, width];
    let is_row = (0..4).all(|i| lens[i] == 1 || inner[i] == contiguous[i] as isize);
    let is_single = sums.channels(block).len() == 1;
    if is_row && (channel_stride > 0 || is_single) {
        let start = gradient.index([channel, 0, 0, 0, 0]);
        // A single channel may have any stride, one shorter than its row included.
        let pitch = if is_single { ics * taps } else { channel_stride.unsigned_abs() };
        let rows = |weight: usize| sums.at(block, weight / taps, weight % taps);
        let out = &mut gradient.data_mut()[start..];
        if update == Update::overwrite() {
            let put = |out: &mut T, sum| *out = T::from_acc(sum);
            isa.run(Transpose { rows, count: ics * taps, out, pitch, put });
        } else {
            let put = |out: &mut T, sum| update.apply(out, sum);
            isa.run(Transpose { rows, count: ics * taps, out, pitch, put });
        }
        return;
    }
    for ic in 0..ics {
        for (tap, [kd, kh, kw]) in shape.tap_positions().enumerate() {
            for (c, &sum) in sums.at(block, ic, tap).iter().enumerate() {
                update.apply(gradient.at_mut([channel + c, ic, kd, kh, kw]), sum);
            }
        }
    }
}
