//! How the depthwise kernel cuts a problem: plain data, computed from the shape and the registers.

use super::slide_plan::{SlidingAxis, TapTile};
use super::slots::Slots;
use super::window::{piece, pieces};
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::depthwise::{MAX_N, Sizes, cycles};
use crate::simd::tile::Tile;
use std::ops::Range;

/// Vectors of a unit's packed operands, which stay in an L1 cache: with 1024 of them the layer of 256 channels at
/// 28x28, stride 2, took 0.39 ms instead of 0.30 (Zen 5, AVX-512, f32, batch 8).
const UNIT_VECTORS: usize = 512;

/// Elements of both operands together from which on they are taken to come from memory and are touched first. It took a
/// third off the layers of 25 MB, 32 channels at 112x112 and 128 at 56x56, and more beyond; that of 16 MB, 128 channels
/// at 56x56 with stride 2, would take half as long again (Zen 5, 32 MiB of L3, batch 8).
const TOUCHED_ELEMENTS: usize = 5 << 20;

/// Elements of both operands that a strip of rows has which is touched first, all channels together, for them to stay
/// in the L2 cache.
const STRIP_ELEMENTS: usize = 64 << 10;

/// Units a problem that is not touched should have at least, so that a few threads share it: images are cut only for
/// that. In strips of 5 rows the layer of 256 channels at 28x28 took 0.23 ms instead of 0.20 (Zen 5, batch 8).
const MIN_UNITS: usize = 8;

/// Channels of a slot, about, at least, that are read in place: lines of fewer are no stream to the processor.
const STRIP_CHANNELS: usize = 512;

/// Rows of outputs from which on two of them go along together: with fewer, what is left over outweighs what is shared.
/// The layer of 1024 channels at 7x7 took 0.099 ms instead of 0.094 (Zen 5, batch 8).
const FEWEST_JOINED_ROWS: usize = 8;

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
    /// Columns of the input from an output to the next within a tile. More than 1 where a tile has all columns of taps,
    /// as if they were one class.
    pub step: usize,
    /// Rows of outputs that go along together in the kernel, and vectors of channels where they lie side by side.
    pub joined_rows: usize,
    pub joined_vectors: usize,
    /// Rows of outputs of a call of the kernel, at most.
    pub call_rows: usize,
    /// The units where operands are packed, and where channels lie side by side in both.
    pub packed: Units,
    pub in_place: Units,
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
        let elements = [[height.output, width.output], [height.input, width.input]]
            .map(|[rows, columns]| saturating_product([shape.batch(), shape.groups(), rows, columns]));
        let touches = elements[0].saturating_add(elements[1]) > TOUCHED_ELEMENTS;
        let row_elements = (width.output + height.stride * width.input).saturating_mul(shape.groups());
        let bands = match touches {
            true => height.output.div_ceil((STRIP_ELEMENTS / row_elements).clamp(1, height.output)),
            false => MIN_UNITS.div_ceil(shape.batch()).min(height.output),
        };
        let rows = height.output.div_ceil(bands);
        let units = shape.batch() * pieces(height.output, rows);
        let mut slots = Slots::of_runs(shape, registers.lanes, units);
        // Of about equal sizes, lest the last has fewer channels than lanes; and of an odd number of vectors, lest the sums of
        // taps lie a power of two apart, in few sets of the L1 cache.
        let ranges = shape.groups().div_ceil(slots.groups.max(STRIP_CHANNELS));
        let vectors = shape.groups().div_ceil(ranges).div_ceil(registers.lanes) | 1;
        slots.groups = vectors.saturating_mul(registers.lanes);
        slots.run = slots.groups;
        let in_place = Units { images: 1, rows, slots };
        let mut plan = DepthwisePlan {
            tile: Tile { v: 1, n: 1 },
            lanes: registers.lanes,
            columns: SlidingAxis::new(width),
            step: 1,
            joined_rows: 1,
            joined_vectors: 1,
            call_rows: (CALL_OUTPUTS / width.output).next_multiple_of(2).clamp(1, height.output),
            packed,
            in_place,
            touches,
        };
        if width.kernel == Sizes::JOINED && height.kernel <= Sizes::JOINED && width.dilation == 1 && width.stride <= 2 {
            plan.tile = Tile { v: width.kernel, n: height.kernel };
            plan.step = width.stride;
            let shares_rows = plan.step == 1 && height.stride == 1 && height.dilation == 1;
            plan.joined_rows = if shares_rows && height.output >= FEWEST_JOINED_ROWS { 2 } else { 1 };
            let sizes = Sizes { tile: plan.tile, step: plan.step, rows: plan.joined_rows, vectors: 2 };
            plan.joined_vectors = if sizes.fits(registers) { 2 } else { 1 };
            return Some(plan);
        }
        // For each number of columns only the most rows there is room for, or as many as make tiles of equal size: to
        // weigh every tile would take longer than a small problem.
        let tile = |v: usize| {
            let fits = |&n: &usize| Sizes { tile: Tile { v, n }, step: 1, rows: 1, vectors: 1 }.fits(registers);
            let most = (1..=height.kernel.min(MAX_N[v - 1])).rev().find(fits)?;
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
        let column_tiles = if self.step > 1 { 1 } else { self.columns.tiles(self.tile.v) };
        let [column_tiles, row_tiles] = [column_tiles, pieces(height.kernel, self.tile.n)].map(|tiles| tiles as f64);
        let rows = height.kernel as f64 / row_tiles;
        let step = cycles(width.kernel as f64 / column_tiles, rows) + (self.step - 1) as f64 * rows * LOAD_CYCLES;
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
            // Rows that meet the same rows of taps share calls; at most each row is one, of each image and class of
            // outputs.
            let calls = saturating_product([units_of_slot, units.images, units.rows.min(height.output), classes]);
            call.saturating_add(calls).saturating_add(units.slots.unit_parts)
        };
        chain(&self.packed).max(chain(&self.in_place))
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let sums = |units: &Units| units.slots.count(shape).saturating_mul(units.slots.sums_len(shape));
        let rooms = self.packed.slots.count(shape).saturating_mul(self.room_len(shape));
        sums(&self.packed).saturating_add(rooms).max(sums(&self.in_place))
    }

    /// Elements of the room that a slot packs its operands in.
    pub fn room_len(&self, shape: &ConvShape) -> usize {
        self.pack_lens(shape).into_iter().fold(ALIGNMENT, usize::saturating_add)
    }

    /// Elements of a unit's packed delta and its packed input.
    pub fn pack_lens(&self, shape: &ConvShape) -> [usize; 2] {
        self.packed.planes(shape, self.lanes).map(|plane| plane.saturating_mul(self.packed.images))
    }

    /// Whether every slot has channels enough to fill the lanes where they lie.
    pub fn fills_lanes(&self, shape: &ConvShape) -> bool {
        let of_slot = self.in_place.slots.groups;
        shape.groups() - (shape.groups() - 1) / of_slot * of_slot >= self.lanes
    }

    /// The tiles of taps, each with every class of outputs: `v` columns of a class of them, `n` rows. At the end of a
    /// row or a column of taps they are smaller.
    pub fn tap_tiles(&self, shape: &ConvShape) -> impl Iterator<Item = (usize, TapTile)> + use<> {
        let (axis, Tile { v, n }, tap_step) = (self.columns, self.tile, self.tap_step());
        let [_, height, width] = *shape.axes();
        (0..tap_step.min(width.kernel)).flat_map(move |class| {
            let columns = (width.kernel - class).div_ceil(tap_step);
            (0..pieces(columns, v)).flat_map(move |j| {
                let columns = piece(columns, v, j);
                let column = class + columns.start * tap_step;
                (0..pieces(height.kernel, n)).flat_map(move |i| {
                    let rows = piece(height.kernel, n, i);
                    let tile = Tile { v: columns.len(), n: rows.len() };
                    (0..axis.output_classes()).map(move |outputs| (outputs, TapTile { row: rows.start, column, tile }))
                })
            })
        })
    }

    /// From a column of taps to the next of a tile.
    pub fn tap_step(&self) -> usize {
        if self.step > 1 { 1 } else { self.columns.tap_step }
    }

    /// What a class of outputs of a row and some columns of taps meet in; none if they meet nowhere.
    pub fn row_walk(&self, width: &Axis, class: usize, column: usize, columns: usize) -> Option<RowWalk> {
        if self.step > 1 {
            let (outputs, columns) = (width.output, width.input);
            let lead = width.padding;
            return Some(RowWalk { first_output: 0, outputs, first_column: 0, columns, column_step: 1, lead });
        }
        let steps = self.columns.steps(class, column, columns);
        // Outputs that these columns meet.
        let outputs = (steps.start + 1).saturating_sub(columns)..steps.end.min(self.columns.outputs(class));
        (!steps.is_empty() && !outputs.is_empty()).then(|| RowWalk {
            // Classes of outputs lie between each other.
            first_output: class + outputs.start * self.columns.output_step,
            outputs: outputs.len(),
            first_column: self.columns.input_position(class, column, steps.start),
            columns: steps.len(),
            column_step: self.columns.input_step(),
            lead: steps.start - outputs.start,
        })
    }
}

/// Outputs of a row, one [step](SlidingAxis::output_step) of outputs apart, and the columns of the input they meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowWalk {
    pub first_output: usize,
    pub outputs: usize,
    pub first_column: usize,
    pub columns: usize,
    /// From a column to the next.
    pub column_step: usize,
    /// Columns that miss before the first, for the first output to meet them all.
    pub lead: usize,
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

/// Cycles of a load beyond those of the first column of a step.
const LOAD_CYCLES: f64 = 1.8;

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
            let tiles = Tile::all().filter(|t| t.v <= plan.columns.taps(0) && t.n <= height.kernel);
            let of_classes = tiles.map(|tile| DepthwisePlan { tile, step: 1, ..plan.clone() });
            for plan in of_classes.chain([plan.clone()]) {
                let tile = plan.tile;
                let mut times = vec![0; shape.taps() * plan.columns.output_classes()];
                for (class, TapTile { row, column, tile }) in plan.tap_tiles(&shape) {
                    assert!(tile.v <= plan.tile.v && tile.n <= plan.tile.n);
                    for (v, n) in (0..tile.v).flat_map(|v| (0..tile.n).map(move |n| (v, n))) {
                        let tap = (row + n) * width.kernel + column + v * plan.tap_step();
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
