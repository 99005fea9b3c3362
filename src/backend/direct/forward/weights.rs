//! Weights in the order in which the kernels of the forward pass read them, and the biases beside them.

use super::super::window::{piece, pieces};
use crate::correlation::Correlation;
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk};
use crate::simd::Isa;
use crate::simd::transpose::Transpose;
use std::ops::Range;

/// How the channels of a group are dealt: output channels to tiles, and input channels to blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Order {
    /// Output channels of a group, those included that only fill the last tile.
    pub out_channels: usize,
    /// Output channels of a tile at most; all but the last are of nearly the same size, a multiple of `grain`.
    pub tile: usize,
    pub grain: usize,
    pub blocks: usize,
    /// Input channels of a block.
    pub channels: usize,
    pub taps: usize,
}

impl Order {
    /// Weights of an output channel.
    pub fn len(&self) -> usize {
        self.blocks * self.taps * self.channels
    }

    /// Tiles of a group.
    pub fn tiles(&self) -> usize {
        pieces(self.out_channels / self.grain, self.tile / self.grain)
    }

    /// The output channels of a tile.
    pub fn tile(&self, index: usize) -> Range<usize> {
        let grains = piece(self.out_channels / self.grain, self.tile / self.grain, index);
        grains.start * self.grain..grains.end * self.grain
    }
}

/// Columns transposed at a time into a buffer, by at most so many rows.
const COLUMNS: usize = 144;
const ROWS: usize = 32;

/// Rows that are worth the buffer.
const LEAST_ROWS: usize = 4;

/// Packs all weights: `[group][tile][block][tap][channel of the block][output channel of the tile]`.
pub(super) fn pack<T: Element>(isa: Isa, problem: &Correlation<'_, T>, order: &Order, packed: &mut [T::Acc]) {
    let groups = problem.shape.groups();
    let work = packed.len() as f64 * ELEMENT_FLOPS;
    let group_len = order.out_channels * order.len();
    let longest = order.tile(0).len() * order.len();
    // The tiles of one group are of two sizes at most: as chunks of the larger, then of the smaller.
    if groups == 1 {
        let larger = (0..order.tiles()).take_while(|&tile| order.tile(tile).len() == order.tile(0).len()).count();
        let (first, rest) = packed.split_at_mut(larger * longest);
        for_each_chunk(first, longest, work, |tile, out| pack_tile(isa, problem, order, 0, tile, out));
        let shorter = if larger < order.tiles() { order.tile(larger).len() * order.len() } else { 1 };
        for_each_chunk(rest, shorter, work, |tile, out| pack_tile(isa, problem, order, 0, larger + tile, out));
        return;
    }
    for_each_chunk(packed, group_len, work, |group, out| {
        for tile in 0..order.tiles() {
            let channels = order.tile(tile);
            let out = &mut out[channels.start * order.len()..channels.end * order.len()];
            pack_tile(isa, problem, order, group, tile, out);
        }
    });
}

/// Packs one tile of a group.
fn pack_tile<T: Element>(
    isa: Isa,
    problem: &Correlation<'_, T>,
    order: &Order,
    group: usize,
    tile: usize,
    out: &mut [T::Acc],
) {
    let weights = &problem.weights;
    let (ocs, ics) = (problem.shape.group_out_channels(), problem.shape.group_in_channels());
    let tile = order.tile(tile);
    let width = tile.len();
    let rows = tile.end.min(ocs) - tile.start;
    if rows < width || order.blocks * order.channels > ics {
        out.fill(T::Acc::default());
    }
    let axes = problem.shape.axes().map(|axis| axis.kernel);
    let [depth, height, column] = weights.taps;
    let is_step = |count: usize, stride: isize, step: usize| count == 1 || stride == step.cast_signed();
    let taps_lie_in_order = is_step(axes[2], column, 1)
        && is_step(axes[1], height, axes[2])
        && is_step(axes[0], depth, axes[1] * axes[2])
        && is_step(ics, weights.in_channel, order.taps);
    let block_len = order.taps * order.channels * width;
    for (block, out) in out.chunks_exact_mut(block_len).enumerate() {
        let first = block * order.channels;
        let channels = order.channels.min(ics.saturating_sub(first));
        let start = |row: usize, channel: usize| weights.index(group, tile.start + row, first + channel);
        if let Some(data) = T::as_acc(weights.data).filter(|_| taps_lie_in_order && order.taps <= COLUMNS) {
            let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
            if order.taps == 1 && channels > 0 {
                let rows_of = |r: usize| &data[start(r, 0)..][..channels];
                isa.run(Transpose { rows: rows_of, count: rows, out, pitch: width, block: COLUMNS, put });
                continue;
            }
            if (LEAST_ROWS..=ROWS).contains(&width) {
                let mut buffer = [T::Acc::default(); COLUMNS * ROWS];
                let together = COLUMNS / order.taps;
                for channel in (0..channels).step_by(together) {
                    let together = together.min(channels - channel);
                    let columns = together * order.taps;
                    let rows_of = |r: usize| &data[start(r, channel)..][..columns];
                    let buffer = &mut buffer[..columns * width];
                    isa.run(Transpose { rows: rows_of, count: rows, out: buffer, pitch: width, block: COLUMNS, put });
                    for (i, sorted) in buffer.chunks_exact(width).enumerate() {
                        let at = i % order.taps * order.channels + channel + i / order.taps;
                        out[at * width..][..width].copy_from_slice(sorted);
                    }
                }
                continue;
            }
        }
        let mut taps = problem.shape.tap_positions();
        for out in out.chunks_exact_mut(order.channels * width) {
            let Some(tap) = taps.next() else { break };
            let offset = weights.tap_offset(tap);
            for (channel, out) in out.chunks_exact_mut(width).enumerate().take(channels) {
                let start = start(0, channel).wrapping_add_signed(offset);
                let out = &mut out[..rows];
                match T::as_acc(weights.data).filter(|_| weights.out_channel == 1) {
                    Some(data) => out.copy_from_slice(&data[start..][..rows]),
                    None => {
                        for (row, out) in out.iter_mut().enumerate() {
                            let at = start.wrapping_add_signed(weights.out_channel.wrapping_mul(row.cast_signed()));
                            *out = weights.data[at].to_acc();
                        }
                    }
                }
            }
        }
    }
}

/// The biases, zeros where there are none: as many for each group as it has output channels in [`Order`].
pub(super) fn pack_bias<T: Element>(problem: &Correlation<'_, T>, order: &Order, packed: &mut [T::Acc]) {
    packed.fill(T::Acc::default());
    let Some(bias) = problem.bias else { return };
    let ocs = problem.shape.group_out_channels();
    for (packed, bias) in packed.chunks_exact_mut(order.out_channels).zip(bias.chunks_exact(ocs)) {
        for (packed, &bias) in packed.iter_mut().zip(bias) {
            *packed = bias.to_acc();
        }
    }
}

/// The biases and weights of groups of one channel each, a lane a group: `[bundle of groups][tap][lanes]`.
pub(super) fn pack_depthwise<T: Element>(
    problem: &Correlation<'_, T>,
    lanes: usize,
    biases: &mut [T::Acc],
    packed: &mut [T::Acc],
) {
    let Correlation { shape, weights, bias, .. } = problem;
    biases.fill(T::Acc::default());
    for (packed, bias) in biases.iter_mut().zip(bias.unwrap_or_default()) {
        *packed = bias.to_acc();
    }
    for (bundle, out) in packed.chunks_exact_mut(shape.taps() * lanes).enumerate() {
        let groups = bundle * lanes..shape.groups().min((bundle + 1) * lanes);
        for (tap, out) in shape.tap_positions().zip(out.chunks_exact_mut(lanes)) {
            let offset = weights.tap_offset(tap);
            out[groups.len()..].fill(T::Acc::default());
            for (out, group) in out.iter_mut().zip(groups.clone()) {
                *out = weights.data[weights.index(group, 0, 0).wrapping_add_signed(offset)].to_acc();
            }
        }
    }
}
