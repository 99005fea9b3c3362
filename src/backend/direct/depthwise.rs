//! The depthwise kernel over a whole problem: a vector of channels at a time.
//!
//! ```text
//! for slot (some channels, some of their units) in parallel:
//!     for block of as many channels as lanes, for unit (some images, or a band of one):
//!         for tile of taps, for run of rows that meet the same rows of taps:
//!             sums[block, tile] += the kernel, along the rows
//! merge slots of the same channels in their order; write the sums into the gradient
//! ```
//!
//! 1. Where channels lie side by side (NHWC), operands are read in place, and blocks one after the other for each unit:
//!    their lines alternate in memory. What comes from memory is read once in its order first, for a walk from position
//!    to position is no stream to the processor; such a unit is to stay in the L2 cache.
//! 2. There, blocks begin at cache lines of the input if all positions do alike. Those at both ends of the channels are
//!    no more aligned than the operands and overlap their neighbours; of each channel one sum counts. No block has
//!    fewer channels than lanes. A lane does the same sums in the same order in whatever block it is, so bits do not
//!    depend on addresses. With operands 16 bytes off a line the layer of 512 channels at 14x14 took 0.16 ms instead of
//!    0.12.
//! 3. Where columns do (NCHW), a unit of a block is transposed first. That costs more than multiplying but makes the
//!    rest even: any stride and dilation is a step, planes of any width fill the lanes, and nothing is added up across
//!    lanes.
//! 4. What is packed lies in a room that the next slot of the thread takes over, while its cache holds it: with a room
//!    for each slot the layers of stride 2 took a third longer (Zen 5, batch 8).

use super::depthwise_pack::{Order, Planes, Source};
use super::depthwise_plan::{DepthwisePlan, RowWalk, Units, met_rows};
use super::operand::Operand;
use super::rooms::Rooms;
use super::slide_plan::TapTile;
use super::slots::Share;
use crate::element::Element;
use crate::problem::WeightGradient;
use crate::shape::{Axis, ConvShape};
use crate::simd::channels::Touch;
use crate::simd::depthwise::{DepthwiseTile, Pitches, Sizes, Walk, for_depthwise_tile};
use crate::simd::tile::Tile;
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use std::ops::Range;
use std::slice;

/// A vector's bytes at most, where packed operands begin.
const LINE_BYTES: usize = 64;

/// Blocks from which on it pays to read one more for the others to begin at cache lines: five aligned ones of 64
/// channels at 112x112, stride 2, took 0.87 ms, four others 0.97 to 1.28; three of 32 channels at 112x112 as long as
/// two (Zen 5, batch 8).
const FEWEST_ALIGNED: usize = 4;

/// Whether the operands lie as the kernel reads them.
pub(super) fn can_read<T: Element>(operands: [&View<'_, T>; 2]) -> bool {
    operands.iter().all(|operand| order(operand).is_some())
}

/// How the elements of an operand lie that the kernel reads.
fn order<T: Element>(operand: &View<'_, T>) -> Option<Order> {
    T::as_acc(operand.data())?;
    Order::of(operand.strides5(), operand.dims5()[4])
}

/// Computes a problem by its plan, whose operands the kernel [can read](can_read).
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &DepthwisePlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, .. } = problem;
    let [Some(of_delta), Some(of_input)] = [&delta, &input].map(order) else {
        unreachable!("`can_read` holds");
    };
    let orders = [of_delta, of_input];
    let in_place = orders == [Order::Channels; 2] && plan.fills_lanes(shape);
    let units = if in_place { plan.in_place } else { plan.packed };
    let (count, sums_len) = (units.slots.count(shape), units.slots.sums_len(shape));
    let (sums, rest) = scratch.split_at_mut(count * sums_len);
    let room_len = plan.room_len(shape);
    let rooms = Rooms::new(if in_place { &mut [] } else { &mut rest[..count * room_len] }, room_len);
    units.slots.run((shape, isa, units.count(shape)), (sums, sums_len), (gradient, update), |share, sums| {
        let (Some(delta), Some(input)) = (Operand::of(&delta), Operand::of(&input)) else {
            unreachable!("`can_read` holds");
        };
        let walker = Walker { shape, plan, units, isa, operands: [delta, input] };
        sums.fill(T::Acc::default());
        if in_place {
            walker.sum_up_in_place(share, sums);
            return;
        }
        let room = rooms.take();
        walker.sum_up_packed(share, room, sums);
        rooms.give(room);
    });
}

/// What a slot is computed from: delta, and the input.
struct Walker<'a, A> {
    shape: &'a ConvShape,
    plan: &'a DepthwisePlan,
    units: Units,
    isa: Isa,
    operands: [Operand<'a, A>; 2],
}

impl<A: Lane> Walker<'_, A> {
    /// Adds the products of a slot to its sums, `[kh][kw][channel]`.
    fn sum_up_in_place(&self, share: Share, sums: &mut [A]) {
        for unit in share.units {
            let (images, rows) = self.units.unit(self.shape, unit);
            if self.plan.touches {
                self.touch(images.start, &rows, &share.groups);
            }
            self.add_in_place(images.start, &rows, &share.groups, sums);
        }
    }

    /// Adds the products of a slot to its sums, `[block][kh][kw][lane]`.
    fn sum_up_packed(&self, share: Share, room: &mut [A], sums: &mut [A]) {
        let Walker { shape, plan, units, .. } = *self;
        let [delta_len, input_len] = plan.pack_lens(shape);
        let skipped = room.as_ptr().align_offset(LINE_BYTES).min(room.len() - delta_len - input_len);
        let (delta, rest) = room[skipped..].split_at_mut(delta_len);
        let mut packs = [delta, &mut rest[..input_len]];
        let sums = sums.chunks_exact_mut(shape.taps() * plan.lanes);
        for (first, sums) in share.groups.clone().step_by(plan.lanes).zip(sums) {
            let block = first..share.groups.end.min(first + plan.lanes);
            for unit in share.units.clone() {
                let (images, rows) = units.unit(shape, unit);
                self.add_packed(&images, &rows, &block, &mut packs, sums);
            }
        }
    }

    /// Reads some channels of all positions of a unit in their order, so that the processor sees a stream and fetches
    /// ahead.
    fn touch(&self, image: usize, rows: &Range<usize>, channels: &Range<usize>) {
        let [_, height, width] = self.shape.axes();
        let of_operands = [(rows.clone(), width.output), (met_rows(height, rows), width.input)];
        for (operand, (rows, columns)) in self.operands.iter().zip(of_operands) {
            let column = operand.strides[4].cast_unsigned();
            let whole = column == channels.len() || columns == 1;
            for row in rows {
                let data = &operand.data[operand.row([image, channels.start, 0, row]).cast_unsigned()..];
                let (lines, len) = if whole { (1, columns * channels.len()) } else { (columns, channels.len()) };
                self.isa.run(Touch { data, lines, pitch: column, len });
            }
        }
    }

    /// Adds the products of some rows of outputs of a block of channels to their sums: `[kh][kw][lanes]`.
    fn add_packed(
        &self,
        images: &Range<usize>,
        rows: &Range<usize>,
        block: &Range<usize>,
        packs: &mut [&mut [A]; 2],
        sums: &mut [A],
    ) {
        let Walker { shape, plan, units, isa, .. } = *self;
        let [_, height, width] = shape.axes();
        let met = met_rows(height, rows);
        if met.is_empty() {
            return;
        }
        let planes = units.planes(shape, plan.lanes);
        let [delta_pack, input_pack] = packs;
        let lanes = 0..plan.lanes;
        let delta = self.source(0, images, rows, width.output).packed(isa, block, plan.lanes, planes[0], delta_pack);
        let input = self.source(1, images, &met, width.input).packed(isa, block, plan.lanes, planes[1], input_pack);
        self.for_each_call(rows, |call| {
            let operands = [delta.skipping(call.rows.start - rows.start), input.skipping(call.met.start - met.start)];
            let blocks = Blocks { lanes: slice::from_ref(&lanes), apart: 0, sums, pitch: plan.lanes };
            self.call(call, images.len(), operands, blocks);
        });
    }

    /// Adds the products of some rows of outputs of an image to the sums of their channels: `[kh][kw][channel]`.
    fn add_in_place(&self, image: usize, rows: &Range<usize>, channels: &Range<usize>, sums: &mut [A]) {
        let Walker { shape, plan, units, .. } = *self;
        let [_, height, width] = shape.axes();
        let images = image..image + 1;
        let met = met_rows(height, rows);
        if met.is_empty() {
            return;
        }
        let delta = self.source(0, &images, rows, width.output).in_place(channels.start);
        let input = self.source(1, &images, &met, width.input).in_place(channels.start);
        let skipped = self.unaligned(&input, channels.len());
        let count = block_count(channels.len(), skipped, plan.lanes);
        for first in (0..count).step_by(plan.joined_vectors) {
            let joined = plan.joined_vectors.min(count - first);
            let blocks = [first, first + joined - 1].map(|i| block(channels.len(), skipped, plan.lanes, i));
            let [(start, lanes), (last, lanes_of_last)] = blocks;
            let lanes = [lanes, lanes_of_last];
            self.for_each_call(rows, |call| {
                let operands = [
                    delta.skipping(call.rows.start - rows.start).at_channel(start),
                    input.skipping(call.met.start - met.start).at_channel(start),
                ];
                let sums = &mut sums[start..];
                let pitch = units.slots.groups;
                self.call(call, 1, operands, Blocks { lanes: &lanes[..joined], apart: last - start, sums, pitch });
            });
        }
    }

    /// Channels before the first that begins a cache line in all positions alike; 0 where none does, or where it does
    /// not matter.
    fn unaligned(&self, input: &Planes<'_, A>, channels: usize) -> usize {
        let lanes = self.plan.lanes;
        let Pitches { row, column, .. } = input.pitches;
        if channels < FEWEST_ALIGNED * lanes || !column.is_multiple_of(lanes) || !row.is_multiple_of(lanes) {
            return 0;
        }
        // Where no number of elements makes an offset, as the definition of `align_offset` allows, none is made.
        let offset = input.data.as_ptr().align_offset(lanes * size_of::<A>());
        if offset < lanes { offset } else { 0 }
    }

    /// Rows of delta, or of the input.
    fn source(&self, operand: usize, images: &Range<usize>, rows: &Range<usize>, width: usize) -> Source<'_, A> {
        Source { operand: self.operands[operand], images: images.clone(), rows: rows.clone(), width }
    }

    /// Cuts rows of outputs into calls of the kernel: tiles of taps, and runs of rows that meet the same rows of taps.
    fn for_each_call(&self, rows: &Range<usize>, mut body: impl FnMut(&Call)) {
        let Walker { shape, plan, .. } = *self;
        let height = &shape.axes()[1];
        for (class, TapTile { row, column, tile }) in plan.tap_tiles(shape) {
            let Some(walk) = plan.row_walk(&shape.axes()[2], class, column, tile.v) else { continue };
            let mut first = rows.start;
            while first < rows.end {
                let taps = valid_taps(height, first, row..row + tile.n);
                let limit = rows.end.min(first + plan.call_rows);
                let same = |&output: &usize| valid_taps(height, output, row..row + tile.n) == taps;
                let run = (first + 1..limit).take_while(same).count() + 1;
                if !taps.is_empty() {
                    let position = |output, tap| height.input_position(output, tap).cast_unsigned();
                    body(&Call {
                        tile: Tile { v: tile.v, n: taps.len() },
                        tap: taps.start * shape.axes()[2].kernel + column,
                        rows: first..first + run,
                        met: position(first, taps.start)..position(first + run - 1, taps.end - 1) + 1,
                        walk,
                    });
                }
                first += run;
            }
        }
    }

    /// Adds the products of one call to the sums of its blocks: operands from the call's first rows on.
    fn call(&self, call: &Call, images: usize, [delta, input]: [Planes<'_, A>; 2], blocks: Blocks<'_, A>) {
        let Walker { shape, plan, isa, .. } = *self;
        let [_, height, width] = shape.axes();
        let RowWalk { first_output, outputs, first_column, columns, column_step, lead } = call.walk;
        let Blocks { lanes, apart, sums, pitch } = blocks;
        // Fewer rows of taps, at the edges of a plane, are met by few rows of outputs.
        let joined = if call.tile == plan.tile { plan.joined_rows } else { 1 };
        let whole = call.rows.len() - call.rows.len() % joined;
        let sums = &mut sums[call.tap * pitch..];
        for (skipped, rows, together) in [(0, whole, joined), (whole, call.rows.len() - whole, 1)] {
            if rows == 0 {
                continue;
            }
            let walk = Walk {
                planes: images,
                rows,
                outputs,
                columns,
                lead,
                delta: Pitches { column: delta.pitches.column * plan.columns.output_step, ..delta.pitches },
                input: Pitches {
                    row: input.pitches.row * height.dilation,
                    column: input.pitches.column * column_step,
                    ..input.pitches
                },
                input_step: input.pitches.row * height.stride,
                apart,
            };
            let delta = &delta.data[skipped * walk.delta.row + first_output * delta.pitches.column..];
            let input = &input.data[skipped * walk.input_step + first_column * input.pitches.column..];
            let sums_pitches = [width.kernel * pitch, plan.tap_step() * pitch];
            let sizes = Sizes { tile: call.tile, step: plan.step, rows: together, vectors: lanes.len() };
            for_depthwise_tile!(
                sizes,
                isa.run(DepthwiseTile::<A, V, N, STEP, R, B> { delta, input, walk, lanes, sums, sums_pitches })
            );
        }
    }
}

/// Vectors of channels that one call of the kernel takes.
struct Blocks<'s, A> {
    /// Lanes that count, of each vector.
    lanes: &'s [Range<usize>],
    /// Channels from a vector to the next.
    apart: usize,
    /// The sums of the first vector, for each tap, and elements from a tap to the next.
    sums: &'s mut [A],
    pitch: usize,
}

/// Blocks of as many channels as lanes that cover channels, of which some are skipped for the others to be aligned.
fn block_count(channels: usize, skipped: usize, lanes: usize) -> usize {
    usize::from(skipped > 0) + (channels - skipped).div_ceil(lanes)
}

/// Where a block begins, and which of its lanes count: each channel counts once.
fn block(channels: usize, skipped: usize, lanes: usize, index: usize) -> (usize, Range<usize>) {
    if skipped > 0 && index == 0 {
        return (0, 0..skipped);
    }
    let first = skipped + (index - usize::from(skipped > 0)) * lanes;
    let start = first.min(channels - lanes);
    (start, first - start..lanes)
}

/// What one call of the kernel adds up, wherever its operands lie.
struct Call {
    tile: Tile,
    /// The first tap.
    tap: usize,
    rows: Range<usize>,
    /// The rows of the input between the first and the last they meet.
    met: Range<usize>,
    walk: RowWalk,
}

/// The taps among some for which an output reads the input and not the padding.
fn valid_taps(axis: &Axis, output: usize, taps: Range<usize>) -> Range<usize> {
    // Mostly all, and a division takes as long as a few steps of the kernel.
    let last = axis.input_position(output, taps.end - 1);
    if axis.input_position(output, taps.start) >= 0 && last < axis.input.cast_signed() {
        return taps;
    }
    let before = axis.padding.saturating_sub(output * axis.stride).div_ceil(axis.dilation);
    let end = (axis.input + axis.padding).saturating_sub(output * axis.stride).div_ceil(axis.dilation);
    let start = taps.start.max(before).min(taps.end);
    start..taps.end.min(end).max(start)
}
