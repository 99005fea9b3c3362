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
//! 1. Where channels lie side by side (NHWC), operands are read in place, and blocks one after the other for each call of
//!    a strip of rows: their lines alternate in memory, so a strip is to stay in the L2 cache. What comes from memory is
//!    read once in its order first, for a walk from position to position is no stream to the processor.
//! 2. Where columns do (NCHW), a unit of a block is transposed first. That costs more than multiplying but makes the rest
//!    even: any stride and dilation is a step, planes of any width fill the lanes, and nothing is added up across lanes.
//! 3. Packed in either case are the last block, if it has fewer channels than lanes, and an input whose channels are such a
//!    power of two that the positions of a row clash in the L1 cache, unless they begin at cache lines.
//! 4. What is packed lies in a room that the next slot of the thread takes over, while its cache holds it: with a room for
//!    each slot the layers of stride 2 took a third longer (Zen 5, batch 8).

use super::depthwise_pack::{Order, Planes, Source};
use super::depthwise_plan::{DepthwisePlan, Units, met_rows};
use super::operand::Operand;
use super::rooms::Rooms;
use super::slide_plan::TapTile;
use super::slots::Share;
use crate::element::Element;
use crate::problem::WeightGradient;
use crate::shape::{Axis, ConvShape};
use crate::simd::depthwise::{DepthwiseTile, Pitches, Touch, Walk, for_slide_tile};
use crate::simd::tile::Tile;
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use std::ops::Range;

/// A vector's bytes at most, where packed operands begin.
const LINE_BYTES: usize = 64;

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
    let WeightGradient { shape, input, delta, gradient, update } = problem;
    let [Some(of_delta), Some(of_input)] = [&delta, &input].map(order) else {
        unreachable!("`can_read` holds");
    };
    let orders = [of_delta, of_input];
    let units = if orders == [Order::Channels; 2] { plan.in_place } else { plan.packed };
    let (count, sums_len, room_len) = (units.slots.count(shape), units.slots.sums_len(shape), plan.room_len(shape));
    let (sums, rest) = scratch.split_at_mut(count * sums_len);
    let rooms = Rooms::new(&mut rest[..count * room_len], room_len);
    units.slots.run((shape, isa, units.count(shape)), (sums, sums_len), (gradient, update), |share, sums| {
        let (Some(delta), Some(input)) = (Operand::of(&delta), Operand::of(&input)) else {
            unreachable!("`can_read` holds");
        };
        let room = rooms.take();
        Walker { shape, plan, units, isa, operands: [delta, input], orders }.sum_up(share, room, sums);
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
    orders: [Order; 2],
}

impl<A: Lane> Walker<'_, A> {
    /// Fills the sums of a slot.
    fn sum_up(&self, share: Share, room: &mut [A], sums: &mut [A]) {
        let Walker { shape, plan, units, .. } = *self;
        let [delta_len, input_len] = plan.pack_lens(&units, shape);
        let skipped = room.as_ptr().align_offset(LINE_BYTES).min(room.len() - delta_len - input_len);
        let (delta, rest) = room[skipped..].split_at_mut(delta_len);
        let mut packs = [delta, &mut rest[..input_len]];
        sums.fill(A::default());
        if self.orders == [Order::Channels; 2] {
            for unit in share.units {
                let (images, rows) = units.unit(shape, unit);
                if plan.touches {
                    self.touch(images.start, &rows, &share.groups);
                }
                self.add_in_place(images.start, &rows, &share.groups, &mut packs, sums);
            }
            return;
        }
        let sums = sums.chunks_exact_mut(shape.taps() * plan.lanes);
        for (first, sums) in share.groups.clone().step_by(plan.lanes).zip(sums) {
            let block = first..share.groups.end.min(first + plan.lanes);
            for unit in share.units.clone() {
                let (images, rows) = units.unit(shape, unit);
                self.add_packed(&images, &rows, &block, &mut packs, sums);
            }
        }
    }

    /// Reads some channels of all positions of a unit in their order, so that the processor sees a stream and fetches ahead.
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
        let delta = self.source(0, images, rows, width.output).packed(isa, block, plan.lanes, planes[0], delta_pack);
        let input = self.source(1, images, &met, width.input).packed(isa, block, plan.lanes, planes[1], input_pack);
        self.for_each_call(rows, |call| {
            let operands = [delta.skipping(call.rows.start - rows.start), input.skipping(call.met.start - met.start)];
            self.call(call, images.len(), operands, sums);
        });
    }

    /// Adds the products of some rows of outputs of an image to the sums of their channels: `[block][kh][kw][lanes]`.
    fn add_in_place(
        &self,
        image: usize,
        rows: &Range<usize>,
        channels: &Range<usize>,
        packs: &mut [&mut [A]; 2],
        sums: &mut [A],
    ) {
        let Walker { shape, plan, units, isa, .. } = *self;
        let width = &shape.axes()[2];
        let planes = units.planes(shape, plan.lanes);
        let images = image..image + 1;
        self.for_each_call(rows, |call| {
            let sources =
                [self.source(0, &images, &call.rows, width.output), self.source(1, &images, &call.met, width.input)];
            let packs_input = plan.packs_input && !sources[1].is_aligned(LINE_BYTES);
            let blocks = channels.clone().step_by(plan.lanes);
            for (first, sums) in blocks.zip(sums.chunks_exact_mut(shape.taps() * plan.lanes)) {
                let block = first..channels.end.min(first + plan.lanes);
                let [delta_pack, input_pack] = &mut *packs;
                let read = |i: usize, packs: bool, pack| match block.len() == plan.lanes && !packs {
                    true => sources[i].in_place(first),
                    false => sources[i].packed(isa, &block, plan.lanes, planes[i], pack),
                };
                self.call(call, 1, [read(0, false, delta_pack), read(1, packs_input, input_pack)], sums);
            }
        });
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
            let columns = plan.columns.steps(class, column, tile.v);
            // Outputs that these columns meet.
            let outputs = (columns.start + 1).saturating_sub(tile.v)..columns.end.min(plan.columns.outputs(class));
            if columns.is_empty() || outputs.is_empty() {
                continue;
            }
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
                        // Classes of outputs lie between each other.
                        first_output: class + outputs.start * plan.columns.output_step,
                        first_column: plan.columns.input_position(class, column, columns.start),
                        outputs: outputs.len(),
                        columns: columns.len(),
                        before: columns.start - outputs.start,
                    });
                }
                first += run;
            }
        }
    }

    /// Adds the products of one call to the sums of its block: operands from the call's first rows on.
    fn call(&self, call: &Call, images: usize, [delta, input]: [Planes<'_, A>; 2], sums: &mut [A]) {
        let Walker { shape, plan, isa, .. } = *self;
        let [_, height, width] = shape.axes();
        let walk = Walk {
            planes: images,
            rows: call.rows.len(),
            outputs: call.outputs,
            columns: call.columns,
            first: call.before,
            delta: Pitches { column: delta.pitches.column * plan.columns.output_step, ..delta.pitches },
            input: Pitches {
                row: input.pitches.row * height.stride,
                column: input.pitches.column * plan.columns.input_step(),
                ..input.pitches
            },
            tap_row: input.pitches.row * height.dilation,
        };
        let delta = &delta.data[call.first_output * delta.pitches.column..];
        let input = &input.data[call.first_column * input.pitches.column..];
        let sums = &mut sums[call.tap * plan.lanes..];
        let sums_pitches = [width.kernel * plan.lanes, plan.columns.tap_step * plan.lanes];
        for_slide_tile!(call.tile, isa.run(DepthwiseTile::<A, V, N> { delta, input, walk, sums, sums_pitches }));
    }
}

/// What one call of the kernel adds up, wherever its operands lie.
struct Call {
    tile: Tile,
    /// The first tap.
    tap: usize,
    rows: Range<usize>,
    /// The rows of the input between the first and the last they meet.
    met: Range<usize>,
    first_output: usize,
    first_column: usize,
    outputs: usize,
    columns: usize,
    /// Outputs before the one that the first column meets first.
    before: usize,
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
