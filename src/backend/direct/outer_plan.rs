//! How the outer kernel tiles a problem and deals it to tasks: plain data, computed from the shape and the registers.

use super::cut::{CHUNK_BYTES, Cut};
use super::parts;
use super::window::AxisWindow;
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::outer::fits;
use crate::simd::tile::Tile;
use crate::simd::{grouped, outer};
use std::ops::Range;

/// Tasks there should be where all threads share a window.
const MIN_TASKS: usize = 64;

/// Tasks up to which the tiles of an output-channel tile are dealt out evenly; beyond, each tile is a task.
const MAX_TASKS: usize = 1024;

/// Bytes of both panels in a chunk of a bundle, all of them vectors: they stay in an L1 cache of 48 KiB while the taps are
/// walked. With 64 KiB, layers of 4 and 8 channels in a group took 7 % longer (Zen 5, AVX-512, one thread).
const GROUPED_CHUNK_BYTES: usize = 32 << 10;

/// Sets of bundles that have panels of their own, at most.
const MAX_SETS: usize = 16;

/// How a problem is cut: plain data, computed from the shape and the registers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OuterPlan {
    /// Groups in a bundle, which share tiles: one, whose output channels lie in lanes; or as many as lanes, one in each.
    pub bundle: usize,
    /// Vectors by input channels of one register tile.
    pub tile: Tile,
    pub lanes: usize,
    /// Tiles of the output channels and of the input channels of a group.
    pub oc_tiles: usize,
    pub ic_tiles: usize,
    /// Bundles whose panels are packed together, and how many such sets there are, each cut for itself: all bundles if their
    /// lanes hold channels, for their images lie together in memory.
    pub set_bundles: usize,
    pub sets: usize,
    /// How positions are cut.
    pub cut: Cut,
    /// Input-channel tiles of one task.
    pub ic_tiles_of_task: usize,
}

impl OuterPlan {
    /// The faster of the plans a problem allows; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> OuterPlan {
        let of_channels = OuterPlan::with(1, shape, registers, element);
        if shape.groups() == 1 || registers.lanes == 1 {
            return of_channels;
        }
        let of_groups = OuterPlan::with(registers.lanes, shape, registers, element);
        if of_groups.cycles(shape) < of_channels.cycles(shape) { of_groups } else { of_channels }
    }

    /// The plan with so many groups in a bundle, one or as many as lanes.
    pub fn with(bundle: usize, shape: &ConvShape, registers: Registers, element: usize) -> OuterPlan {
        let (oc, ic) = (shape.group_out_channels(), shape.group_in_channels());
        let lanes = registers.lanes;
        let tile = best_tile(bundle, oc, ic, registers);
        let width = tile.v * lanes;
        let (oc_tiles, ic_tiles) = (oc.saturating_mul(bundle).div_ceil(width), ic.div_ceil(tile.n));
        let bundles = shape.groups().div_ceil(bundle);
        let set_bundles = if bundle == 1 { bundles } else { bundles.div_ceil(MAX_SETS) };
        let sets = bundles.div_ceil(set_bundles);
        let sums = saturating_product([set_bundles, oc_tiles, ic_tiles, shape.taps(), tile.n, width]);
        let channels = [oc_tiles.saturating_mul(width), saturating_product([ic_tiles, tile.n, bundle])];
        let panel = |outputs| set_bundles.saturating_mul(panel_elements(shape, channels, outputs));
        let chunk = match bundle {
            1 => CHUNK_BYTES / (width * element),
            _ => GROUPED_CHUNK_BYTES / ((width + tile.n * lanes) * element),
        };
        let cut = Cut::new(shape, sets, chunk, sums, panel);
        let mut plan =
            OuterPlan { bundle, tile, lanes, oc_tiles, ic_tiles, set_bundles, sets, cut, ic_tiles_of_task: ic_tiles };
        if plan.cut.parts == 1 {
            let least = MIN_TASKS.div_ceil(bundles * oc_tiles);
            let tasks = (least..=ic_tiles.min(MAX_TASKS)).find(|tasks| ic_tiles % tasks == 0);
            plan.ic_tiles_of_task = tasks.map_or(1, |tasks| ic_tiles / tasks);
        }
        plan
    }

    /// Bundles of groups.
    fn bundles(&self, shape: &ConvShape) -> usize {
        shape.groups().div_ceil(self.bundle)
    }

    /// The bundles of a set.
    pub fn bundles_of_set(&self, shape: &ConvShape, set: usize) -> Range<usize> {
        let first = set * self.set_bundles;
        first..self.bundles(shape).min(first + self.set_bundles)
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let tiles = saturating_product([self.bundles(shape), self.oc_tiles, self.ic_tiles, shape.taps()]) as f64;
        let terms = shape.terms() as f64;
        let rows = terms / shape.axes()[2].output as f64;
        let calls = shape.terms().div_ceil(self.cut.chunk) as f64;
        let multiply = tiles * (terms * cycles(self.bundle, self.tile) + rows * ROW_CYCLES + calls * CALL_CYCLES);
        let sums = self.sets as f64 * self.sums_len(shape) as f64;
        let written = if self.bundle == 1 { SUM_CYCLES } else { SCATTERED_SUM_CYCLES };
        let of_sums = SUM_CYCLES * self.cut.parts as f64 + written;
        let packing = if self.bundle == 1 { PACKING_CYCLES } else { GROUPED_PACKING_CYCLES };
        multiply + packing * self.packed_elements(shape) + of_sums * sums
    }

    /// Elements packed in all windows together, were bands not to share input rows.
    fn packed_elements(&self, shape: &ConvShape) -> f64 {
        let input: f64 = shape.axes().iter().map(|a| a.input as f64).product();
        let delta = self.oc_tiles as f64 * self.width() as f64 * shape.output_positions() as f64;
        let input = self.ic_tiles as f64 * (self.tile.n * self.bundle) as f64 * input;
        shape.batch() as f64 * self.bundles(shape) as f64 * (delta + input)
    }

    /// Elements of scratch, with room for delta's totals.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let sums = self.sums_len(shape).saturating_add(self.totals_len());
        parts::scratch_len(&self.cut, self.sets, sums, self.panels_len(shape))
    }

    /// Elements of both panels of a set's largest window. The input panel has one column more than it
    /// needs, which the kernel may slice but does not read.
    pub fn panels_len(&self, shape: &ConvShape) -> usize {
        let input = saturating_product([self.ic_tiles, self.tile.n, self.bundle]);
        let channels = [self.oc_tiles.saturating_mul(self.width()), input];
        let image = panel_elements(shape, channels, self.cut.outputs(shape));
        let panels = saturating_product([self.cut.images, self.set_bundles, image]);
        let column = saturating_product([self.tile.n, self.bundle, shape.axes()[2].stride]);
        panels.saturating_add(column)
    }

    /// Tasks of the main loop when threads are many: the rows of each tile of each part, dealt to the smallest tiles.
    pub fn tasks(&self, shape: &ConvShape) -> usize {
        let shares = self.tile.n / self.tile.smallest_share().n;
        saturating_product([self.cut.parts, self.bundles(shape), self.oc_tiles, self.ic_tiles, shares])
    }

    /// Input channels, those included that only fill a tile, of one task where so many threads share the tasks of a part.
    pub fn task_rows(&self, threads: usize) -> usize {
        let tiles = self.set_bundles * self.oc_tiles * self.ic_tiles;
        match threads {
            _ if threads <= tiles / self.ic_tiles_of_task => self.ic_tiles_of_task * self.tile.n,
            _ if threads <= tiles => self.tile.n,
            _ => self.tile.smallest_share().n,
        }
    }

    /// Output channels of a tile, of all groups of a bundle: the width of a position in delta's panel.
    #[inline]
    pub fn width(&self) -> usize {
        self.tile.v * self.lanes
    }

    /// Elements of one tile's sums, all taps.
    pub fn tile_len(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.taps(), self.tile.n, self.width()])
    }

    /// Elements of the totals of delta's channels of a set, which are the bias gradient.
    pub fn totals_len(&self) -> usize {
        saturating_product([self.set_bundles, self.oc_tiles, self.width()])
    }

    /// Elements of one copy of the sums of a set.
    pub fn sums_len(&self, shape: &ConvShape) -> usize {
        saturating_product([self.set_bundles, self.oc_tiles, self.ic_tiles, self.tile_len(shape)])
    }
}

/// Upper bound of the elements of both panels of a bundle for one image of so many outputs, with so many channels of delta and
/// of the input.
fn panel_elements(shape: &ConvShape, [oc, ic]: [usize; 2], outputs: [usize; 3]) -> usize {
    let inputs = (0..3).map(|i| AxisWindow::longest(&shape.axes()[i], outputs[i]));
    let delta = saturating_product([oc].into_iter().chain(outputs));
    let input = saturating_product([ic].into_iter().chain(inputs));
    delta.saturating_add(input)
}

/// The tile that needs the fewest cycles for all channels of a bundle.
fn best_tile(bundle: usize, oc: usize, ic: usize, registers: Registers) -> Tile {
    let tiles = |tile: &Tile| oc.saturating_mul(bundle).div_ceil(tile.v * registers.lanes) * ic.div_ceil(tile.n);
    let total = |tile: &Tile| tiles(tile) as f64 * cycles(bundle, *tile);
    Tile::all()
        .filter(|&tile| fits(tile, registers))
        .min_by(|a, b| total(a).total_cmp(&total(b)))
        .unwrap_or(Tile { v: 1, n: 1 })
}

/// Cycles of one position, with so many groups in a bundle.
fn cycles(bundle: usize, tile: Tile) -> f64 {
    if bundle == 1 { outer::cycles(tile) } else { grouped::cycles(tile) }
}

/// Cycles that packing an element takes.
const PACKING_CYCLES: f64 = 1.0;

/// The same for a bundle, packed a set at a time: 0.6 where operands lie in the L2 cache, 0.9 beyond (Zen 5, AVX-512).
const GROUPED_PACKING_CYCLES: f64 = 0.8;

/// Cycles beside its positions that a row takes in the kernel, and a call of it.
const ROW_CYCLES: f64 = 8.0;
const CALL_CYCLES: f64 = 80.0;

/// Cycles in which a sum is cleared, and written in the end.
const SUM_CYCLES: f64 = 0.5;

/// Cycles in which a sum is written whose neighbours are of other groups.
const SCATTERED_SUM_CYCLES: f64 = 4.0;
