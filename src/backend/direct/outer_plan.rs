//! How the outer kernel tiles a problem and deals it to tasks: plain data, computed from the shape and the registers.

use super::cut::Cut;
use super::parts;
use super::window::AxisWindow;
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::outer::{cycles, fits};
use crate::simd::tile::Tile;

/// Tasks there should be where all threads share a window.
const MIN_TASKS: usize = 64;

/// Tasks up to which the tiles of an output-channel tile are dealt out evenly; beyond, each tile is a task.
const MAX_TASKS: usize = 1024;

/// How a problem is cut: plain data, computed from the shape and the registers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OuterPlan {
    /// Vectors of output channels by input channels of one register tile.
    pub tile: Tile,
    pub lanes: usize,
    pub oc_tiles: usize,
    pub ic_tiles: usize,
    /// How positions are cut.
    pub cut: Cut,
    /// Input-channel tiles of one task.
    pub ic_tiles_of_task: usize,
}

impl OuterPlan {
    /// The plan of a problem; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> OuterPlan {
        let (oc, ic) = (shape.group_out_channels(), shape.group_in_channels());
        let tile = best_tile(oc, ic, registers);
        let lanes = registers.lanes;
        let width = tile.v * lanes;
        let (oc_tiles, ic_tiles) = (oc.div_ceil(width), ic.div_ceil(tile.n));
        let sums = saturating_product([shape.groups(), oc_tiles, ic_tiles, shape.taps(), tile.n, width]);
        let panel = |outputs| panel_elements(shape, [oc_tiles * width, ic_tiles * tile.n], outputs);
        let cut = Cut::new(shape, width * element, sums, panel);
        let mut plan = OuterPlan { tile, lanes, oc_tiles, ic_tiles, cut, ic_tiles_of_task: ic_tiles };
        if plan.cut.parts == 1 {
            let least = MIN_TASKS.div_ceil(shape.groups() * oc_tiles);
            let tasks = (least..=ic_tiles.min(MAX_TASKS)).find(|tasks| ic_tiles % tasks == 0);
            plan.ic_tiles_of_task = tasks.map_or(1, |tasks| ic_tiles / tasks);
        }
        plan
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let tiles = saturating_product([shape.groups(), self.oc_tiles, self.ic_tiles, shape.taps()]) as f64;
        let terms = shape.terms() as f64;
        let rows = terms / shape.axes()[2].output as f64;
        let calls = shape.terms().div_ceil(self.cut.chunk) as f64;
        let multiply = tiles * (terms * cycles(self.tile) + rows * ROW_CYCLES + calls * CALL_CYCLES);
        let sums = self.cut.parts as f64 * self.sums_len(shape) as f64;
        multiply + PACKING_CYCLES * self.packed_elements(shape) + SUM_CYCLES * (sums + self.sums_len(shape) as f64)
    }

    /// Elements packed in all windows together, were bands not to share input rows.
    fn packed_elements(&self, shape: &ConvShape) -> f64 {
        let input: f64 = shape.axes().iter().map(|a| a.input as f64).product();
        let delta = (self.oc_tiles * self.width()) as f64 * shape.output_positions() as f64;
        shape.batch() as f64 * shape.groups() as f64 * (delta + (self.ic_tiles * self.tile.n) as f64 * input)
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        parts::scratch_len(&self.cut, self.sums_len(shape), self.panels_len(shape))
    }

    /// Elements of both panels of the largest window. The input panel has one column more than it
    /// needs, which the kernel may slice but does not read.
    pub fn panels_len(&self, shape: &ConvShape) -> usize {
        let channels = [self.oc_tiles * self.width(), self.ic_tiles * self.tile.n];
        let panels = self.cut.images.saturating_mul(panel_elements(shape, channels, self.cut.outputs(shape)));
        let column = saturating_product([self.tile.n, shape.axes()[2].stride]);
        panels.saturating_add(column)
    }

    /// Tasks of the main loop when threads are many: the rows of each tile of each part, dealt to the smallest tiles.
    pub fn tasks(&self, shape: &ConvShape) -> usize {
        let shares = self.tile.n / self.tile.smallest_share().n;
        saturating_product([self.cut.parts, shape.groups(), self.oc_tiles, self.ic_tiles, shares])
    }

    /// Input channels, those included that only fill a tile, of one task where so many threads share the tasks of a part.
    pub fn task_rows(&self, shape: &ConvShape, threads: usize) -> usize {
        let tiles = shape.groups() * self.oc_tiles * self.ic_tiles;
        match threads {
            _ if threads <= tiles / self.ic_tiles_of_task => self.ic_tiles_of_task * self.tile.n,
            _ if threads <= tiles => self.tile.n,
            _ => self.tile.smallest_share().n,
        }
    }

    /// Output channels of a tile: the width of a position in delta's panel.
    #[inline]
    pub fn width(&self) -> usize {
        self.tile.v * self.lanes
    }

    /// Elements of one tile's sums, all taps.
    pub fn tile_len(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.taps(), self.tile.n, self.width()])
    }

    /// Elements of one copy of all sums.
    pub fn sums_len(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.groups(), self.oc_tiles, self.ic_tiles, self.tile_len(shape)])
    }
}

/// Upper bound of the elements of both panels for one image of so many outputs, with so many channels of delta and of the
/// input in each group.
fn panel_elements(shape: &ConvShape, [oc, ic]: [usize; 2], outputs: [usize; 3]) -> usize {
    let inputs = (0..3).map(|i| AxisWindow::longest(&shape.axes()[i], outputs[i]));
    let delta = saturating_product([oc].into_iter().chain(outputs));
    let input = saturating_product([ic].into_iter().chain(inputs));
    shape.groups().saturating_mul(delta.saturating_add(input))
}

/// The tile that needs the fewest cycles for all channels of a group.
fn best_tile(oc: usize, ic: usize, registers: Registers) -> Tile {
    let total = |tile: &Tile| (oc.div_ceil(tile.v * registers.lanes) * ic.div_ceil(tile.n)) as f64 * cycles(*tile);
    Tile::all()
        .filter(|&tile| fits(tile, registers))
        .min_by(|a, b| total(a).total_cmp(&total(b)))
        .unwrap_or(Tile { v: 1, n: 1 })
}

/// Cycles that packing an element takes.
const PACKING_CYCLES: f64 = 1.0;

/// Cycles beside its positions that a row takes in the kernel, and a call of it.
const ROW_CYCLES: f64 = 8.0;
const CALL_CYCLES: f64 = 80.0;

/// Cycles in which a sum is cleared, and written in the end.
const SUM_CYCLES: f64 = 0.5;
