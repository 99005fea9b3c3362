//! The forward pass with output positions in lanes: for depthwise convolutions, and groups of few output channels.
//!
//! ```text
//! pack the weights into [output channels, N at a time][input channel][tap][N]
//! for piece of the output in parallel:
//!     for image, group, output depth, band of rows:               so small that it stays in the L2 cache
//!         copy the input between the zeros of its padding, by its residues modulo the stride
//!         for N output channels, V vectors of positions:
//!             sums = bias + the kernel over all input channels and taps
//!         write the rows of the sums
//! ```
//!
//! 1. Positions are counted through all rows of a band, the padding between them included: a vector crosses from row to row,
//!    and short rows leave no lanes idle but for these.
//! 2. With a stride, the inputs of each residue lie side by side, for rows and columns alike; so do those that neighbouring
//!    outputs meet at a tap.
//! 3. The padding is multiplied: its zeros are part of the sum. It is the definition's as long as the weights are finite.

use super::super::window::meeting_taps;
use super::shifts_plan::{Residues, ShiftsPlan};
use super::weights::{pack as pack_weights, pack_bias};
use super::write::write_row;
use crate::correlation::Correlation;
use crate::element::Element;
use crate::partition::{join, pays};
use crate::problem::Update;
use crate::shape::{Axis, ConvShape};
use crate::simd::Isa;
use crate::simd::correlate::Start;
use crate::simd::shift::{ShiftTile, for_shift_tile};
use crate::simd::tile::Tile;
use crate::tensor::{View, ViewMut};
use std::ops::Range;

/// Taps of a kernel call.
const TAPS: usize = 128;

/// Computes a forward pass.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>, plan: &ShiftsPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let shape = problem.shape;
    let [biases, weights] = plan.packed_lens(&shape);
    let (bias, scratch) = scratch.split_at_mut(biases);
    let (weights, slots) = scratch.split_at_mut(weights);
    pack_bias(&problem, &plan.order, bias);
    pack_weights(isa, &problem, &plan.order, weights);
    let Correlation { input, output, update, .. } = problem;
    let pass = Pass { shape, plan, isa, input, bias, weights, update, slot_len: plan.slot_len(&shape) };
    let piece = Piece { output, first: [0; 4] };
    pass.divide(piece, &mut slots[..plan.parts * pass.slot_len], shape.flops());
}

/// What all pieces share.
struct Pass<'a, T: Element> {
    shape: ConvShape,
    plan: &'a ShiftsPlan,
    isa: Isa,
    input: View<'a, T>,
    bias: &'a [T::Acc],
    weights: &'a [T::Acc],
    update: Update<T>,
    slot_len: usize,
}

/// A piece of the output: its first image, group, depth and row.
struct Piece<'a, T> {
    output: ViewMut<'a, T>,
    first: [usize; 4],
}

impl<T: Element> Pass<'_, T> {
    /// Computes a piece: by halves, while there is scratch for both.
    fn divide(&self, piece: Piece<'_, T>, slots: &mut [T::Acc], flops: f64) {
        let tasks = slots.len() / self.slot_len;
        if tasks == 1 || !pays(flops) {
            return self.compute(piece, &mut slots[..self.slot_len]);
        }
        let Piece { mut output, first } = piece;
        let ocs = self.shape.group_out_channels();
        for (axis, unit) in [(0, 1), (1, ocs), (2, 1), (3, self.plan.band)] {
            let middle = output.dims5()[axis].div_ceil(unit) / 2;
            output = match output.split(axis, middle * unit) {
                Ok((low, high)) => {
                    let (low_slots, high_slots) = slots.split_at_mut(tasks / 2 * self.slot_len);
                    let low = Piece { output: low, first };
                    let mut high = Piece { output: high, first };
                    high.first[axis] += middle * if axis == 3 { unit } else { 1 };
                    let half = flops / 2.0;
                    join(flops, || self.divide(low, low_slots, half), || self.divide(high, high_slots, half));
                    return;
                }
                Err(whole) => whole,
            };
        }
        self.compute(Piece { output, first }, &mut slots[..self.slot_len]);
    }

    fn compute(&self, piece: Piece<'_, T>, slot: &mut [T::Acc]) {
        let Piece { mut output, first } = piece;
        let [images, channels, depths, rows, _] = output.dims5();
        let ocs = self.shape.group_out_channels();
        let (panel, sums) = slot.split_at_mut(self.plan.panel_len(&self.shape));
        for image in 0..images {
            for group in 0..channels / ocs {
                for depth in 0..depths {
                    for row in (0..rows).step_by(self.plan.band) {
                        let count = self.plan.band.min(rows - row);
                        let band = Band {
                            image: first[0] + image,
                            group: first[1] + group,
                            depth: first[2] + depth,
                            rows: first[3] + row..first[3] + row + count,
                        };
                        let output = output
                            .reborrow()
                            .every(0, image, 1, 1)
                            .every(1, group * ocs, 1, ocs)
                            .every(2, depth, 1, 1)
                            .every(3, row, 1, count);
                        self.compute_band(&band, output, panel, sums);
                    }
                }
            }
        }
    }

    fn compute_band(&self, band: &Band, mut output: ViewMut<'_, T>, panel: &mut [T::Acc], sums: &mut [T::Acc]) {
        let Pass { shape, plan, isa, bias, weights, .. } = self;
        let [depth, height, width] = *shape.axes();
        let order = &plan.order;
        let depths = meeting_taps(&depth, band.depth);
        self.copy_input(band, depths.clone(), panel);
        let (pitch, plane) = (plan.pitch(shape), plan.plane_len(shape));
        let (of_rows, of_columns) = (Residues::new(height), Residues::new(width));
        let residue_len = plan.residue_len(shape).1;
        let positions = ((band.rows.len() - 1) * pitch + width.output).next_multiple_of(plan.lanes);
        let taps = depths.start * height.kernel * width.kernel..depths.end * height.kernel * width.kernel;
        for tile in 0..order.tiles() {
            let tile = order.tile(tile);
            let first = band.group * order.out_channels + tile.start;
            let n = tile.len();
            let mut begin = taps.start;
            // Once at least, for the biases.
            loop {
                let count = TAPS.min(taps.end - begin);
                let mut shifts = [0; TAPS];
                for (shift, tap) in shifts.iter_mut().zip(begin..begin + count) {
                    let (kw, kh) = (tap % width.kernel, tap / width.kernel % height.kernel);
                    let kd = tap / width.kernel / height.kernel - depths.start;
                    let ((row_residue, row), (column_residue, column)) = (of_rows.of_tap(kh), of_columns.of_tap(kw));
                    *shift = kd * plane
                        + (row_residue * of_columns.count + column_residue) * residue_len
                        + row * pitch
                        + column;
                }
                let start = if begin == taps.start { Start::Numbers(&bias[first..][..n]) } else { Start::Sums };
                let mut at = 0;
                while at < positions {
                    let v = plan.vectors(n, positions - at);
                    for_shift_tile!(
                        Tile { v, n },
                        isa.run(ShiftTile::<T::Acc, V, N> {
                            input: &panel[at..],
                            channel: depth.kernel * plane,
                            channels: order.blocks,
                            shifts: &shifts[..count],
                            weights: &weights[first * order.len() + begin * n..],
                            weights_channel: order.taps * n,
                            start,
                            sums: &mut sums[at..],
                            pitch: positions,
                        })
                    );
                    at += v * plan.lanes;
                }
                begin += count;
                if begin >= taps.end {
                    break;
                }
            }
            for (channel, sums) in tile.zip(sums.chunks_exact(positions)) {
                for (row, sums) in sums.chunks(pitch).enumerate().take(band.rows.len()) {
                    self.write(&mut output, [0, channel, 0, row, 0], &sums[..width.output]);
                }
            }
        }
    }

    /// Writes a row of sums.
    fn write(&self, output: &mut ViewMut<'_, T>, first: [usize; 5], sums: &[T::Acc]) {
        let (start, step) = (output.index(first), output.strides5()[4]);
        let data = output.data_mut();
        if step == 1 {
            return write_row(&mut data[start..][..sums.len()], sums, self.update);
        }
        for (x, &sum) in sums.iter().enumerate() {
            self.update.apply(&mut data[start.wrapping_add_signed(step.wrapping_mul(x.cast_signed()))], sum);
        }
    }

    /// Copies what a band of outputs reads, `[channel][depth tap][residue of rows, of columns][row][column]`.
    fn copy_input(&self, band: &Band, depths: Range<usize>, panel: &mut [T::Acc]) {
        let Pass { shape, plan, input, .. } = self;
        let [depth, height, width] = *shape.axes();
        let ics = shape.group_in_channels();
        let (of_rows, of_columns) = (Residues::new(height), Residues::new(width));
        let (pitch, plane) = (plan.pitch(shape), plan.plane_len(shape));
        let residue_len = plan.residue_len(shape).1;
        let rows = band.rows.len() + of_rows.beyond;
        for channel in 0..ics {
            let panel = &mut panel[channel * depth.kernel * plane..];
            for (panel, kd) in panel.chunks_mut(plane).zip(depths.clone()) {
                let at = depth.input_position(band.depth, kd).cast_unsigned();
                for (residue, panel) in panel.chunks_mut(residue_len).enumerate() {
                    let (of_row, of_column) = (residue / of_columns.count, residue % of_columns.count);
                    for (row, line) in panel.chunks_exact_mut(pitch).enumerate().take(rows) {
                        let row = ((band.rows.start + row) * height.stride + of_row).cast_signed()
                            - height.padding.cast_signed();
                        let Some(row) = usize::try_from(row).ok().filter(|&row| row < height.input) else {
                            line.fill(T::Acc::default());
                            continue;
                        };
                        let first = [band.image, band.group * ics + channel, at, row, 0];
                        copy_line(input, first, &width, of_column, line);
                    }
                }
            }
        }
    }
}

/// Rows of a group's outputs.
struct Band {
    image: usize,
    group: usize,
    depth: usize,
    rows: Range<usize>,
}

/// Copies the columns of a residue modulo the stride, zeros where there is padding.
fn copy_line<T: Element>(input: &View<'_, T>, first: [usize; 5], axis: &Axis, residue: usize, line: &mut [T::Acc]) {
    let Axis { stride, padding, .. } = *axis;
    let before = padding.saturating_sub(residue).div_ceil(stride).min(line.len());
    let end = (axis.input + padding).saturating_sub(residue).div_ceil(stride).clamp(before, line.len());
    line[..before].fill(T::Acc::default());
    line[end..].fill(T::Acc::default());
    if before == end {
        return;
    }
    let start = input.index(first);
    let column = before * stride + residue - padding;
    let step = input.strides5()[4];
    let inside = &mut line[before..end];
    match (T::as_acc(input.data()), stride) {
        (Some(data), 1) if step == 1 => inside.copy_from_slice(&data[start + column..][..inside.len()]),
        (Some(data), 2) if step == 1 => {
            let (pairs, last) = data[start + column..][..2 * inside.len() - 1].as_chunks::<2>();
            for (out, pair) in inside.iter_mut().zip(pairs) {
                *out = pair[0];
            }
            if let (Some(out), Some(&last)) = (inside.last_mut(), last.first()) {
                *out = last;
            }
        }
        _ => {
            for (x, out) in inside.iter_mut().enumerate() {
                let column = step.wrapping_mul((column + x * stride).cast_signed());
                *out = input.data()[start.wrapping_add_signed(column)].to_acc();
            }
        }
    }
}
