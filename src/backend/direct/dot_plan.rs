//! How the dot kernel lays a problem flat, and how it cuts it: plain data, computed from the shape and the registers.

use super::slots::Slots;
use super::window::{piece, pieces};
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::dot::{cycles, fits};
use crate::simd::tile::Tile;
use std::ops::Range;

/// Output positions a unit should have, for its packed planes to stay in an L2 cache with one channel or a few.
const UNIT_POSITIONS: usize = 32 << 10;

/// Elements a unit's packed planes should have, all channels together; but at least twice as many rows as the kernel
/// has, or neighbouring units would pack most rows twice.
const UNIT_ELEMENTS: usize = 256 << 10;

/// Elements of a stream multiplied at a time, so that the streams of all tiles pass through the L1 cache together.
pub(super) const SEGMENT: usize = 2048;

/// Output channels of a group from which on they fill a tile without the help of shifted rows.
const ENOUGH_OUT_CHANNELS: usize = 3;

/// One axis of the flat layout.
///
/// Output `o` and tap `k` meet at padded input position `o * stride + k * dilation`, which is position
/// `o + k * dilation / stride` of the phase `k * dilation % stride`: within a phase, a tap is a shift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PhasedAxis {
    pub axis: Axis,
    /// Outputs of a unit, at most.
    pub outputs: usize,
    /// Phases that taps meet.
    pub phases: usize,
    /// Positions of a phase: the outputs and the greatest shift.
    pub len: usize,
}

impl PhasedAxis {
    fn new(axis: Axis, outputs: usize) -> PhasedAxis {
        let phases = axis.stride / axis.common_step();
        let len = outputs + (axis.kernel - 1) * axis.dilation / axis.stride;
        PhasedAxis { axis, outputs, phases: phases.min(axis.kernel), len }
    }

    /// The phase of a tap and its shift.
    #[inline]
    pub fn phase_and_shift(&self, tap: usize) -> (usize, usize) {
        match self.axis.stride {
            1 => (0, tap * self.axis.dilation),
            stride => (tap % self.phases, tap * self.axis.dilation / stride),
        }
    }

    /// What the positions of a phase hold, for a unit of so many outputs from `output` on.
    #[inline]
    pub fn source(&self, phase: usize, output: usize, outputs: usize) -> PhaseSource {
        let Axis { kernel, stride, dilation, input, .. } = self.axis;
        let first = self.axis.input_position(output, 0) + (phase * dilation % stride).cast_signed();
        let last_tap = phase + (kernel - 1 - phase) / self.phases * self.phases;
        let met = outputs + last_tap * dilation / stride;
        let begin = if first < 0 { first.unsigned_abs().div_ceil(stride) } else { 0 };
        let end = (input.cast_signed() - first).max(0).unsigned_abs().div_ceil(stride).min(met);
        PhaseSource { first, stride, range: begin.min(end)..end }
    }
}

/// Input position `first + x * stride`, for `x` of the range, is position `x` of a phase; all others are zeros. The
/// range holds only what some output meets.
#[derive(Debug, Clone)]
pub(super) struct PhaseSource {
    first: isize,
    stride: usize,
    pub range: Range<usize>,
}

impl PhaseSource {
    /// The input position of the first position that is not zero.
    #[inline]
    pub fn begin(&self) -> usize {
        self.first.wrapping_add_unsigned(self.range.start * self.stride).cast_unsigned()
    }
}

/// How a problem is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DotPlan {
    /// Streams of delta by streams of the input of one register tile.
    pub tile: Tile,
    pub lanes: usize,
    pub axes: [PhasedAxis; 3],
    /// Whether rows of taps are shifts of delta instead of the input.
    pub shifts_rows: bool,
    pub band_axis: usize,
    pub slots: Slots,
}

impl DotPlan {
    /// The plan of a problem.
    pub fn new(shape: &ConvShape, registers: Registers) -> DotPlan {
        let axes = shape.axes();
        let band_axis = (0..3).rev().max_by_key(|&i| axes[i].output).unwrap_or(0);
        let others = shape.output_positions() / axes[band_axis].output;
        let channels = shape.group_out_channels() + shape.group_in_channels();
        let positions = UNIT_POSITIONS.min(UNIT_ELEMENTS / channels);
        let least = (2 * axes[band_axis].kernel).min(axes[band_axis].output);
        let wanted = Slots::wanted(shape).div_ceil(shape.groups()).div_ceil(shape.batch());
        let band = (positions / others).min(axes[band_axis].output / wanted).max(least);
        let bands = pieces(axes[band_axis].output, band);
        let outputs = |i: usize| if i == band_axis { axes[i].output.div_ceil(bands) } else { axes[i].output };
        let shifts_rows = axes[1].stride == 1 && axes[1].kernel > 1 && shape.group_out_channels() < ENOUGH_OUT_CHANNELS;
        let mut plan = DotPlan {
            tile: Tile { v: 1, n: 1 },
            lanes: registers.lanes,
            axes: [0, 1, 2].map(|i| PhasedAxis::new(axes[i], outputs(i))),
            shifts_rows,
            band_axis,
            slots: Slots::new(shape, shape.batch() * bands),
        };
        let total = |tile: &Tile| DotPlan { tile: *tile, ..plan.clone() }.cycles(shape);
        let [delta_streams, input_streams] = [plan.delta_streams(shape), plan.input_streams(shape)];
        let tiles = Tile::all().filter(|t| fits(*t, registers) && t.v <= delta_streams && t.n <= input_streams);
        plan.tile = tiles.min_by(|a, b| total(a).total_cmp(&total(b))).unwrap_or(plan.tile);
        plan
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let [ocs, ics] = [shape.group_out_channels() as f64, shape.group_in_channels() as f64];
        let [steps, segments] = [self.lanes, SEGMENT].map(|len| self.stream_len().div_ceil(len) as f64);
        let cached = (ocs + ics) * SEGMENT.min(self.stream_len()) as f64 <= CACHED_ELEMENTS;
        let misses = if !cached {
            2.0
        } else if segments > MANY_SEGMENTS {
            1.1
        } else {
            1.0
        };
        let multiply = self.tiles(shape) as f64 * (steps * cycles(self.tile) * misses + segments * CALL_CYCLES);
        let lines = (ocs + ics) * (self.phase_len() / self.axes[2].len) as f64;
        let pack = ocs * self.delta_len() as f64 + ics * self.input_len() as f64 + lines * LINE_CYCLES;
        let units = shape.groups() as f64 * self.units(shape) as f64;
        units * (multiply + pack + UNIT_CYCLES)
            + TOTAL_CYCLES * self.slots.unit_parts as f64 * shape.weights_len() as f64
    }

    /// Additions the longest chain of roundings has: a segment in lanes, the segments and units of a slot, the lanes,
    /// the slots.
    pub fn longest_chain(&self, shape: &ConvShape) -> usize {
        let segments = self.stream_len().div_ceil(SEGMENT);
        let units = self.units(shape).div_ceil(self.slots.unit_parts);
        SEGMENT.min(self.stream_len()) / self.lanes + segments * units + self.lanes + self.slots.unit_parts
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        self.slots.count(shape).saturating_mul(self.slot_len(shape))
    }

    /// Elements of a slot.
    pub fn slot_len(&self, shape: &ConvShape) -> usize {
        self.slot_parts(shape).into_iter().fold(self.slots.sums_len(shape), usize::saturating_add)
    }

    /// Elements of a slot's packed delta, its packed input and its sums in lanes; its sums follow.
    pub fn slot_parts(&self, shape: &ConvShape) -> [usize; 3] {
        let delta = shape.group_out_channels().saturating_mul(self.delta_len());
        let input = shape.group_in_channels().saturating_mul(self.input_len()).saturating_add(self.lanes);
        let lane_sums = saturating_product([self.tiles(shape), self.tile.v, self.tile.n, self.lanes]);
        [delta, input, lane_sums]
    }

    /// Elements from a row, and from a plane, to the next.
    #[inline]
    pub fn pitches(&self) -> [usize; 2] {
        [self.axes[2].len, self.axes[1].len.saturating_mul(self.axes[2].len)]
    }

    /// Elements by which a row of taps shifts delta.
    #[inline]
    pub fn row_shift(&self) -> usize {
        self.axes[1].axis.dilation.saturating_mul(self.pitches()[0])
    }

    /// Zeros before each channel of delta: the greatest shift within a tile.
    #[inline]
    pub fn lead(&self) -> usize {
        if self.shifts_rows { self.row_shift().saturating_mul(self.tile.v - 1) } else { 0 }
    }

    /// Elements of a stream: from the first output to the last one, shifted the most, in whole vectors.
    #[inline]
    pub fn stream_len(&self) -> usize {
        let [row, plane] = self.pitches();
        let [depths, rows, columns] = self.axes.map(|a| a.outputs);
        let grid = plane.saturating_mul(depths - 1).saturating_add(row.saturating_mul(rows - 1));
        let len = grid.saturating_add(columns).saturating_add(self.lead());
        len.div_ceil(self.lanes).saturating_mul(self.lanes)
    }

    /// Elements of one channel of packed delta.
    #[inline]
    pub fn delta_len(&self) -> usize {
        self.lead().saturating_add(self.stream_len())
    }

    /// Elements of one phase of a channel of the packed input.
    #[inline]
    pub fn phase_len(&self) -> usize {
        saturating_product(self.axes.map(|a| a.len))
    }

    /// Elements of one channel of the packed input, all phases.
    #[inline]
    pub fn input_len(&self) -> usize {
        saturating_product(self.axes.map(|a| a.phases)).saturating_mul(self.phase_len())
    }

    /// Streams of delta that a tile chooses from: rows of taps, all of one output channel, or output channels.
    #[inline]
    pub fn delta_streams(&self, shape: &ConvShape) -> usize {
        if self.shifts_rows { shape.axes()[1].kernel } else { shape.group_out_channels() }
    }

    /// Output channels whose streams do not share tiles.
    #[inline]
    pub fn separate_channels(&self, shape: &ConvShape) -> usize {
        if self.shifts_rows { shape.group_out_channels() } else { 1 }
    }

    /// Streams of the input: input channels, each with all taps but those that are shifts of delta.
    #[inline]
    pub fn input_streams(&self, shape: &ConvShape) -> usize {
        let taps = shape.taps() / if self.shifts_rows { shape.axes()[1].kernel } else { 1 };
        shape.group_in_channels() * taps
    }

    fn tiles(&self, shape: &ConvShape) -> usize {
        let delta_tiles = self.delta_streams(shape).div_ceil(self.tile.v);
        self.separate_channels(shape) * delta_tiles * self.input_streams(shape).div_ceil(self.tile.n)
    }

    #[inline]
    fn bands(&self) -> usize {
        pieces(self.axes[self.band_axis].axis.output, self.axes[self.band_axis].outputs)
    }

    /// Units of a group: images, each cut into bands.
    pub fn units(&self, shape: &ConvShape) -> usize {
        shape.batch() * self.bands()
    }

    /// Image and output ranges of a unit.
    #[inline]
    pub fn unit(&self, index: usize) -> (usize, [Range<usize>; 3]) {
        let bands = self.bands();
        let range = |i: usize| {
            let PhasedAxis { axis, outputs, .. } = self.axes[i];
            if i == self.band_axis { piece(axis.output, outputs, index % bands) } else { 0..axis.output }
        };
        (index / bands, [range(0), range(1), range(2)])
    }
}

/// Elements of a segment of all channels that still come from the L2 cache (1 MiB of f32, with room to spare).
const CACHED_ELEMENTS: f64 = 131072.0;

/// Segments of a stream beyond which steps take a tenth longer: kernels of 21 to 31 on images of 512, beside those of 64.
const MANY_SEGMENTS: f64 = 8.0;

/// Cycles beside its steps that a call of the kernel takes, finding its streams included.
const CALL_CYCLES: f64 = 80.0;

/// Cycles beside all others that a unit takes: 256 of them, of 4x4 outputs each, took 130 microseconds.
const UNIT_CYCLES: f64 = 1000.0;

/// Cycles that packing a line takes beside its elements.
const LINE_CYCLES: f64 = 25.0;

/// Cycles in which the lanes of an entry are added up and written.
const TOTAL_CYCLES: f64 = 20.0;
