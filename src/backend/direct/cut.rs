//! How positions are cut: windows that are packed, chunks that stay in cache, parts that run in parallel.
//!
//! All of it is plain data, computed from the shape and the registers alone. The number of threads has no part in it,
//! which is why the result's bits do not depend on them.

use super::window::{AxisWindow, piece, pieces};
use crate::shape::ConvShape;
use std::ops::Range;

/// Elements both panels of a part's window should have together, 768 KiB of f32: panels are written and then read
/// again, and so stay in an L2 cache of 1 MiB. At least one image or band of outputs is taken.
const PART_WINDOW_ELEMENTS: usize = 192 << 10;

/// Fewest elements worth a window of its own.
const MIN_WINDOW_ELEMENTS: usize = 16 << 10;

/// Parts that the windows are dealt to, so that a few threads share them evenly without waiting for each other. Fewer, if
/// there is not room for the sums of so many, are a power of two as well: two threads took a quarter longer for 5 parts
/// than for one window shared by both, and 2 to 4 % less for 4, 8 and 10.
pub(super) const PARTS: usize = 16;

/// Parts of all sets of channels together, where there are several sets: each has panels.
const MAX_SET_PARTS: usize = 2 * PARTS;

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
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// How the positions of a problem are cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    /// Images of one window; 1 when images are cut into bands.
    pub images: usize,
    /// The axis along which an image is cut, and the outputs of a band.
    pub band_axis: usize,
    pub band: usize,
    /// Positions a chunk should have.
    pub chunk: usize,
    /// Parts with sums and panels of their own, each over its share of the windows; 1 when all threads share a window.
    pub parts: usize,
}

impl Cut {
    /// The cut of each of the `sets` of channels of a problem, whose chunks are to have so many positions, whose panels have
    /// `panel(outputs)` elements for one image of so many outputs, and whose sums have `sums` elements.
    pub fn new(shape: &ConvShape, sets: usize, chunk: usize, sums: usize, panel: impl Fn([usize; 3]) -> usize) -> Cut {
        let chunk = chunk.max(1);
        let mut cut = Cut { images: shape.batch(), band_axis: 0, band: shape.axes()[0].output, chunk, parts: 1 };
        let all = shape.batch().saturating_mul(panel(cut.outputs(shape)));
        cut.cut_into_windows(shape, &panel, (all / PARTS).clamp(MIN_WINDOW_ELEMENTS, PART_WINDOW_ELEMENTS));
        let worth = (shape.terms() / MIN_PART_POSITIONS).min(MAX_PART_ELEMENTS / sums.saturating_mul(sets));
        let most = PARTS.min(MAX_SET_PARTS / sets).min(cut.windows(shape));
        cut.parts = power_of_two_within(most.min(worth));
        if cut.parts * sets < MIN_PARTS {
            cut.cut_into_windows(shape, &panel, SHARED_WINDOW_ELEMENTS);
            cut.parts = 1;
        }
        cut.parts = cut.parts.max(1);
        cut
    }

    /// Cuts the batch, and images if need be, into windows of about so many elements.
    fn cut_into_windows(&mut self, shape: &ConvShape, panel: &impl Fn([usize; 3]) -> usize, elements: usize) {
        let axes = shape.axes();
        let all = axes.map(|axis| axis.output);
        let image = panel(all);
        (self.band_axis, self.band) = (0, all[0]);
        if image <= elements {
            let windows = pieces(shape.batch(), elements / image.max(1));
            self.images = shape.batch().div_ceil(windows);
            return;
        }
        // The outermost axis of which there is room for as many outputs as the kernel has taps, for lines that are cut are
        // packed in pieces; or the longest.
        let least = |i: usize| std::array::from_fn(|j| if j == i { axes[j].kernel.min(all[j]) } else { all[j] });
        let has_room = |&i: &usize| all[i] > 1 && panel(least(i)) <= elements;
        let longest = (0..3).rev().max_by_key(|&i| all[i]).unwrap_or(0);
        self.images = 1;
        self.band_axis = (0..3).find(has_room).unwrap_or(longest);
        let outputs = all[self.band_axis];
        self.band = outputs.div_ceil(image.div_ceil(elements).min(outputs));
    }

    /// Outputs of an image in the largest window.
    pub fn outputs(&self, shape: &ConvShape) -> [usize; 3] {
        std::array::from_fn(|i| if i == self.band_axis { self.band } else { shape.axes()[i].output })
    }

    /// Additions the longest chain of roundings has: a chunk in registers, then all chunks of a part, then the parts.
    pub fn longest_chain(&self, shape: &ConvShape) -> usize {
        // No window is larger than the first, and none of fewer positions has more chunks.
        let chunks_of_window = Chunks::new(self.chunk, &self.window(shape, 0)).count();
        let chunks = self.windows(shape).div_ceil(self.parts) * chunks_of_window;
        self.chunk.min(shape.terms()) + chunks + self.parts
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

/// The greatest power of two that is not above a number; 0 for 0.
fn power_of_two_within(number: usize) -> usize {
    number.checked_ilog2().map_or(0, |log| 1 << log)
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
    /// The chunks of a window, of about `positions` each.
    pub fn new(positions: usize, window: &'w Window) -> Chunks<'w> {
        let [depth, height, width] = window.axes.each_ref().map(|a| a.outputs.len());
        // Planes are walked in one call when they follow each other: images if flat, else depths of one image.
        let planes = |rows: usize| if rows == height { (positions / (height * width)).max(1) } else { 1 };
        let columns = positions.min(width);
        let rows = if columns == width { (positions / width).clamp(1, height) } else { 1 };
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
