//! How the outer kernel cuts a problem: windows that are packed, chunks that stay in cache, parts that run in parallel.
//!
//! All of it is plain data, computed from the shape and the registers alone. The number of threads has no part in it,
//! which is why the result's bits do not depend on them.

use super::window::{AxisWindow, piece, pieces};
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::outer::{cycles, fits};
use crate::simd::tile::Tile;
use std::ops::Range;

/// Elements both panels of a part's window should have together, 768 KiB of f32: panels are written and then read
/// again, and so stay in an L2 cache of 1 MiB. At least one image or band of outputs is taken.
const PART_WINDOW_ELEMENTS: usize = 192 << 10;

/// Fewest elements worth a window of its own.
const MIN_WINDOW_ELEMENTS: usize = 16 << 10;

/// Parts that the windows are dealt to, so that a few threads share them evenly without waiting for each other.
const PARTS: usize = 16;

/// Fewest positions worth copies of the sums: clearing and merging a copy takes a cycle or two for each sum, adding a
/// position to it a thirty-second of one.
const MIN_PART_POSITIONS: usize = 512;

/// Fewest parts worth copies of the sums.
const MIN_PARTS: usize = 4;

/// Elements all copies of the sums may have: they are cleared and added up once, in cache.
const MAX_PART_ELEMENTS: usize = 640 << 10;

/// Elements both panels should have, 8 MiB of f32, where all threads share a window: fewer windows mean fewer passes
/// over the sums and fewer waits for the slowest thread, and still panels come from the last-level cache.
const SHARED_WINDOW_ELEMENTS: usize = 2 << 20;

/// Bytes of delta in a chunk, which is read again for each tap and input tile: a little more than an L1 cache of 48 KiB,
/// for the L2 cache feeds the kernel as well, and every call of it has a price.
///
/// 14, 28, 40, 60, 100 thousand bytes gave 151, 182, 191, 191, 194 GFLOP/s on a 3x3 layer of 64 channels at 56x56, and
/// 87, 107, 110, 114, 117 on a 1x1 one (Zen 5, one thread). On two threads, 64 KiB instead of 48 raised three 3x3 layers
/// from 76, 83, 76 to 78, 87, 80 % of the peak. With more, chains of roundings grow.
const CHUNK_BYTES: usize = 64 << 10;

/// Tasks there should be where all threads share a window.
const MIN_TASKS: usize = 32;

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
    /// Images of one window; 1 when images are cut into bands.
    pub images: usize,
    /// The axis along which an image is cut, and the outputs of a band.
    pub band_axis: usize,
    pub band: usize,
    /// Positions a chunk should have.
    pub chunk: usize,
    /// Parts with sums and panels of their own, each over its share of the windows; 1 when all threads share a window.
    pub parts: usize,
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
        let axes = shape.axes();
        // The longest axis, the outermost of equals.
        let band_axis = (0..3).rev().max_by_key(|&i| axes[i].output).unwrap_or(0);
        let mut plan = OuterPlan {
            tile,
            lanes,
            oc_tiles,
            ic_tiles,
            images: shape.batch(),
            band_axis,
            band: axes[band_axis].output,
            chunk: (CHUNK_BYTES / (width * element)).max(1),
            parts: 1,
            ic_tiles_of_task: 1,
        };
        let all = plan.panel_elements(shape, shape.batch());
        plan.cut_into_windows(shape, (all / PARTS).clamp(MIN_WINDOW_ELEMENTS, PART_WINDOW_ELEMENTS));
        plan.parts = PARTS.min(plan.windows(shape)).min(shape.terms() / MIN_PART_POSITIONS);
        plan.ic_tiles_of_task = ic_tiles;
        if plan.parts < MIN_PARTS || plan.parts.saturating_mul(plan.sums_len(shape)) > MAX_PART_ELEMENTS {
            plan.cut_into_windows(shape, SHARED_WINDOW_ELEMENTS);
            plan.parts = 1;
            let least = MIN_TASKS.div_ceil(shape.groups() * oc_tiles);
            let tasks = (least..=ic_tiles.min(MAX_TASKS)).find(|tasks| ic_tiles % tasks == 0);
            plan.ic_tiles_of_task = tasks.map_or(1, |tasks| ic_tiles / tasks);
        }
        plan
    }

    /// Cuts the batch, and images if need be, into windows of about so many elements.
    fn cut_into_windows(&mut self, shape: &ConvShape, elements: usize) {
        let outputs = shape.axes()[self.band_axis].output;
        self.band = outputs;
        let image = self.panel_elements(shape, 1);
        if image <= elements {
            let windows = pieces(shape.batch(), elements / image);
            self.images = shape.batch().div_ceil(windows);
        } else {
            self.images = 1;
            self.band = outputs.div_ceil(image.div_ceil(elements).min(outputs));
        }
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let tiles = saturating_product([shape.groups(), self.oc_tiles, self.ic_tiles, shape.taps()]) as f64;
        let terms = shape.terms() as f64;
        let rows = terms / shape.axes()[2].output as f64;
        let calls = shape.terms().div_ceil(self.chunk) as f64;
        let multiply = tiles * (terms * cycles(self.tile) + rows * ROW_CYCLES + calls * CALL_CYCLES);
        let sums = self.parts as f64 * self.sums_len(shape) as f64;
        multiply + PACKING_CYCLES * self.packed_elements(shape) + SUM_CYCLES * (sums + self.sums_len(shape) as f64)
    }

    /// Elements packed in all windows together, were bands not to share input rows.
    fn packed_elements(&self, shape: &ConvShape) -> f64 {
        let input: f64 = shape.axes().iter().map(|a| a.input as f64).product();
        let delta = (self.oc_tiles * self.width()) as f64 * shape.output_positions() as f64;
        shape.batch() as f64 * shape.groups() as f64 * (delta + (self.ic_tiles * self.tile.n) as f64 * input)
    }

    /// Additions the longest chain of roundings has: a chunk in registers, then all chunks of a part, then the parts.
    pub fn longest_chain(&self, shape: &ConvShape) -> usize {
        // No window is larger than the first, and none of fewer positions has more chunks.
        let chunks_of_window = Chunks::new(self, &self.window(shape, 0)).count();
        let chunks = self.windows(shape).div_ceil(self.parts) * chunks_of_window;
        self.chunk.min(shape.terms()) + chunks + self.parts
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        self.parts.saturating_mul(self.part_len(shape))
    }

    /// Elements of a part: its sums, then both panels of its largest window.
    pub fn part_len(&self, shape: &ConvShape) -> usize {
        self.sums_len(shape).saturating_add(self.panel_elements(shape, self.images))
    }

    /// Work to be split within a part: none where the parts are what is split.
    pub fn work_within_part(&self, work: f64) -> f64 {
        if self.parts > 1 { 0.0 } else { work }
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

    /// Upper bound of the elements of both panels for a window of so many images. The input panel has one column more
    /// than it needs, which the kernel may slice but does not read.
    fn panel_elements(&self, shape: &ConvShape, images: usize) -> usize {
        let axes = shape.axes();
        let outputs: [usize; 3] = std::array::from_fn(|i| if i == self.band_axis { self.band } else { axes[i].output });
        let inputs = saturating_product((0..3).map(|i| AxisWindow::longest(&axes[i], outputs[i])));
        let delta = saturating_product([self.oc_tiles, self.width()].into_iter().chain(outputs));
        let input = saturating_product([self.ic_tiles, self.tile.n, inputs]);
        let panels = saturating_product([shape.groups(), images, delta.saturating_add(input)]);
        panels.saturating_add(saturating_product([self.tile.n, axes[2].stride]))
    }

    /// Windows of the problem.
    pub fn windows(&self, shape: &ConvShape) -> usize {
        pieces(shape.batch(), self.images) * pieces(shape.axes()[self.band_axis].output, self.band)
    }

    /// The windows of a part; there are at least as many windows as parts.
    pub fn windows_of_part(&self, shape: &ConvShape, part: usize) -> Range<usize> {
        let windows = self.windows(shape);
        windows * part / self.parts..windows * (part + 1) / self.parts
    }

    /// The `index`-th window.
    pub fn window(&self, shape: &ConvShape, index: usize) -> Window {
        let axes = shape.axes();
        let bands = pieces(axes[self.band_axis].output, self.band);
        let axis = |i: usize| {
            let all = axes[i].output;
            let outputs = if i == self.band_axis { piece(all, self.band, index % bands) } else { 0..all };
            AxisWindow::new(axes[i], outputs)
        };
        let is_flat = axes[0].output == 1 && axes[0].kernel == 1;
        Window { images: piece(shape.batch(), self.images, index / bands), axes: [axis(0), axis(1), axis(2)], is_flat }
    }
}

/// The tile that needs the fewest cycles for all channels of a group.
fn best_tile(oc: usize, ic: usize, registers: Registers) -> Tile {
    let total = |tile: &Tile| (oc.div_ceil(tile.v * registers.lanes) * ic.div_ceil(tile.n)) as f64 * cycles(*tile);
    Tile::all()
        .filter(|&tile| fits(tile, registers))
        .min_by(|a, b| total(a).total_cmp(&total(b)))
        .unwrap_or(Tile { v: 1, n: 1 })
}

/// What is packed at a time.
#[derive(Debug)]
pub(super) struct Window {
    pub images: Range<usize>,
    pub axes: [AxisWindow; 3],
    /// Whether an image is a single plane, so that the planes a kernel call walks are images.
    pub is_flat: bool,
}

impl Window {
    /// Positions of one image in delta's panel.
    pub fn delta_positions(&self) -> usize {
        self.axes.iter().map(|a| a.outputs.len()).product()
    }
}

/// The boxes of positions a window is walked in.
pub(super) struct Chunks<'w> {
    window: &'w Window,
    /// Longest piece along image, depth, height and width.
    longest: [usize; 4],
}

impl<'w> Chunks<'w> {
    /// The chunks of a window.
    pub fn new(plan: &OuterPlan, window: &'w Window) -> Chunks<'w> {
        let [depth, height, width] = window.axes.each_ref().map(|a| a.outputs.len());
        // Planes are walked in one call when they follow each other: images if flat, else depths of one image.
        let planes = |rows: usize| if rows == height { (plan.chunk / (height * width)).max(1) } else { 1 };
        let columns = plan.chunk.min(width);
        let rows = if columns == width { (plan.chunk / width).clamp(1, height) } else { 1 };
        let longest =
            if window.is_flat { [planes(rows), 1, rows, columns] } else { [1, planes(rows).min(depth), rows, columns] };
        Chunks { window, longest }
    }

    #[inline]
    fn lens(&self) -> [usize; 4] {
        let [depth, height, width] = self.window.axes.each_ref().map(|a| a.outputs.len());
        [self.window.images.len(), depth, height, width]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lens().into_iter().zip(self.longest).map(|(len, longest)| pieces(len, longest)).product()
    }

    /// Ranges of images and outputs of the `index`-th chunk.
    pub fn get(&self, mut index: usize) -> [Range<usize>; 4] {
        let starts = [self.window.images.start, 0, 0, 0];
        let lens = self.lens();
        let mut chunk = [0, 1, 2, 3].map(|_| 0..0);
        for i in (0..4).rev() {
            let count = pieces(lens[i], self.longest[i]);
            let start = if i == 0 { starts[0] } else { self.window.axes[i - 1].outputs.start };
            let range = piece(lens[i], self.longest[i], index % count);
            chunk[i] = start + range.start..start + range.end;
            index /= count;
        }
        chunk
    }
}

/// Cycles that packing an element takes.
const PACKING_CYCLES: f64 = 1.0;

/// Cycles beside its positions that a row takes in the kernel, and a call of it.
const ROW_CYCLES: f64 = 8.0;
const CALL_CYCLES: f64 = 80.0;

/// Cycles in which a sum is cleared, and written in the end.
const SUM_CYCLES: f64 = 0.5;
