//! The sliding kernel over a whole problem: rows of delta past rows of the input, both where they lie.
//!
//! ```text
//! for slot (some groups, some of their units, some tiles of taps) in parallel:
//!     for group, for unit (some images, or a band of one):
//!         for oc, ic, depth of the kernel, tile of taps of the slot:
//!             for block of the lanes' width of a row's outputs:
//!                 lane sums[oc, ic, tile] += the kernel, down the rows
//!     sums of the group = lanes of its lane sums, added up
//! merge slots of the same groups in their order; write the sums into the gradient
//! ```
//!
//! 1. Nothing is packed. A vector may reach beyond its row, where a mask keeps out what it finds, but not beyond the slice
//!    the operand lies in: there, at the operand's first and last rows, the call works on a copy of what it may read.
//! 2. Row strides and dilations become [classes](super::slide_plan::SlidingAxis) of taps and outputs that slide evenly.

use super::operand::Operand;
use super::slide_plan::{SlidePlan, TapTile};
use super::slots::{Share, Slots};
use crate::element::Element;
use crate::problem::WeightGradient;
use crate::shape::ConvShape;
use crate::simd::dot::LaneTotals;
use crate::simd::slide::{Slide, SlideTile, for_slide_tile};
use crate::simd::tile::Tile;
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use std::ops::Range;

/// Whether the operands lie as the kernel reads them: the numbers of a row side by side, rows in rising order.
pub(super) fn can_read<T: Element>(operands: [&View<'_, T>; 2]) -> bool {
    operands.iter().all(|view| {
        let [.., width] = view.dims5();
        let [image, _, depth, row, column] = view.strides5();
        let rising = image >= 0 && depth >= 0 && row >= 0;
        (column == 1 || width == 1) && rising && T::as_acc(view.data()).is_some()
    })
}

/// Computes a problem by its plan, whose operands the kernel [can read](can_read).
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &SlidePlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, .. } = problem;
    let slots = (&mut scratch[..plan.scratch_len(shape)], plan.slot_len(shape));
    plan.slots.run((shape, isa, plan.units(shape)), slots, (gradient, update), |share, slot| {
        let (Some(delta), Some(input)) = (Operand::of(&delta), Operand::of(&input)) else {
            unreachable!("`can_read` holds");
        };
        Walker { shape, plan, isa, delta, input }.sum_up(share, slot);
    });
}

/// What a slot is computed from.
struct Walker<'a, A> {
    shape: &'a ConvShape,
    plan: &'a SlidePlan,
    isa: Isa,
    delta: Operand<'a, A>,
    input: Operand<'a, A>,
}

/// Rows one call walks, before it is known where they lie: `lines` of them, `pitch` apart, in each of the planes.
#[derive(Clone, Copy)]
struct Lines {
    /// Where the first one begins, as an element of the operand; before the operand's first element, perhaps.
    start: isize,
    count: usize,
    pitch: usize,
    plane: isize,
    len: usize,
}

impl Lines {
    /// Whether all lines of so many planes lie in a slice, in rising order.
    fn lie_in<A>(&self, data: &[A], planes: usize) -> bool {
        let last = self.start
            + (planes - 1).cast_signed() * self.plane
            + ((self.count.max(1) - 1) * self.pitch + self.len).cast_signed();
        self.start >= 0 && (planes == 1 || self.plane >= 0) && last <= data.len().cast_signed()
    }

    /// Copies the lines of one plane to `out`, one behind the other; zeros where the slice does not reach.
    fn copy<A: Lane>(&self, data: &[A], plane: usize, out: &mut [A]) {
        let first = self.start + plane.cast_signed() * self.plane;
        // Of a line that begins before the slice or ends behind it, what lies in the slice.
        let inside = |at: isize| at.clamp(0, data.len().cast_signed()).cast_unsigned();
        for (line, out) in out.chunks_exact_mut(self.len).take(self.count).enumerate() {
            let begin = first + (line * self.pitch).cast_signed();
            let there = inside(begin)..inside(begin + self.len.cast_signed());
            let skipped = (there.start.cast_signed() - begin).cast_unsigned().min(self.len);
            out[..skipped].fill(A::default());
            out[skipped + there.len()..].fill(A::default());
            out[skipped..][..there.len()].copy_from_slice(&data[there]);
        }
    }
}

impl<A: Lane> Walker<'_, A> {
    /// Fills the sums of a slot.
    fn sum_up(&self, share: Share, slot: &mut [A]) {
        let Walker { shape, plan, .. } = self;
        let [delta_len, input_len, lane_sums_len] = plan.slot_parts(shape);
        let (delta, rest) = slot.split_at_mut(delta_len);
        let (input, rest) = rest.split_at_mut(input_len);
        let (lane_sums, sums) = rest.split_at_mut(lane_sums_len);
        for (group, sums) in share.groups.zip(sums.chunks_exact_mut(Slots::group_len(shape))) {
            lane_sums.fill(A::default());
            for unit in share.units.clone() {
                let (images, steps) = plan.unit(shape, unit);
                self.touch(&images, &steps, group);
                let mut lane_sums = lane_sums.chunks_exact_mut(plan.sums_of_pair(shape));
                for oc in 0..shape.group_out_channels() {
                    for (ic, lane_sums) in (0..shape.group_in_channels()).zip(&mut lane_sums) {
                        let channels =
                            [group * shape.group_out_channels() + oc, group * shape.group_in_channels() + ic];
                        self.add_pair((&images, &steps), share.tap_part, channels, lane_sums, [delta, input]);
                    }
                }
            }
            self.total_lanes(lane_sums, share.tap_part, sums);
        }
    }

    /// Reads a number of each cache line of a unit, line after line, so that the processor sees a stream and fetches ahead.
    /// The kernel itself goes down a block of columns, which from memory is slow.
    fn touch(&self, images: &Range<usize>, steps: &Range<usize>, group: usize) {
        let Walker { shape, plan, .. } = self;
        let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
        if !plan.touches {
            return;
        }
        let [_, height, width] = shape.axes();
        let mut total = A::default();
        let step = plan.rows.input_step();
        let outputs = (steps.start * plan.rows.output_step).min(height.output)
            ..(steps.end * plan.rows.output_step).min(height.output);
        let inputs = (steps.start * step).min(height.input)..(steps.end * step).min(height.input);
        for image in images.clone() {
            for (operand, channels, rows, len) in [
                (&self.delta, group * ocs..(group + 1) * ocs, &outputs, width.output),
                (&self.input, group * ics..(group + 1) * ics, &inputs, width.input),
            ] {
                for channel in channels {
                    for row in rows.clone() {
                        let start = operand.row([image, channel, 0, row]).cast_unsigned();
                        for &number in operand.data[start..][..len].iter().step_by(plan.lanes) {
                            total = if number == total { number } else { total };
                        }
                    }
                }
            }
        }
        std::hint::black_box(total);
    }

    /// Adds the products of one output and one input channel in a unit to the sums of some tiles of taps.
    fn add_pair(
        &self,
        (images, steps): (&Range<usize>, &Range<usize>),
        tap_part: usize,
        [oc, ic]: [usize; 2],
        lane_sums: &mut [A],
        [delta_copy, input_copy]: [&mut [A]; 2],
    ) {
        let Walker { shape, plan, .. } = self;
        let [depth, _, width] = shape.axes();
        for (kd, sums_of_plane) in lane_sums.chunks_exact_mut(lane_sums.len() / depth.kernel).enumerate() {
            let outputs = depth.valid_outputs(kd);
            if outputs.is_empty() {
                continue;
            }
            let sums_of_tiles = sums_of_plane.chunks_exact_mut(plan.tile_len());
            for (taps, sums) in plan.tap_tiles_of_part(shape, tap_part).zip(sums_of_tiles) {
                let input_depth = depth.input_position(outputs.start, kd).cast_unsigned();
                // Planes are the images of a unit, or the depths of its one image.
                let [delta_plane, input_plane] =
                    [&self.delta, &self.input].map(|o| o.strides[if images.len() > 1 { 0 } else { 2 }]);
                let (planes, input_plane) = match images.len() {
                    1 => (outputs.len(), input_plane.wrapping_mul(depth.stride.cast_signed())),
                    images => (images, input_plane),
                };
                for class in 0..plan.rows.output_classes() {
                    let valid = plan.rows.steps(class, taps.row, taps.tile.v);
                    let valid = valid.start.max(steps.start)..valid.end.min(steps.end);
                    if valid.is_empty() {
                        continue;
                    }
                    // Rows of delta that these steps meet.
                    let rows = (valid.start + 1).saturating_sub(taps.tile.v)..valid.end.min(plan.rows.outputs(class));
                    if rows.is_empty() {
                        continue;
                    }
                    let output = class + rows.start * plan.rows.output_step;
                    let input_row = plan.rows.input_position(class, taps.row, valid.start);
                    let row_pitch =
                        |operand: &Operand<'_, A>, step: usize| operand.strides[3].unsigned_abs().wrapping_mul(step);
                    let delta = Lines {
                        start: self.delta.row([images.start, oc, outputs.start, output]),
                        count: rows.len(),
                        pitch: row_pitch(&self.delta, plan.rows.output_step),
                        plane: delta_plane,
                        len: plan.lanes,
                    };
                    let input = Lines {
                        start: self.input.row([images.start, ic, input_depth, input_row]),
                        count: valid.len(),
                        pitch: row_pitch(&self.input, plan.rows.input_step()),
                        plane: input_plane,
                        len: plan.line_len(taps.tile),
                    };
                    for first in (0..width.output).step_by(plan.lanes) {
                        let shifted = width.input_position(first, taps.column);
                        let block = Block {
                            taps,
                            first,
                            planes,
                            before: valid.start - rows.start,
                            delta: Lines { start: delta.start + first.cast_signed(), ..delta },
                            input: Lines { start: input.start + shifted, ..input },
                        };
                        self.add_block(&block, sums, [delta_copy, input_copy]);
                    }
                }
            }
        }
    }

    /// Adds the products of one block of outputs: on the operands, or on copies where a vector would reach beyond them.
    fn add_block(&self, block: &Block, sums: &mut [A], [delta_copy, input_copy]: [&mut [A]; 2]) {
        let Block { planes, delta, input, .. } = *block;
        if delta.lie_in(self.delta.data, planes) && input.lie_in(self.input.data, planes) {
            let walk = block.walk([delta.pitch, input.pitch], [delta, input].map(|lines| lines.plane.cast_unsigned()));
            let operands =
                [&self.delta.data[delta.start.cast_unsigned()..], &self.input.data[input.start.cast_unsigned()..]];
            return self.call(block, walk, operands, sums);
        }
        for plane in 0..planes {
            let [delta_plane, input_plane] =
                [delta, input].map(|lines| Lines { start: lines.start + plane.cast_signed() * lines.plane, ..lines });
            if planes > 1 && delta_plane.lie_in(self.delta.data, 1) && input_plane.lie_in(self.input.data, 1) {
                self.add_block(
                    &Block { planes: 1, delta: delta_plane, input: input_plane, ..*block },
                    sums,
                    [delta_copy, input_copy],
                );
                continue;
            }
            delta.copy(self.delta.data, plane, delta_copy);
            input.copy(self.input.data, plane, input_copy);
            let walk = Slide { planes: 1, ..block.walk([delta.len, input.len], [0, 0]) };
            self.call(block, walk, [delta_copy, input_copy], sums);
        }
    }

    fn call(&self, block: &Block, walk: Slide, [delta, input]: [&[A]; 2], sums: &mut [A]) {
        let Walker { shape, plan, isa, .. } = self;
        let width = &shape.axes()[2];
        let lanes = |outputs: Range<usize>| block.lanes(outputs, plan.lanes);
        let outputs = lanes(0..width.output);
        for_slide_tile!(block.taps.tile, {
            let meets: [Range<usize>; N] = std::array::from_fn(|n| lanes(width.valid_outputs(block.taps.column + n)));
            isa.run(SlideTile::<A, V, N> { delta, input, outputs: outputs.clone(), meets, walk, sums })
        });
    }

    /// Adds up the lanes of a group's sums: `sums[oc][ic][tap]`, zeros for the taps of other slots.
    fn total_lanes(&self, lane_sums: &mut [A], tap_part: usize, sums: &mut [A]) {
        let Walker { shape, plan, isa, .. } = self;
        let [depth, height, width] = shape.axes();
        isa.run(LaneTotals { lane_sums });
        sums.fill(A::default());
        let totals = lane_sums.chunks_exact(plan.sums_of_pair(shape) / depth.kernel / plan.lanes);
        for (sums, totals) in sums.chunks_exact_mut(height.kernel * width.kernel).zip(totals) {
            let totals = totals.chunks_exact(plan.tile.v * plan.tile.n);
            for (TapTile { row, column, tile: Tile { v, n } }, totals) in
                plan.tap_tiles_of_part(shape, tap_part).zip(totals)
            {
                for (i, &total) in totals.iter().take(v * n).enumerate() {
                    let (kh, kw) = (row + i % v * plan.rows.tap_step, column + i / v);
                    sums[kh * width.kernel + kw] = total;
                }
            }
        }
    }
}

/// What one call of the kernel adds up.
#[derive(Clone, Copy)]
struct Block {
    taps: TapTile,
    /// The first of a row's outputs.
    first: usize,
    planes: usize,
    /// Rows of delta before the one that the first row of the input meets first.
    before: usize,
    delta: Lines,
    input: Lines,
}

impl Block {
    fn walk(&self, [delta_row, input_row]: [usize; 2], [delta_plane, input_plane]: [usize; 2]) -> Slide {
        Slide {
            planes: self.planes,
            delta_rows: self.delta.count,
            input_rows: self.input.count,
            first: self.before,
            delta_plane,
            delta_row,
            input_plane,
            input_row,
        }
    }

    /// Which lanes a range of outputs is.
    fn lanes(&self, outputs: Range<usize>, lanes: usize) -> Range<usize> {
        let lane = |output: usize| output.saturating_sub(self.first).min(lanes);
        let lanes = lane(outputs.start)..lane(outputs.end);
        if lanes.is_empty() { 0..0 } else { lanes }
    }
}
