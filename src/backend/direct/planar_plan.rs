//! How the planar kernel tiles a problem and deals it to tasks: plain data, computed from the shape and the registers.

use super::cut::{CHUNK_BYTES, Cut};
use super::parts;
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::planar::{cycles, fits};
use crate::simd::tile::Tile;

/// Tasks there should be where all threads share a window, for few threads to share them evenly; many threads get smaller ones.
const MIN_TASKS: usize = 16;

/// Tiles of rows a task has at least, if there are as many: those after the first find the lanes' positions in a near cache.
/// With a single one, a layer of 128 to 512 channels at 28x28 took a tenth longer.
const MIN_TASK_TILES: usize = 2;

/// Rows of a task, at most: over the positions of a chunk, 128 KiB of an L2 cache, read again for each tile of lanes.
const MAX_TASK_ROWS: usize = 64;

/// The operand whose channels lie in lanes, and is packed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneOperand {
    /// Then the rows of the result are input channels and taps.
    Delta,
    /// Then they are output channels; for kernels of one tap.
    Input,
}

/// How a problem is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PlanarPlan {
    pub in_lanes: LaneOperand,
    /// Whether the other operand is copied first, between the zeros of its padding.
    pub copies: bool,
    /// Vectors of channels by rows of one register tile.
    pub tile: Tile,
    pub lanes: usize,
    pub lane_tiles: usize,
    /// How positions are cut.
    pub cut: Cut,
    /// Rows of one task where threads are few, a multiple of the tile's, and such tasks of a group.
    pub task_rows: usize,
    pub group_tasks: usize,
}

impl PlanarPlan {
    /// The faster of the plans a problem allows; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> PlanarPlan {
        let of_delta = PlanarPlan::with(LaneOperand::Delta, shape, registers, element);
        if shape.taps() > 1 || of_delta.copies {
            return of_delta;
        }
        let of_input = PlanarPlan::with(LaneOperand::Input, shape, registers, element);
        if of_input.cycles(shape) < of_delta.cycles(shape) { of_input } else { of_delta }
    }

    /// The plan with this operand's channels in lanes, the input's only if a kernel has one tap and there is no padding.
    pub fn with(in_lanes: LaneOperand, shape: &ConvShape, registers: Registers, element: usize) -> PlanarPlan {
        let (channels, rows) = sizes(in_lanes, shape);
        let tile = best_tile(channels, rows, registers);
        let width = tile.v * registers.lanes;
        let lane_tiles = channels.div_ceil(width);
        let copies = shape.axes().iter().any(|axis| axis.padding > 0 || axis.padding_end() > 0);
        let sums = saturating_product([shape.groups(), rows, lane_tiles * width]);
        let window = |outputs| window_elements(shape, lane_tiles * width, copies, outputs);
        let cut = Cut::new(shape, 1, CHUNK_BYTES / (width * element), sums, window);
        let needed = if cut.parts == 1 { MIN_TASKS.div_ceil(shape.groups()) } else { 1 };
        let tasks = needed.max(rows.div_ceil(MAX_TASK_ROWS)).min(rows.div_ceil(MIN_TASK_TILES * tile.n));
        let task_rows = rows.div_ceil(tasks).next_multiple_of(tile.n);
        let tasks = rows.div_ceil(task_rows);
        PlanarPlan { in_lanes, copies, tile, lanes: registers.lanes, lane_tiles, cut, task_rows, group_tasks: tasks }
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let (_, rows) = sizes(self.in_lanes, shape);
        let terms = shape.terms() as f64;
        let lines = if self.walks_planes(shape) { shape.batch() } else { shape.terms() / shape.axes()[2].output };
        let calls = shape.terms().div_ceil(self.cut.chunk) as f64;
        let row_tiles = rows.div_ceil(self.tile.n) as f64;
        let tiles = (shape.groups() * self.lane_tiles) as f64;
        let numbers = row_cycles(self.tile, rows) * terms;
        let multiply = tiles * (numbers + row_tiles * (lines as f64 * LINE_CYCLES + calls * CALL_CYCLES));
        let sums = (self.cut.parts + 1) as f64 * self.sums_len(shape) as f64;
        let packed = shape.groups() as f64 * (self.lane_tiles * self.width()) as f64 * terms;
        let copied = if self.copies {
            (shape.in_channels() * shape.batch()) as f64
                * shape.axes().iter().map(|a| (a.input + a.padding) as f64).product::<f64>()
        } else {
            0.0
        };
        let gathers = self.in_lanes == LaneOperand::Input && shape.axes().iter().any(|axis| axis.stride > 1);
        let packing = if gathers { GATHERING_CYCLES } else { PACKING_CYCLES };
        multiply + packing * packed + COPYING_CYCLES * copied + SUM_CYCLES * sums
    }

    /// Whether the positions of a plane follow each other in both operands.
    fn walks_planes(&self, shape: &ConvShape) -> bool {
        shape.taps() == 1 && (self.in_lanes == LaneOperand::Input || shape.axes().iter().all(|axis| axis.stride == 1))
    }

    /// Elements of scratch, with room for delta's totals.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let sums = self.sums_len(shape).saturating_add(self.totals_len(shape));
        parts::scratch_len(&self.cut, 1, sums, self.panels_len(shape))
    }

    /// Elements packed and copied of the largest window.
    pub fn panels_len(&self, shape: &ConvShape) -> usize {
        let image = window_elements(shape, self.lane_tiles * self.width(), self.copies, self.cut.outputs(shape));
        self.cut.images.saturating_mul(image)
    }

    /// Tasks of the main loop when threads are many: the rows of each part, dealt to the smallest tiles.
    pub fn tasks(&self, shape: &ConvShape) -> usize {
        let (_, rows) = sizes(self.in_lanes, shape);
        saturating_product([self.cut.parts, shape.groups(), rows.div_ceil(self.tile.smallest_share().n)])
    }

    /// Rows of one task where so many threads share the tasks of a part.
    pub fn task_rows(&self, shape: &ConvShape, threads: usize) -> usize {
        match threads {
            _ if threads <= shape.groups() * self.group_tasks => self.task_rows,
            _ if threads <= shape.groups() * self.group_rows() / self.tile.n => self.tile.n,
            _ => self.tile.smallest_share().n,
        }
    }

    /// Rows of sums of a group, those included that fill its last task.
    pub fn group_rows(&self) -> usize {
        self.group_tasks * self.task_rows
    }

    /// Channels of a tile: the width of a position in the packed panel.
    #[inline]
    pub fn width(&self) -> usize {
        self.tile.v * self.lanes
    }

    /// Elements from a row of sums to the next: all lanes of a group; and those of its total, where rows are channels of delta.
    #[inline]
    pub fn pitch(&self) -> usize {
        self.lane_tiles * self.width() + if self.in_lanes == LaneOperand::Input { self.lanes } else { 0 }
    }

    /// Elements of the totals of delta's channels, which are the bias gradient, where these are in lanes.
    pub fn totals_len(&self, shape: &ConvShape) -> usize {
        match self.in_lanes {
            LaneOperand::Delta => saturating_product([shape.groups(), self.lane_tiles, self.width()]),
            LaneOperand::Input => 0,
        }
    }

    /// Elements of one copy of all sums.
    pub fn sums_len(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.groups(), self.group_rows(), self.pitch()])
    }
}

/// Channels in lanes, and rows, of a group.
pub(super) fn sizes(in_lanes: LaneOperand, shape: &ConvShape) -> (usize, usize) {
    let (oc, ic) = (shape.group_out_channels(), shape.group_in_channels());
    match in_lanes {
        LaneOperand::Delta => (oc, ic * shape.taps()),
        LaneOperand::Input => (ic, oc),
    }
}

/// Elements packed and copied of one image with so many outputs.
fn window_elements(shape: &ConvShape, lanes: usize, copies: bool, outputs: [usize; 3]) -> usize {
    let packed = saturating_product([shape.groups(), lanes].into_iter().chain(outputs));
    packed.saturating_add(if copies { copied_elements(shape, outputs) } else { 0 })
}

/// Elements of the input that so many outputs of an image read, padding included.
fn copied_elements(shape: &ConvShape, outputs: [usize; 3]) -> usize {
    let inputs = shape.axes().iter().zip(outputs).map(|(axis, outputs)| copied_len(axis, outputs));
    saturating_product([shape.in_channels()].into_iter().chain(inputs))
}

/// Inputs along an axis that so many outputs read, padding included.
pub(super) fn copied_len(axis: &Axis, outputs: usize) -> usize {
    (outputs - 1).saturating_mul(axis.stride).saturating_add(axis.extent())
}

/// Cycles of one position for all rows, with one tile of lanes.
fn row_cycles(tile: Tile, rows: usize) -> f64 {
    let rest = rows % tile.n;
    let of_rest = if rest == 0 { 0.0 } else { cycles(Tile { n: rest, ..tile }) };
    (rows / tile.n) as f64 * cycles(tile) + of_rest
}

/// The tile that needs the fewest cycles for all channels and rows of a group.
fn best_tile(channels: usize, rows: usize, registers: Registers) -> Tile {
    let total = |tile: &Tile| channels.div_ceil(tile.v * registers.lanes) as f64 * row_cycles(*tile, rows);
    Tile::all()
        .filter(|&tile| tile.n <= rows && fits(tile, registers))
        .min_by(|a, b| total(a).total_cmp(&total(b)))
        .unwrap_or(Tile { v: 1, n: 1 })
}

/// Cycles that an element takes to be packed, where its positions follow each other in memory and where they are gathered
/// first, and to be copied. Transposing takes 0.35 cycles in a near cache, and 1 from memory, which serves 16 strided streams
/// at a third of the rate of one; a strided layer of 256 channels at 56x56 gathered at 1.7.
const PACKING_CYCLES: f64 = 1.0;
const GATHERING_CYCLES: f64 = 2.0;
const COPYING_CYCLES: f64 = 0.5;

/// Cycles beside its positions that a line takes in the kernel, for a slice of each row and the end of the loop; and a call of
/// it. With these and the others here, of 49 layers at batch 8 and 12 of one axis all get the fastest kernel or one within 5 %
/// of it (Zen 5, AVX-512, one thread).
const LINE_CYCLES: f64 = 12.0;
const CALL_CYCLES: f64 = 80.0;

/// Cycles in which a sum is cleared, and written in the end: as in the outer kernel's plan.
const SUM_CYCLES: f64 = 0.5;
