//! How the sliding kernel cuts a problem: plain data, computed from the shape and the registers.

use super::slots::Slots;
use super::window::{piece, pieces};
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::slide::{MAX_N, cycles, fits};
use crate::simd::tile::Tile;
use std::ops::Range;

/// Elements of one channel a unit walks before the next: with those of the other operand they stay in an L2 cache while
/// all tiles of taps pass over them.
const UNIT_ELEMENTS: usize = 64 << 10;

/// Steps of a walk, at most: what a lane adds up in one call, which bounds the error.
const MAX_STEPS: usize = 512;

/// Elements of the input from which on an operand is taken to come from memory. Where it came from a cache instead, touching
/// it first doubled the time of the depthwise layer of 256 channels at 28x28 and batch 8, of 1.6M elements; of the one of 32
/// channels at 112x112, of 3.2M, it took two fifths off (Zen 5, 32 MiB of L3).
const TOUCHED_ELEMENTS: usize = 2 << 20;

/// Elements of a plane of delta and one of the input that an L1 cache of 48 KiB holds. Where several channels meet, each
/// plane is read again for each of the other operand; layers of 1 or 3 channels with planes of 23, 50 and 325 thousand
/// elements took 2.5 times as long as calls on near planes would (Zen 5).
const NEAR_ELEMENTS: usize = 12 << 10;
const FAR_FACTOR: f64 = 2.5;

/// How taps and outputs of an axis slide past each other.
///
/// Output `o` and tap `k` meet at `o * stride + k * dilation - padding`. Taps `stride / g` apart and outputs
/// `dilation / g` apart, `g` the greatest common divisor, move this position equally far. So each class of outputs, those
/// that leave the same remainder, and each class of taps is a convolution of its own with stride and dilation equal, in
/// which output `i` and tap `j` meet at step `i + j`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SlidingAxis {
    axis: Axis,
    /// From a tap to the next of its class.
    pub tap_step: usize,
    /// From an output to the next of its class.
    pub output_step: usize,
}

impl SlidingAxis {
    pub fn new(axis: Axis) -> SlidingAxis {
        let divisor = axis.common_step();
        SlidingAxis { axis, tap_step: axis.stride / divisor, output_step: axis.dilation / divisor }
    }

    /// Input positions between steps.
    pub fn input_step(&self) -> usize {
        self.axis.stride.saturating_mul(self.output_step)
    }

    /// Outputs of a class, the first of which is the class's number.
    pub fn outputs(&self, class: usize) -> usize {
        (self.axis.output - class).div_ceil(self.output_step)
    }

    /// Classes there are outputs of.
    pub fn output_classes(&self) -> usize {
        self.output_step.min(self.axis.output)
    }

    /// Classes there are taps of.
    pub fn tap_classes(&self) -> usize {
        self.tap_step.min(self.axis.kernel)
    }

    /// Taps of a class.
    pub fn taps(&self, class: usize) -> usize {
        (self.axis.kernel - class).div_ceil(self.tap_step)
    }

    /// Steps of the longest walk past `rows` taps.
    fn longest(&self, rows: usize) -> usize {
        self.outputs(0).saturating_add(rows - 1)
    }

    /// Tiles that cover the taps of all classes, each so many rows of a class.
    pub fn tiles(&self, rows: usize) -> usize {
        let (of_each, more) = (self.axis.kernel / self.tap_step, self.axis.kernel % self.tap_step);
        more * (of_each + 1).div_ceil(rows) + (self.tap_step.min(self.axis.kernel) - more) * of_each.div_ceil(rows)
    }

    /// The steps at which taps from `tap` on meet the input, for a class of outputs and so many taps.
    pub fn steps(&self, class: usize, tap: usize, taps: usize) -> Range<usize> {
        let (first, step) = (self.axis.input_position(class, tap), self.input_step());
        let begin = if first < 0 { first.unsigned_abs().div_ceil(step) } else { 0 };
        let end = (self.axis.input.cast_signed() - first).max(0).unsigned_abs().div_ceil(step);
        begin..end.min(self.outputs(class) + taps - 1).max(begin)
    }

    /// The input position of a step at which the taps do meet the input.
    pub fn input_position(&self, class: usize, tap: usize, step: usize) -> usize {
        (self.axis.input_position(class, tap) + (step * self.input_step()).cast_signed()).cast_unsigned()
    }
}

/// Taps that one call of the kernel computes: some rows of a class, some columns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TapTile {
    pub row: usize,
    pub column: usize,
    pub tile: Tile,
}

/// How a problem is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SlidePlan {
    /// Rows of taps by columns of taps of one register tile.
    pub tile: Tile,
    pub lanes: usize,
    pub rows: SlidingAxis,
    /// Images of a unit: several, if they are flat and small.
    pub images: usize,
    /// Steps of a unit.
    pub band: usize,
    pub slots: Slots,
    /// Whether to read the lines of a unit in their order first.
    pub touches: bool,
}

impl SlidePlan {
    /// The plan of a problem; none where neighbouring outputs of a row do not read neighbouring inputs.
    pub fn new(shape: &ConvShape, registers: Registers) -> Option<SlidePlan> {
        let [depth, height, width] = *shape.axes();
        if width.stride != 1 {
            return None;
        }
        let rows = SlidingAxis::new(height);
        let row_len = width.output.saturating_add(width.extent() - 1);
        let band = (UNIT_ELEMENTS / row_len).clamp(16, MAX_STEPS);
        let longest = rows.longest(rows.taps(0));
        let is_flat = depth.output == 1 && depth.kernel == 1;
        // There are to be units enough for the slots.
        let most = shape.batch().div_ceil(Slots::wanted(shape).div_ceil(shape.groups()));
        let images = if is_flat { (band / longest).clamp(1, most) } else { 1 };
        let units = pieces(shape.batch(), images) * pieces(longest, band);
        let slots = Slots::new(shape, units);
        let planes = shape.batch().saturating_mul(depth.input.max(depth.output));
        let positions = saturating_product([shape.in_channels(), planes, height.input, width.input]);
        let touches = positions > TOUCHED_ELEMENTS;
        let mut plan =
            SlidePlan { tile: Tile { v: 1, n: 1 }, lanes: registers.lanes, rows, images, band, slots, touches };
        // The columns of a tile are neighbours in the input.
        let columns = if width.dilation == 1 { width.kernel } else { 1 };
        // For each number of rows only the most columns there is room for, or as many as make tiles of equal size: to weigh
        // every tile would take longer than a small problem.
        let tile = |v: usize| {
            let most = (1..=columns.min(MAX_N[v - 1])).rev().find(|&n| fits(Tile { v, n }, registers))?;
            Some(Tile { v, n: columns.div_ceil(columns.div_ceil(most)) })
        };
        let total = |tile: &Tile| SlidePlan { tile: *tile, ..plan.clone() }.cycles(shape);
        let tiles = (1..=rows.taps(0).min(MAX_N.len())).filter_map(tile);
        plan.tile = tiles.min_by(|a, b| total(a).total_cmp(&total(b))).unwrap_or(plan.tile);
        plan.slots = plan.slots.with_tap_tiles(shape, plan.tap_tiles_of_plane(shape));
        Some(plan)
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let [depth, height, width] = shape.axes();
        let product = |sizes: &[usize]| sizes.iter().map(|&size| size as f64).product::<f64>();
        let pairs = product(&[shape.groups(), shape.group_out_channels(), shape.group_in_channels()]);
        let blocks = product(&[self.tap_tiles_of_plane(shape), width.output.div_ceil(self.lanes)]);
        let planes = product(&[shape.batch(), depth.output, depth.kernel]);
        let calls = product(&[pieces(shape.batch(), self.images), depth.kernel]);
        let classes = self.rows.output_classes() as f64;
        let steps = height.output as f64 + classes * (self.tile.v - 1) as f64;
        let bands = classes * pieces(self.rows.longest(self.tile.v), self.band) as f64;
        let [row_tiles, column_tiles] = [self.rows.tiles(self.tile.v), pieces(width.kernel, self.tile.n)];
        let [v, n] =
            [(height.kernel, row_tiles), (width.kernel, column_tiles)].map(|(taps, tiles)| taps as f64 / tiles as f64);
        let walk = planes * (steps * cycles(v, n) + bands * PLANE_CYCLES) + calls * bands * CALL_CYCLES;
        let totals = product(&[self.slots.parts(), self.sums_of_pair(shape) / self.lanes]) * TOTAL_CYCLES;
        let near = pairs * (blocks * walk + totals);
        let positions = |len: fn(&Axis) -> usize| saturating_product([height, width].map(len));
        let planes = positions(|axis| axis.output).saturating_add(positions(|axis| axis.input));
        let is_far = shape.groups() < shape.in_channels().max(shape.out_channels()) && planes > NEAR_ELEMENTS;
        if is_far { FAR_FACTOR * near } else { near }
    }

    /// Additions the longest chain of roundings has: a call in lanes, the calls of a slot, the lanes, the slots.
    pub fn longest_chain(&self, shape: &ConvShape) -> usize {
        let [depth, _, width] = shape.axes();
        let call = saturating_product([self.images, depth.output, self.band.min(self.rows.longest(self.tile.v))]);
        let units = self.units(shape).div_ceil(self.slots.unit_parts);
        // Where vectors would reach beyond an operand, each plane is a call.
        let planes = self.images.max(depth.output);
        let calls = saturating_product([width.output.div_ceil(self.lanes), self.rows.output_classes(), units, planes]);
        [calls, self.lanes, self.slots.unit_parts].into_iter().fold(call.min(shape.terms()), usize::saturating_add)
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        self.slots.count(shape).saturating_mul(self.slot_len(shape))
    }

    /// Elements of a slot.
    pub fn slot_len(&self, shape: &ConvShape) -> usize {
        self.slot_parts(shape).into_iter().fold(self.slots.sums_len(shape), usize::saturating_add)
    }

    /// Elements of a slot's copies of what one call reads, and of its sums in lanes; its sums follow.
    pub fn slot_parts(&self, shape: &ConvShape) -> [usize; 3] {
        let rows = self.band.min(self.rows.longest(self.tile.v));
        let delta = rows.saturating_add(self.tile.v).saturating_mul(self.lanes);
        let input = rows.saturating_mul(self.line_len(self.tile));
        let pairs = shape.group_out_channels().saturating_mul(shape.group_in_channels());
        [delta, input, pairs.saturating_mul(self.sums_of_pair(shape))]
    }

    /// Elements of a row of the input that a tile reads for one block of outputs.
    pub fn line_len(&self, tile: Tile) -> usize {
        self.lanes + tile.n - 1
    }

    /// Elements of a slot's sums in lanes of one output and one input channel: `[kd][tile of taps][N][V][lanes]`.
    pub fn sums_of_pair(&self, shape: &ConvShape) -> usize {
        let tiles = self.tap_tiles_of_plane(shape).div_ceil(self.slots.tap_parts);
        saturating_product([shape.axes()[0].kernel, tiles, self.tile_len()])
    }

    /// Elements of the sums in lanes of a tile.
    pub fn tile_len(&self) -> usize {
        self.tile.v * self.tile.n * self.lanes
    }

    /// How many tiles of taps a plane of the kernel has.
    fn tap_tiles_of_plane(&self, shape: &ConvShape) -> usize {
        self.rows.tiles(self.tile.v).saturating_mul(shape.axes()[2].kernel.div_ceil(self.tile.n))
    }

    /// The tiles of taps of a plane of the kernel, of nearly equal sizes.
    pub fn tap_tiles(&self, shape: &ConvShape) -> impl Iterator<Item = TapTile> + Clone + use<> {
        let (axis, Tile { v, n }) = (self.rows, self.tile);
        let columns = shape.axes()[2].kernel;
        (0..axis.tap_classes()).flat_map(move |class| {
            let rows = axis.taps(class);
            (0..pieces(rows, v)).flat_map(move |i| {
                let rows = piece(rows, v, i);
                let row = class + rows.start * axis.tap_step;
                (0..pieces(columns, n)).map(move |j| {
                    let columns = piece(columns, n, j);
                    TapTile { row, column: columns.start, tile: Tile { v: rows.len(), n: columns.len() } }
                })
            })
        })
    }

    /// The tiles of a part of the taps.
    pub fn tap_tiles_of_part(&self, shape: &ConvShape, part: usize) -> impl Iterator<Item = TapTile> + Clone + use<> {
        let (tiles, parts) = (self.tap_tiles_of_plane(shape), self.slots.tap_parts);
        self.tap_tiles(shape).take(tiles * (part + 1) / parts).skip(tiles * part / parts)
    }

    fn bands(&self) -> usize {
        pieces(self.rows.longest(self.rows.taps(0)), self.band)
    }

    /// Units of a group: some images, or a band of one.
    pub fn units(&self, shape: &ConvShape) -> usize {
        pieces(shape.batch(), self.images) * self.bands()
    }

    /// The images of a unit, and its steps.
    pub fn unit(&self, shape: &ConvShape, index: usize) -> (Range<usize>, Range<usize>) {
        let bands = self.bands();
        let steps = piece(self.rows.longest(self.rows.taps(0)), self.band, index % bands);
        (piece(shape.batch(), self.images, index / bands), steps)
    }
}

/// Cycles beside its steps that a call of the kernel takes, finding its operands included, and a plane of it.
const CALL_CYCLES: f64 = 500.0;
const PLANE_CYCLES: f64 = 20.0;

/// Cycles in which the lanes of a sum are added up.
const TOTAL_CYCLES: f64 = 15.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_counted_as_they_are_listed_and_cover_every_tap_once() {
        let registers = Registers { lanes: 16, count: 32 };
        for text in ["kh3", "kh5", "kh7sh2", "kh3sh2", "kh2sh3", "kh4dh1", "kh5sh2dh1", "kh5sh2dh2", "kh1", "kh31"] {
            let shape: ConvShape = format!("mb2g8ic8ih40iw37oc8{text}kw3sw1dw0pw0").parse().unwrap();
            let plan = SlidePlan::new(&shape, registers).unwrap();
            let tiles = Tile::all().filter(|t| t.n <= 3 && t.v <= plan.rows.taps(0));
            for (tile, parts) in tiles.flat_map(|tile| (1..=3).map(move |parts| (tile, parts))) {
                let slots = Slots { tap_parts: parts, ..plan.slots };
                let plan = SlidePlan { tile, slots, ..plan.clone() };
                let mut computed = vec![0; shape.taps()];
                for TapTile { row, column, tile } in (0..parts).flat_map(|part| plan.tap_tiles_of_part(&shape, part)) {
                    for (v, n) in (0..tile.v).flat_map(|v| (0..tile.n).map(move |n| (v, n))) {
                        computed[(row + v * plan.rows.tap_step) * 3 + column + n] += 1;
                    }
                }
                assert!(computed.iter().all(|&times| times == 1), "{text} {tile:?} in {parts} parts");
                assert_eq!(plan.tap_tiles(&shape).count(), plan.tap_tiles_of_plane(&shape), "{text} {tile:?}");
            }
        }
    }

    #[test]
    fn a_step_is_where_its_output_and_tap_meet() {
        for (input, kernel, stride, dilation, padding) in
            [(9, 3, 1, 1, 1), (10, 3, 2, 1, 0), (11, 2, 2, 2, 3), (12, 3, 3, 1, 2), (17, 4, 4, 6, 9), (15, 3, 1, 4, 4)]
        {
            let output = (input + 2 * padding - ((kernel - 1) * dilation + 1)) / stride + 1;
            let axis = Axis { input, kernel, output, stride, dilation, padding };
            let rows = SlidingAxis::new(axis);
            let mut met = 0;
            for (class, tap) in (0..rows.output_classes()).flat_map(|c| (0..kernel).map(move |k| (c, k))) {
                for step in rows.steps(class, tap, 1) {
                    let output = class + step * rows.output_step;
                    assert!(axis.valid_outputs(tap).contains(&output), "{axis:?} {class} {tap} {step}");
                    let position = rows.input_position(class, tap, step);
                    assert_eq!(position as isize, axis.input_position(output, tap));
                    met += 1;
                }
            }
            assert_eq!(met, (0..kernel).map(|tap| axis.valid_outputs(tap).len()).sum::<usize>(), "{axis:?}");
        }
    }
}
