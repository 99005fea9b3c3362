//! How the depthwise kernel cuts a problem: plain data, computed from the shape and the registers.

use super::slide_plan::{SlidingAxis, TOUCHED_ELEMENTS, TapTile};
use super::slots::Slots;
use super::window::{piece, pieces};
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::depthwise::{MAX_N, cycles, fits};
use crate::simd::tile::Tile;
use std::ops::Range;

/// Vectors of a unit's packed operands, which stay in an L1 cache: with 1024 of them the layer of 256 channels at 28x28,
/// stride 2, took 0.39 ms instead of 0.30 (Zen 5, AVX-512, f32, batch 8).
const UNIT_VECTORS: usize = 512;

/// Elements of both operands that a strip of rows has, all channels together, for them to stay in the L2 cache. With a
/// quarter of them the layer of 1024 channels at 7x7 took twice the time.
const STRIP_ELEMENTS: usize = 128 << 10;

/// Channels of a slot, at least, that are read in place: lines of fewer are no stream to the processor.
const STRIP_CHANNELS: usize = 256;

/// Channels a multiple of which lies a multiple of a kibibyte apart in `f32`, so that the positions of a row share few sets
/// of an L1 cache, and columns of a row from which on they lose each other before the next row of taps meets them. Packed
/// first, the input of 256 channels at 28x28 and of 512 at 14x14 made the layers take 0.45 and 0.26 ms instead of 0.60 and
/// 0.32; of 1024 channels at 7x7, 0.19 instead of 0.17 (Zen 5, batch 8).
const CLASHING_CHANNELS: usize = 256;
const CLASHING_COLUMNS: usize = 8;

/// Outputs one call of the kernel adds up, about: what bounds the error.
const CALL_OUTPUTS: usize = 512;

/// Elements by which packed operands may have to begin later for their vectors to be whole cache lines.
const ALIGNMENT: usize = 16;

/// How a problem is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DepthwisePlan {
    /// Columns of taps by rows of taps of one register tile.
    pub tile: Tile,
    pub lanes: usize,
    pub columns: SlidingAxis,
    /// Rows of outputs of a call of the kernel, at most.
    pub call_rows: usize,
    /// The units where operands are packed, and where channels lie side by side in both.
    pub packed: Units,
    pub in_place: Units,
    /// Whether the input is packed even where its channels lie side by side.
    pub packs_input: bool,
    /// Whether to read a unit in place in its order first.
    pub touches: bool,
}

/// How images and rows of outputs are cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Units {
    /// Images of a unit: several, if they are small.
    pub images: usize,
    /// Rows of outputs of a unit, at most; in place they are to stay in an L2 cache.
    pub rows: usize,
    pub slots: Slots,
}

impl Units {
    /// Units of a channel: some images, or a band of one.
    pub fn count(&self, shape: &ConvShape) -> usize {
        pieces(shape.batch(), self.images) * self.bands(shape)
    }

    fn bands(&self, shape: &ConvShape) -> usize {
        pieces(shape.axes()[1].output, self.rows)
    }

    /// The images of a unit, and its rows of outputs.
    pub fn unit(&self, shape: &ConvShape, index: usize) -> (Range<usize>, Range<usize>) {
        let bands = self.bands(shape);
        let rows = piece(shape.axes()[1].output, self.rows, index % bands);
        (piece(shape.batch(), self.images, index / bands), rows)
    }

    /// Elements of an image of a unit, as they are packed: of delta, and of the input.
    pub fn planes(&self, shape: &ConvShape, lanes: usize) -> [usize; 2] {
        let [_, height, width] = shape.axes();
        let positions = [[self.rows, width.output], [most_met(height, self.rows), width.input]];
        positions.map(|[rows, columns]| saturating_product([rows, columns, lanes]))
    }
}

impl DepthwisePlan {
    /// The plan of a problem; none where there is one group, or a depth, or rows are too long to
    /// be packed, or groups have more channels than one. A depth of one that is padded is one: there an output may lie in
    /// the padding and meet nothing.
    pub fn new(shape: &ConvShape, registers: Registers) -> Option<DepthwisePlan> {
        let [depth, height, width] = *shape.axes();
        let is_flat = depth.input == 1 && depth.kernel == 1 && depth.output == 1 && depth.padding == 0;
        if shape.groups() == 1 || shape.group_in_channels() != 1 || shape.group_out_channels() != 1 || !is_flat {
            return None;
        }
        let unit_len = |rows: usize| {
            rows.saturating_mul(width.output).saturating_add(most_met(&height, rows).saturating_mul(width.input))
        };
        // Few rows would be packed twice over, once for each band that meets them.
        let fewest = height.output.min(4 * height.kernel);
        let mut rows = height.output;
        while rows > fewest && unit_len(rows) > UNIT_VECTORS {
            rows = rows.div_ceil(2).max(fewest);
        }
        if unit_len(rows) > MAX_UNIT_VECTORS {
            return None;
        }
        let images = if rows == height.output { (UNIT_VECTORS / unit_len(rows)).clamp(1, shape.batch()) } else { 1 };
        let units = pieces(shape.batch(), images) * pieces(height.output, rows);
        let packed = Units { images, rows, slots: Slots::of_runs(shape, registers.lanes, units) };
        let row_elements = (width.output + height.stride * width.input).saturating_mul(shape.groups());
        let rows = (STRIP_ELEMENTS / row_elements).clamp(1, height.output);
        let rows = height.output.div_ceil(height.output.div_ceil(rows));
        let units = shape.batch() * pieces(height.output, rows);
        let mut slots = Slots::of_runs(shape, registers.lanes, units);
        slots.groups = slots.groups.max(STRIP_CHANNELS).min(shape.groups().next_multiple_of(registers.lanes));
        let in_place = Units { images: 1, rows, slots };
        let input_elements = saturating_product([shape.batch(), shape.groups(), height.input, width.input]);
        let clashes = shape.groups().is_multiple_of(CLASHING_CHANNELS) && width.input > CLASHING_COLUMNS;
        let mut plan = DepthwisePlan {
            tile: Tile { v: 1, n: 1 },
            lanes: registers.lanes,
            columns: SlidingAxis::new(width),
            call_rows: (CALL_OUTPUTS / width.output).clamp(1, height.output),
            packed,
            in_place,
            packs_input: clashes && height.stride == 1 && height.kernel > 1,
            touches: input_elements > TOUCHED_ELEMENTS,
        };
        // For each number of columns only the most rows there is room for, or as many as make tiles of equal size: to weigh
        // every tile would take longer than a small problem.
        let tile = |v: usize| {
            let most = (1..=height.kernel.min(MAX_N[v - 1])).rev().find(|&n| fits(Tile { v, n }, registers))?;
            Some(Tile { v, n: height.kernel.div_ceil(height.kernel.div_ceil(most)) })
        };
        let total = |tile: &Tile| DepthwisePlan { tile: *tile, ..plan.clone() }.multiply_cycles(shape);
        let tiles = (1..=plan.columns.taps(0).min(MAX_N.len())).filter_map(tile);
        plan.tile = tiles.min_by(|a, b| total(a).total_cmp(&total(b))).unwrap_or(plan.tile);
        Some(plan)
    }

    /// Cycles of the whole problem on one core, operands lying by rows, which are transposed: what the choice among
    /// kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let [_, height, width] = shape.axes();
        let bands = pieces(height.output, self.packed.rows);
        let input = bands * most_met(height, self.packed.rows) * width.input;
        let images = (shape.groups().div_ceil(self.lanes) * shape.batch()) as f64;
        let pack = (shape.output_positions() + input) as f64 * self.lanes as f64 * TRANSPOSE_CYCLES;
        images * pack + self.multiply_cycles(shape)
    }

    /// Cycles of the kernel.
    fn multiply_cycles(&self, shape: &ConvShape) -> f64 {
        let [_, height, width] = shape.axes();
        let images = (shape.groups().div_ceil(self.lanes) * shape.batch()) as f64;
        let calls = (2 + height.output.div_ceil(self.call_rows)) as f64 / self.packed.images as f64;
        let classes = self.columns.output_classes() as f64;
        let [column_tiles, row_tiles] =
            [self.columns.tiles(self.tile.v), pieces(height.kernel, self.tile.n)].map(|tiles| tiles as f64);
        let step = cycles(width.kernel as f64 / column_tiles, height.kernel as f64 / row_tiles);
        let steps = height.output as f64 * (width.output as f64 + classes * LINE_COLUMNS);
        images * column_tiles * row_tiles * (steps * step + classes * calls * CALL_CYCLES)
    }

    /// Additions the longest chain of roundings has: a call in lanes, the calls of a slot, the slots.
    pub fn longest_chain(&self, shape: &ConvShape) -> usize {
        let [_, height, width] = shape.axes();
        let classes = self.columns.output_classes();
        let chain = |units: &Units| {
            let call = saturating_product([units.images, self.call_rows, width.output]);
            let units_of_slot = units.count(shape).div_ceil(units.slots.unit_parts);
            // Rows that meet the same rows of taps share calls; at most each row is one, of each image and class of outputs.
            let calls = saturating_product([units_of_slot, units.images, units.rows.min(height.output), classes]);
            call.saturating_add(calls).saturating_add(units.slots.unit_parts)
        };
        chain(&self.packed).max(chain(&self.in_place))
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let of_units = |units: &Units| {
            units.slots.count(shape).saturating_mul(units.slots.sums_len(shape).saturating_add(self.room_len(shape)))
        };
        of_units(&self.packed).max(of_units(&self.in_place))
    }

    /// Elements of the room that a slot packs its operands in.
    pub fn room_len(&self, shape: &ConvShape) -> usize {
        let packed = self.pack_lens(&self.packed, shape).into_iter().fold(ALIGNMENT, usize::saturating_add);
        packed.max(self.pack_lens(&self.in_place, shape).into_iter().fold(ALIGNMENT, usize::saturating_add))
    }

    /// Elements of a unit's packed delta and its packed input.
    pub fn pack_lens(&self, units: &Units, shape: &ConvShape) -> [usize; 2] {
        units.planes(shape, self.lanes).map(|plane| plane.saturating_mul(units.images))
    }

    /// The tiles of taps, each with every class of outputs: `v` columns of a class of them, `n` rows. At the end of a row
    /// or a column of taps they are smaller.
    pub fn tap_tiles(&self, shape: &ConvShape) -> impl Iterator<Item = (usize, TapTile)> + use<> {
        let (axis, Tile { v, n }) = (self.columns, self.tile);
        let rows = shape.axes()[1].kernel;
        (0..axis.tap_classes()).flat_map(move |class| {
            let columns = axis.taps(class);
            (0..pieces(columns, v)).flat_map(move |j| {
                let columns = piece(columns, v, j);
                let column = class + columns.start * axis.tap_step;
                (0..pieces(rows, n)).flat_map(move |i| {
                    let rows = piece(rows, n, i);
                    let tile = Tile { v: columns.len(), n: rows.len() };
                    (0..axis.output_classes()).map(move |outputs| (outputs, TapTile { row: rows.start, column, tile }))
                })
            })
        })
    }
}

/// The rows of the input that lie between the first and the last which some outputs meet.
pub(super) fn met_rows(axis: &Axis, outputs: &Range<usize>) -> Range<usize> {
    let position = |output: usize, tap: usize| axis.input_position(output, tap).clamp(0, axis.input.cast_signed());
    let end = position(outputs.end - 1, axis.kernel - 1).cast_unsigned();
    let start = position(outputs.start, 0).cast_unsigned();
    start..axis.input.min(end + 1).max(start)
}

/// How many [`met_rows`] so many outputs may have.
fn most_met(axis: &Axis, outputs: usize) -> usize {
    (outputs - 1).saturating_mul(axis.stride).saturating_add(axis.extent()).min(axis.input)
}

/// Vectors of a unit from which on packing it would take too much memory.
const MAX_UNIT_VECTORS: usize = 32 << 10;

/// Cycles to transpose an element of an operand that lies by rows.
const TRANSPOSE_CYCLES: f64 = 0.4;

/// Columns that take as long as beginning a row in a call of the kernel, and cycles that beginning a call takes.
const LINE_COLUMNS: f64 = 1.5;
const CALL_CYCLES: f64 = 45.0;

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTERS: Registers = Registers { lanes: 16, count: 32 };

    fn plan(text: &str) -> Option<(ConvShape, DepthwisePlan)> {
        let shape: ConvShape = text.parse().unwrap();
        DepthwisePlan::new(&shape, REGISTERS).map(|plan| (shape, plan))
    }

    #[test]
    fn tiles_compute_each_tap_once_for_each_class_of_outputs() {
        for kernel in ["kh3", "kh5", "kh7sh2", "kh3sh2", "kh2sh3", "kh4dh1", "kh5sh2dh1", "kh5sh4dh5", "kh1", "kh2kw31"]
        {
            let (shape, plan) = plan(&format!("mb2g24ic24ih60iw70oc24{kernel}ph0pw0")).unwrap();
            let [_, height, width] = shape.axes();
            for tile in Tile::all().filter(|t| t.v <= plan.columns.taps(0) && t.n <= height.kernel) {
                let plan = DepthwisePlan { tile, ..plan.clone() };
                let mut times = vec![0; shape.taps() * plan.columns.output_classes()];
                for (class, TapTile { row, column, tile }) in plan.tap_tiles(&shape) {
                    assert!(tile.v <= plan.tile.v && tile.n <= plan.tile.n);
                    for (v, n) in (0..tile.v).flat_map(|v| (0..tile.n).map(move |n| (v, n))) {
                        let tap = (row + n) * width.kernel + column + v * plan.columns.tap_step;
                        times[class * shape.taps() + tap] += 1;
                    }
                }
                assert!(times.iter().all(|&times| times == 1), "{kernel} {tile:?}");
            }
        }
    }

    #[test]
    fn units_cover_every_output_once_and_fit_what_is_packed() {
        for text in ["mb5g32ic32ih7oc32kh3ph1", "mb2g20ic20ih90iw33oc20kh3sh2ph1", "mb3g16ic16ih40iw50oc16kh5dh3ph20"] {
            let (shape, plan) = plan(text).unwrap();
            let [_, height, width] = shape.axes();
            for units in [plan.packed, plan.in_place] {
                let mut times = vec![0; shape.batch() * height.output];
                for unit in 0..units.count(&shape) {
                    let (images, rows) = units.unit(&shape, unit);
                    assert!(images.len() <= units.images && rows.len() <= units.rows, "{text}");
                    let met = met_rows(height, &rows);
                    assert!(met.len() * width.input * plan.lanes <= units.planes(&shape, plan.lanes)[1], "{text}");
                    for (output, tap) in
                        rows.clone().flat_map(|output| (0..height.kernel).map(move |tap| (output, tap)))
                    {
                        let position = height.input_position(output, tap);
                        let inside = (0..height.input.cast_signed()).contains(&position);
                        assert!(!inside || met.contains(&position.cast_unsigned()), "{text}: {output} {tap}");
                    }
                    for (image, row) in images.flat_map(|image| rows.clone().map(move |row| (image, row))) {
                        times[image * height.output + row] += 1;
                    }
                }
                assert!(times.iter().all(|&times| times == 1), "{text}");
            }
        }
    }

    #[test]
    fn only_flat_depthwise_problems_have_a_plan() {
        for text in ["mb2g8ic16ih20oc8kh3", "mb2g8ic8ih20oc16kh3", "mb2g8ic8id4ih20oc8kd1kh3", "mb1g2ic2iw900000oc2kw3"]
        {
            assert_eq!(plan(text), None, "{text}");
        }
        assert_eq!(plan("mb2g8ic8id1ih20oc8od1oh20kd1kh3pd1ph1"), None, "the output lies in the padding");
        assert!(plan("mb2g8ic8ih20oc8kh3").is_some());
    }
}
