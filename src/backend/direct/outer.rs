//! The outer-product kernel over a whole problem: output channels in lanes, input channels broadcast.
//!
//! ```text
//! for window of images and outputs:                       so many that their panels stay below a budget
//!     pack delta into [oc tile][position][V lanes], input into [ic tile][position][N]
//!     for (part, oc tile, ic tile) in parallel:
//!         for chunk of positions of this part:            so many that delta's stay in the L1 cache
//!             for tap:
//!                 sums[part, oc tile, ic tile, tap] += outer products over the chunk's positions
//! merge the parts in their order; write the sums into the gradient
//! ```
//!
//! 1. A tap only shifts where the input panel is read, so one packed copy serves all taps: no unfolding.
//! 2. Padding is not packed and not multiplied: each tap walks the outputs for which it meets the input.
//! 3. Tiles own their sums, so threads need no reduction. Only where tiles are few are the positions cut into parts
//!    with sums of their own.
//! 4. Windows, chunks and parts depend on the shape and the instruction set, not on the threads: the bits are the same
//!    on any number of them.

use super::outer_plan::{Chunks, OuterPlan, Window};
use super::pack::{Positions, pack};
use super::window::AxisWindow;
use super::write::{Sums, write};
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk, join, merge_copies};
use crate::problem::WeightGradient;
use crate::shape::ConvShape;
use crate::simd::outer::{OuterTile, Walk};
use crate::simd::tile::for_tile;
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use std::ops::Range;

/// Computes a problem by its plan.
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &OuterPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update } = problem;
    let (sums, panels) = scratch.split_at_mut(plan.parts * plan.sums_len(shape));
    sums.fill(T::Acc::default());
    for index in 0..plan.windows(shape) {
        let window = plan.window(shape, index);
        let delta_len = shape.groups() * plan.oc_tiles * plan.width() * window.delta_positions() * window.images.len();
        let (delta_panel, input_panel) = panels.split_at_mut(delta_len);
        let elements = (delta_panel.len() + input_panel.len()) as f64;
        join(
            elements * ELEMENT_FLOPS,
            || pack_delta(shape, plan, isa, &window, &delta, delta_panel),
            || pack_input(shape, plan, isa, &window, &input, input_panel),
        );
        let panel = |data, lens, width| Panel { data, images: window.images.len(), lens, width };
        let delta = panel(&*delta_panel, window.axes.each_ref().map(|a| a.outputs.len()), plan.width());
        let input = panel(&*input_panel, window.axes.each_ref().map(|a| a.len), plan.tile.n);
        PackedWindow { shape, plan, isa, window: &window, delta, input }.add_to(sums);
    }
    merge_copies(sums, plan.sums_len(shape));
    let sums = TileSums { shape, plan, sums: &sums[..plan.sums_len(shape)] };
    write(isa, shape, &sums, gradient, update);
}

/// Fills delta's panel: `[group][oc tile][image][position][V lanes]`.
fn pack_delta<T: Element>(
    shape: &ConvShape,
    plan: &OuterPlan,
    isa: Isa,
    window: &Window,
    delta: &View<'_, T>,
    panel: &mut [T::Acc],
) {
    let positions = window.axes.each_ref().map(|a| Positions { first: a.outputs.start, step: 1, len: a.outputs.len() });
    let tiling = Tiling { channels: shape.group_out_channels(), tiles: plan.oc_tiles, width: plan.width() };
    pack_tiles(isa, window, delta, tiling, positions, panel);
}

/// Fills the input's panel: `[group][ic tile][image][position][N]`.
fn pack_input<T: Element>(
    shape: &ConvShape,
    plan: &OuterPlan,
    isa: Isa,
    window: &Window,
    input: &View<'_, T>,
    panel: &mut [T::Acc],
) {
    let positions = window.axes.each_ref().map(|a| Positions { first: a.first, step: a.step, len: a.len });
    let tiling = Tiling { channels: shape.group_in_channels(), tiles: plan.ic_tiles, width: plan.tile.n };
    let len = shape.groups() * plan.ic_tiles * plan.tile.n * window.input_positions() * window.images.len();
    pack_tiles(isa, window, input, tiling, positions, &mut panel[..len]);
}

/// How a group's channels are dealt to tiles.
#[derive(Clone, Copy)]
struct Tiling {
    channels: usize,
    tiles: usize,
    width: usize,
}

/// Packs one image of one tile at a time, in parallel.
fn pack_tiles<T: Element>(
    isa: Isa,
    window: &Window,
    source: &View<'_, T>,
    tiling: Tiling,
    positions: [Positions; 3],
    panel: &mut [T::Acc],
) {
    let Tiling { channels, tiles, width } = tiling;
    let image_len = width * positions.iter().map(|p| p.len).product::<usize>();
    // Outputs that read nothing but padding have no input to pack.
    if image_len == 0 {
        return;
    }
    for_each_chunk(panel, image_len, panel.len() as f64 * ELEMENT_FLOPS, |index, panel| {
        let (tile, image) = (index / window.images.len(), index % window.images.len());
        let (group, tile) = (tile / tiles, tile % tiles);
        let first = tile * width;
        let last = channels.min(first + width);
        let channels = group * channels + first..group * channels + last;
        pack(isa, source, window.images.start + image, channels, positions, width, panel);
    });
}

/// A packed operand of a window: `[tile][image][position][width]`.
#[derive(Clone, Copy)]
struct Panel<'a, A> {
    data: &'a [A],
    images: usize,
    /// Positions along depth, height, width.
    lens: [usize; 3],
    width: usize,
}

impl<'a, A> Panel<'a, A> {
    /// The panel from a position of a tile's image on.
    fn from(&self, tile: usize, image: usize, [depth, row, column]: [usize; 3]) -> &'a [A] {
        let [depths, rows, columns] = self.lens;
        let position = (((tile * self.images + image) * depths + depth) * rows + row) * columns + column;
        &self.data[position * self.width..]
    }

    /// Elements from an image, a depth, a row, a column to the next.
    fn pitches(&self) -> [usize; 4] {
        let [depths, rows, columns] = self.lens;
        [depths * rows * columns, rows * columns, columns, 1].map(|positions| positions * self.width)
    }
}

/// A packed window, ready to be multiplied.
struct PackedWindow<'a, A> {
    shape: &'a ConvShape,
    plan: &'a OuterPlan,
    isa: Isa,
    window: &'a Window,
    delta: Panel<'a, A>,
    input: Panel<'a, A>,
}

impl<A: Lane> PackedWindow<'_, A> {
    /// Adds the outer products of all positions to all sums: `[part][group][oc tile][ic tile][N][tap][V lanes]`.
    fn add_to(&self, sums: &mut [A]) {
        let PackedWindow { shape, plan, window, .. } = self;
        let chunks = Chunks::new(plan, window);
        let flops = shape.flops() * (window.images.len() * window.delta_positions()) as f64 / shape.terms() as f64;
        let tiles_of_part = shape.groups() * plan.oc_tiles * plan.ic_tiles;
        let tile_len = plan.tile_len(shape);
        for_each_chunk(sums, plan.ic_tiles_of_task * tile_len, flops, |task, sums| {
            let first_tile = task * plan.ic_tiles_of_task;
            let part = first_tile / tiles_of_part;
            for index in piece_of_part(chunks.count(), part, plan.parts) {
                let chunk = chunks.get(index);
                for (i, sums) in sums.chunks_exact_mut(tile_len).enumerate() {
                    let tile = (first_tile + i) % tiles_of_part;
                    // Tiles of both operands count through all groups.
                    let delta_tile = tile / plan.ic_tiles;
                    let input_tile = delta_tile / plan.oc_tiles * plan.ic_tiles + tile % plan.ic_tiles;
                    self.add_chunk(&chunk, delta_tile, input_tile, sums);
                }
            }
        });
    }

    /// Adds the outer products of one chunk of positions to the sums of one tile, tap by tap.
    fn add_chunk(&self, chunk: &[Range<usize>; 4], delta_tile: usize, input_tile: usize, sums: &mut [A]) {
        let PackedWindow { shape, plan, isa, window, delta, input } = self;
        let [images, outputs @ ..] = chunk;
        let image = images.start - window.images.start;
        let [delta_image, delta_depth, delta_row, _] = delta.pitches();
        let [input_image, input_depth, input_row, input_column] = input.pitches();
        let [depth, height, width] = &window.axes;
        let taps = shape.axes().map(|a| a.kernel);
        let pitch = shape.taps() * plan.width();
        let mut tap = 0..shape.taps();
        for kd in 0..taps[0] {
            let depths = Overlap::new(depth, &outputs[0], kd);
            for kh in 0..taps[1] {
                let rows = Overlap::new(height, &outputs[1], kh);
                for (kw, tap) in (0..taps[2]).zip(&mut tap) {
                    let columns = Overlap::new(width, &outputs[2], kw);
                    if depths.len == 0 || rows.len == 0 || columns.len == 0 {
                        continue;
                    }
                    let (planes, delta_plane, input_plane) = if window.is_flat {
                        (images.len(), delta_image, input_image)
                    } else {
                        (depths.len, delta_depth, depth.stride() * input_depth)
                    };
                    let walk = Walk {
                        planes,
                        rows: rows.len,
                        columns: columns.len,
                        delta_plane,
                        delta_row,
                        input_plane,
                        input_row: height.stride() * input_row,
                        input_column: width.stride() * input_column,
                    };
                    let walk = walk.merged(plan.width());
                    let delta = delta.from(delta_tile, image, [depths.delta, rows.delta, columns.delta]);
                    let input = input.from(input_tile, image, [depths.input, rows.input, columns.input]);
                    let sums = &mut sums[tap * plan.width()..];
                    for_tile!(plan.tile, isa.run(OuterTile::<A, V, N> { delta, input, walk, sums, pitch }));
                }
            }
        }
    }
}

/// The outputs of a chunk for which a tap meets the input, along one axis.
struct Overlap {
    len: usize,
    /// The first of them in delta's panel, and the position it meets in the input's.
    delta: usize,
    input: usize,
}

impl Overlap {
    #[inline(always)]
    fn new(axis: &AxisWindow, outputs: &Range<usize>, tap: usize) -> Overlap {
        let valid = axis.valid(outputs, tap);
        if valid.is_empty() {
            return Overlap { len: 0, delta: 0, input: 0 };
        }
        Overlap { len: valid.len(), delta: valid.start - axis.outputs.start, input: axis.packed(valid.start, tap) }
    }
}

/// The chunks of one part.
fn piece_of_part(chunks: usize, part: usize, parts: usize) -> Range<usize> {
    chunks * part / parts..chunks * (part + 1) / parts
}

/// The merged sums, `[group][oc tile][ic tile][N][tap][V lanes]`: a block is an output tile.
struct TileSums<'a, A> {
    shape: &'a ConvShape,
    plan: &'a OuterPlan,
    sums: &'a [A],
}

impl<A: Sync> Sums<A> for TileSums<'_, A> {
    fn blocks(&self) -> usize {
        self.shape.groups() * self.plan.oc_tiles
    }

    fn channels(&self, block: usize) -> Range<usize> {
        let group = block / self.plan.oc_tiles * self.shape.group_out_channels();
        let first = block % self.plan.oc_tiles * self.plan.width();
        group + first..group + self.shape.group_out_channels().min(first + self.plan.width())
    }

    fn at(&self, block: usize, ic: usize, tap: usize) -> &[A] {
        let row = (block * self.plan.ic_tiles * self.plan.tile.n + ic) * self.shape.taps() + tap;
        &self.sums[row * self.plan.width()..][..self.channels(block).len()]
    }
}
