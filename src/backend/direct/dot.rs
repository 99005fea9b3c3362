//! The dot-product kernel over a whole problem: positions in lanes.
//!
//! Planes are laid flat with one pitch for delta and input, zeros filling the gaps, so that a tap is a constant shift
//! between two streams, whatever the row:
//!
//! ```text
//! dW[oc,ic,k] = sum_x  delta[oc][x] * input[ic, phase of k][x + shift of k]
//! ```
//!
//! ```text
//! for slot (some groups, some of their units) in parallel:
//!     for group, for unit (an image, or a band of its outputs):
//!         pack delta and input, flat
//!         for segment of the streams:                          short enough for the L1 cache
//!             for tile of delta streams by input streams:
//!                 lane sums[tile] += dot products over the segment
//!     sums of the group = lanes of its lane sums, added up
//! merge slots of the same groups in their order; write the sums into the gradient
//! ```
//!
//! 1. *Stride becomes phases*: input positions that are a stride apart are packed side by side, one plane a phase, so
//!    that streams are contiguous for every stride and dilation. Padding is packed as zeros.
//! 2. *Rows of taps shift delta.* With one or two output channels a tile would hold one or two streams of delta, and
//!    load one input vector for each product. Tap row `kh` is as well delta shifted back by `kh` rows, so that `V` rows
//!    of taps and `N` columns make the tile: `dW[kh,kw] = sum_x delta[x - kh rows] * input[x + kw]`.
//! 3. Lanes are partial sums: short chains, small errors.
//! 4. Slots and units depend on the shape only, so the bits do not depend on the threads.

use super::dot_plan::{DotPlan, SEGMENT};
use super::write::{Sums, write};
use crate::element::Element;
use crate::partition::for_each_chunk;
use crate::problem::WeightGradient;
use crate::shape::{ConvShape, positions};
use crate::simd::dot::{DotTile, LaneTotals};
use crate::simd::tile::{Tile, for_tile};
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use std::ops::Range;

/// Computes a problem by its plan.
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &DotPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update } = problem;
    let slot_len = plan.slot_len(shape);
    let slots = &mut scratch[..plan.scratch_len(shape)];
    for_each_chunk(slots, slot_len, shape.flops(), |index, slot| {
        Slot { shape, plan, isa, input, delta }.sum_up(index, slot);
    });
    let sums_at = plan.slot_parts(shape).iter().sum();
    for slots in slots.chunks_mut(plan.unit_parts * slot_len) {
        let (first, others) = slots.split_at_mut(slot_len);
        for other in others.chunks(slot_len) {
            for (sum, &term) in first[sums_at..].iter_mut().zip(&other[sums_at..]) {
                *sum = *sum + term;
            }
        }
    }
    write(isa, shape, &SlotSums { shape, plan, slots }, gradient, update);
}

/// What a slot computes from.
struct Slot<'a, T> {
    shape: &'a ConvShape,
    plan: &'a DotPlan,
    isa: Isa,
    input: View<'a, T>,
    delta: View<'a, T>,
}

impl<T: Element> Slot<'_, T> {
    /// Fills the sums of the `index`-th slot.
    fn sum_up(&self, index: usize, slot: &mut [T::Acc]) {
        let Slot { shape, plan, isa, .. } = self;
        let [delta_len, input_len, lane_sums_len] = plan.slot_parts(shape);
        let (delta, rest) = slot.split_at_mut(delta_len);
        let (input, rest) = rest.split_at_mut(input_len);
        let (lane_sums, sums) = rest.split_at_mut(lane_sums_len);
        let first_group = index / plan.unit_parts * plan.slot_groups;
        let groups = first_group..shape.groups().min(first_group + plan.slot_groups);
        let part = index % plan.unit_parts;
        let units = plan.units(shape);
        for (group, sums) in groups.zip(sums.chunks_exact_mut(shape.weights_len() / shape.groups())) {
            lane_sums.fill(T::Acc::default());
            for unit in units * part / plan.unit_parts..units * (part + 1) / plan.unit_parts {
                self.pack_delta(group, unit, delta);
                self.pack_input(group, unit, input);
                add_streams(shape, plan, *isa, delta, input, lane_sums);
            }
            total_lanes(shape, plan, *isa, lane_sums, sums);
        }
    }

    /// Lays a unit's delta flat: `[channel][lead, then depth, row, column at the pitches]`, zeros in all gaps.
    fn pack_delta(&self, group: usize, unit: usize, packed: &mut [T::Acc]) {
        let Slot { shape, plan, .. } = self;
        let (image, outputs) = plan.unit(unit);
        let [row_pitch, plane_pitch] = plan.pitches();
        let channels = shape.group_out_channels();
        for (c, packed) in packed.chunks_exact_mut(plan.delta_len()).enumerate() {
            packed.fill(T::Acc::default());
            let flat = &mut packed[plan.lead()..];
            for [d, h, _] in positions([0..outputs[0].len(), 0..outputs[1].len(), 0..1]) {
                let row = &mut flat[d * plane_pitch + h * row_pitch..][..outputs[2].len()];
                let [depth, height, column] = [outputs[0].start + d, outputs[1].start + h, outputs[2].start];
                copy_row(&self.delta, [image, group * channels + c, depth, height, column], 1, row);
            }
        }
    }

    /// Lays a unit's input flat: `[channel][phase of depth, row, column][depth][row][column]`, zeros for padding.
    fn pack_input(&self, group: usize, unit: usize, packed: &mut [T::Acc]) {
        let Slot { shape, plan, .. } = self;
        let (image, outputs) = plan.unit(unit);
        let axes = &plan.axes;
        let channels = shape.group_in_channels();
        let (packed, beyond) = packed.split_at_mut(channels * plan.input_len());
        beyond.fill(T::Acc::default());
        let mut phases = packed.chunks_exact_mut(plan.phase_len());
        for c in 0..channels {
            for phase in positions(axes.map(|a| 0..a.phases)) {
                let Some(packed) = phases.next() else { return };
                let source = |i: usize| axes[i].source(phase[i], outputs[i].start, outputs[i].len());
                let [(depth, depths), (height, rows), (column, columns)] = [source(0), source(1), source(2)];
                let lines = positions([0..axes[0].len, 0..axes[1].len, 0..1]);
                for ([d, h, _], line) in lines.zip(packed.chunks_exact_mut(axes[2].len)) {
                    if !depths.contains(&d) || !rows.contains(&h) || columns.is_empty() {
                        line.fill(T::Acc::default());
                        continue;
                    }
                    let at = |first: isize, x: usize, i: usize| {
                        (first + (x * axes[i].axis.stride).cast_signed()).cast_unsigned()
                    };
                    let position = [at(depth, d, 0), at(height, h, 1), at(column, columns.start, 2)];
                    let [depth, height, column] = position;
                    line[..columns.start].fill(T::Acc::default());
                    line[columns.end..].fill(T::Acc::default());
                    let position = [image, group * channels + c, depth, height, column];
                    copy_row(&self.input, position, axes[2].axis.stride, &mut line[columns.clone()]);
                }
            }
        }
    }
}

/// Copies a row of a view, every `step`-th element from a position on.
fn copy_row<T: Element>(source: &View<'_, T>, position: [usize; 5], step: usize, row: &mut [T::Acc]) {
    let stride = source.strides5()[4] * step.cast_signed();
    let (data, start) = (source.data(), source.index(position));
    if stride == 1 {
        for (out, value) in row.iter_mut().zip(&data[start..]) {
            *out = value.to_acc();
        }
    } else if stride > 1 {
        for (out, value) in row.iter_mut().zip(data[start..].iter().step_by(stride.unsigned_abs())) {
            *out = value.to_acc();
        }
    } else {
        for (x, out) in row.iter_mut().enumerate() {
            *out = data[start.wrapping_add_signed(x.cast_signed() * stride)].to_acc();
        }
    }
}

/// A tile's streams. A tile that would reach beyond the last stream begins earlier and computes some entries again.
struct TileStreams {
    /// The output channel whose rows of taps the delta streams are; 0 when they are output channels themselves.
    channel: usize,
    first_delta: usize,
    first_input: usize,
}

/// All tiles, in the order of their sums.
fn tiles(shape: &ConvShape, plan: &DotPlan) -> impl Iterator<Item = TileStreams> {
    let (delta_streams, input_streams) = (plan.delta_streams(shape), plan.input_streams(shape));
    let Tile { v, n } = plan.tile;
    let lens = [plan.separate_channels(shape), delta_streams.div_ceil(v), input_streams.div_ceil(n)];
    positions(lens.map(|len| 0..len)).map(move |[channel, delta_tile, input_tile]| TileStreams {
        channel,
        first_delta: (delta_tile * v).min(delta_streams - v),
        first_input: (input_tile * n).min(input_streams - n),
    })
}

/// Adds the dot products of all streams to the sums in lanes: `[tile][N][V][lanes]`.
fn add_streams<A: Lane>(shape: &ConvShape, plan: &DotPlan, isa: Isa, delta: &[A], input: &[A], lane_sums: &mut [A]) {
    let tile = plan.tile;
    for start in (0..plan.stream_len()).step_by(SEGMENT) {
        let length = SEGMENT.min(plan.stream_len() - start);
        let tile_sums = lane_sums.chunks_exact_mut(tile.v * tile.n * plan.lanes);
        for (TileStreams { channel, first_delta, first_input }, sums) in tiles(shape, plan).zip(tile_sums) {
            // Rows of taps: the tile's first is a shift of the input, the others are shifts of delta against it.
            let (delta_start, delta_step, input_start) = if plan.shifts_rows {
                let lead = channel * plan.delta_len() + plan.lead();
                (lead, plan.row_shift().cast_signed().wrapping_neg(), first_delta * plan.row_shift())
            } else {
                (first_delta * plan.delta_len(), plan.delta_len().cast_signed(), 0)
            };
            let delta_at = |v: usize| start + delta_start.wrapping_add_signed(v.cast_signed() * delta_step);
            let input_at = |n: usize| start + input_start + input_offset(shape, plan, first_input + n);
            for_tile!(tile, {
                let delta_offsets: [usize; V] = std::array::from_fn(delta_at);
                let input_offsets: [usize; N] = std::array::from_fn(input_at);
                isa.run(DotTile::<A, V, N> { delta, delta_offsets, input, input_offsets, length, sums })
            });
        }
    }
}

/// Input channel and tap of a stream of the input; the row of taps is 0 when rows are shifts of delta.
fn channel_and_tap(shape: &ConvShape, plan: &DotPlan, stream: usize) -> (usize, [usize; 3]) {
    let [depth, height, width] = shape.axes().map(|a| a.kernel);
    let height = if plan.shifts_rows { 1 } else { height };
    let (rest, kw) = (stream / width, stream % width);
    let (rest, kh) = (rest / height, rest % height);
    (rest / depth, [rest % depth, kh, kw])
}

/// Where a stream of the input begins.
fn input_offset(shape: &ConvShape, plan: &DotPlan, stream: usize) -> usize {
    let (ic, taps) = channel_and_tap(shape, plan, stream);
    let [row_pitch, plane_pitch] = plan.pitches();
    let [(pd, sd), (ph, sh), (pw, sw)] = [0, 1, 2].map(|i| plan.axes[i].phase_and_shift(taps[i]));
    let phase = (pd * plan.axes[1].phases + ph) * plan.axes[2].phases + pw;
    ic * plan.input_len() + phase * plan.phase_len() + sd * plane_pitch + sh * row_pitch + sw
}

/// Adds up the lanes of a group's sums: `sums[oc][ic][tap]`.
fn total_lanes<A: Lane>(shape: &ConvShape, plan: &DotPlan, isa: Isa, lane_sums: &mut [A], sums: &mut [A]) {
    let Tile { v, n } = plan.tile;
    let [kernel_d, kernel_h, kernel_w] = shape.axes().map(|a| a.kernel);
    isa.run(LaneTotals { lane_sums });
    for (tile, totals) in tiles(shape, plan).zip(lane_sums.chunks_exact(v * n)) {
        for (i, &total) in totals.iter().enumerate() {
            let (delta, input) = (tile.first_delta + i % v, tile.first_input + i / v);
            let (ic, [kd, kh, kw]) = channel_and_tap(shape, plan, input);
            let (oc, kh) = if plan.shifts_rows { (tile.channel, delta) } else { (delta, kh) };
            let row = (oc * shape.group_in_channels() + ic) * kernel_d + kd;
            sums[(row * kernel_h + kh) * kernel_w + kw] = total;
        }
    }
}

/// The merged sums of all slots: a block is an output channel.
struct SlotSums<'a, A> {
    shape: &'a ConvShape,
    plan: &'a DotPlan,
    slots: &'a [A],
}

impl<A: Sync> Sums<A> for SlotSums<'_, A> {
    fn blocks(&self) -> usize {
        self.shape.out_channels()
    }

    fn channels(&self, block: usize) -> Range<usize> {
        block..block + 1
    }

    fn at(&self, block: usize, ic: usize, tap: usize) -> &[A] {
        let SlotSums { shape, plan, slots } = self;
        let (group, oc) = (block / shape.group_out_channels(), block % shape.group_out_channels());
        let slot = group / plan.slot_groups * plan.unit_parts;
        let of_group = group % plan.slot_groups * (shape.weights_len() / shape.groups());
        let sums_at = plan.slot_parts(shape).iter().sum::<usize>();
        let weight = (oc * shape.group_in_channels() + ic) * shape.taps() + tap;
        std::slice::from_ref(&slots[slot * plan.slot_len(shape) + sums_at + of_group + weight])
    }
}
