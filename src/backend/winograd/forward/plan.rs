//! How a forward pass is cut into chunks of tiles, passes over them and panels of weights: plain data, computed from the shape
//! and the registers.

use super::super::plan::{MAP_OPERATIONS, TileSize};
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::tile::Tile;
use crate::simd::winograd::forward::{PARTIAL, WIDTH};
use std::fmt;
use std::ops::Range;

/// Tiles of a chunk, at most. The sums of 64 tiles at all points, 295 KB of f32 for 32 channels, stay in an L2 cache until they
/// become outputs; one point's numbers and weights meet in the L1 cache.
const CHUNK: usize = 64;

/// Bytes of transformed tiles, and of transformed weights, that there are at a time, roughly: both stay in an L3 cache.
const PASS_BYTES: usize = 10 << 20;
const PANEL_BYTES: usize = 10 << 20;

/// Parts the products of a pass are dealt to, at most, and the floating point operations a part should have.
const MAX_TASKS: usize = 16;
const TASK_FLOPS: f64 = 1e7;

/// A range along images, rows and columns: of chunks, or of tiles.
pub(super) type Box3 = [Range<usize>; 3];

/// How a forward pass is cut.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct ForwardPlan {
    pub size: TileSize,
    /// The register tile of the products: vectors of output channels by tiles.
    pub tile: Tile,
    /// Output channels of a block, and such blocks in a group.
    pub oc_width: usize,
    pub oc_blocks: usize,
    /// Blocks of [`WIDTH`] input channels in a group.
    pub ic_blocks: usize,
    /// Images, and tiles along height and width.
    pub tiles: [usize; 3],
    /// Of a chunk: whole images, whole rows of one, or tiles of one row.
    pub chunk: [usize; 3],
    /// Chunks of a pass, along each of these.
    pub pass: [usize; 3],
    /// Blocks of output channels, of all groups, whose weights are transformed at a time.
    pub panel: usize,
    /// Parts that may be computed at the same time.
    pub tasks: usize,
}

impl ForwardPlan {
    /// The plan of a shape that is supported; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> ForwardPlan {
        let [four, two] =
            [TileSize::Four, TileSize::Two].map(|size| ForwardPlan::with(size, shape, registers, element));
        if four.operations(shape) <= two.operations(shape) { four } else { two }
    }

    /// The plan with tiles of a given size.
    pub fn with(size: TileSize, shape: &ConvShape, registers: Registers, element: usize) -> ForwardPlan {
        let [_, height, width] = shape.axes();
        let tiles = [shape.batch(), height.output.div_ceil(size.outputs()), width.output.div_ceil(size.outputs())];
        let (oc, ic) = (shape.group_out_channels(), shape.group_in_channels());
        let tile = register_tile(oc, registers);
        let oc_width = tile.v * registers.lanes;
        let mut plan = ForwardPlan {
            size,
            tile,
            oc_width,
            oc_blocks: oc.div_ceil(oc_width),
            ic_blocks: ic.div_ceil(WIDTH),
            tiles,
            chunk: filled(tiles, CHUNK),
            pass: [1; 3],
            panel: 1,
            tasks: ((shape.flops() / TASK_FLOPS) as usize).clamp(1, MAX_TASKS),
        };
        plan.pass = filled(plan.grid(), (PASS_BYTES / plan.chunk_len(shape).saturating_mul(element).max(1)).max(1));
        let block_bytes = plan.weights_block_len(shape).saturating_mul(element).max(1);
        plan.panel = even(plan.all_blocks(shape), (PANEL_BYTES / block_bytes).max(1));
        plan
    }

    /// Chunks along images, rows and columns.
    pub fn grid(&self) -> [usize; 3] {
        [0, 1, 2].map(|axis| self.tiles[axis].div_ceil(self.chunk[axis]))
    }

    /// The passes, as boxes of chunks.
    pub fn passes(&self) -> impl Iterator<Item = Box3> + use<> {
        let (grid, pass) = (self.grid(), self.pass);
        let along = move |axis: usize| {
            (0..grid[axis]).step_by(pass[axis]).map(move |first| first..grid[axis].min(first + pass[axis]))
        };
        along(0).flat_map(move |images| {
            along(1).flat_map(move |rows| {
                let images = images.clone();
                along(2).map(move |columns| [images.clone(), rows.clone(), columns])
            })
        })
    }

    /// The tiles of a box of chunks.
    pub fn tiles_of(&self, chunks: &Box3) -> Box3 {
        let along = |axis: usize| {
            chunks[axis].start * self.chunk[axis]..self.tiles[axis].min(chunks[axis].end * self.chunk[axis])
        };
        [along(0), along(1), along(2)]
    }

    /// The chunks that some tiles belong to.
    pub fn chunks_of(&self, tiles: &Box3) -> Box3 {
        [0, 1, 2].map(|axis| tiles[axis].start / self.chunk[axis]..tiles[axis].end.div_ceil(self.chunk[axis]))
    }

    /// Tiles of a whole chunk.
    pub fn chunk_tiles(&self) -> usize {
        self.chunk.iter().product()
    }

    /// Tiles from a point to the next in a chunk: an odd number, so that a tile's points do not all share a set of a cache.
    pub fn pitch(&self) -> usize {
        self.chunk_tiles() | 1
    }

    /// Channels from a point to the next in a block of weights: an odd number for the same reason.
    pub fn weights_pitch(&self, shape: &ConvShape) -> usize {
        shape.group_in_channels() | 1
    }

    /// Blocks of output channels of all groups.
    pub fn all_blocks(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.groups(), self.oc_blocks])
    }

    /// The first channel of a block of output channels, counted through all groups.
    pub fn first_channel(&self, shape: &ConvShape, block: usize) -> usize {
        block / self.oc_blocks * shape.group_out_channels() + block % self.oc_blocks * self.oc_width
    }

    /// Elements of a chunk's tiles in one block of input channels.
    pub fn tiles_block_len(&self) -> usize {
        saturating_product([self.size.points(), self.pitch(), WIDTH])
    }

    /// Elements of a chunk's tiles.
    pub fn chunk_len(&self, shape: &ConvShape) -> usize {
        saturating_product([self.tiles_block_len(), shape.groups(), self.ic_blocks])
    }

    /// Elements of the weights of a block of output channels.
    pub fn weights_block_len(&self, shape: &ConvShape) -> usize {
        saturating_product([self.size.points(), self.weights_pitch(shape), self.oc_width])
    }

    /// Elements a task computes in: the sums of a chunk at all points, the outputs of one of its images, and the bias.
    pub fn task_lens(&self) -> [usize; 3] {
        let sums = saturating_product([self.size.points(), self.pitch(), self.oc_width]);
        let outputs = self.size.outputs() * self.size.outputs();
        [sums, self.chunk[1] * self.chunk[2] * outputs * self.oc_width, self.oc_width]
    }

    /// Elements of the transformed tiles of a pass, of the transformed weights of a panel, and of all tasks.
    pub fn lens(&self, shape: &ConvShape) -> [usize; 3] {
        let pass = self.pass.iter().product::<usize>();
        let task = self.task_lens().iter().sum::<usize>();
        [
            self.chunk_len(shape).saturating_mul(pass),
            self.weights_block_len(shape).saturating_mul(self.panel),
            task.saturating_mul(self.tasks),
        ]
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        self.lens(shape).into_iter().fold(0, usize::saturating_add)
    }

    /// How often weights are transformed: again in each pass, unless one panel holds them all.
    fn weight_transforms(&self, shape: &ConvShape) -> f64 {
        if self.panel == self.all_blocks(shape) { 1.0 } else { self.passes().count() as f64 }
    }

    /// Multiply-adds of vectors, all in all: the products, the maps of tiles, weights and outputs.
    fn operations(&self, shape: &ConvShape) -> f64 {
        let points = self.size.points() as f64;
        let tiles = self.tiles.iter().map(|&count| count as f64).product::<f64>();
        let ics = shape.group_in_channels() as f64;
        let lanes = self.oc_width / self.tile.v;
        let oc_vectors = (self.oc_blocks * self.tile.v) as f64;
        let ic_vectors = (self.ic_blocks * WIDTH) as f64 / lanes as f64;
        let maps = tiles * (ic_vectors + oc_vectors) + 2.0 * self.weight_transforms(shape) * ics * oc_vectors;
        shape.groups() as f64 * points * (tiles * ics * oc_vectors + MAP_OPERATIONS * maps)
    }

    /// Floating point operations, on idle lanes too.
    pub fn flops(&self, shape: &ConvShape) -> f64 {
        2.0 * self.operations(shape) * (self.oc_width / self.tile.v) as f64
    }

    /// Elements read and written: the operands, and transforms twice each.
    pub fn elements(&self, shape: &ConvShape) -> f64 {
        let chunks = self.grid().iter().map(|&count| count as f64).product::<f64>();
        let inputs = (shape.batch() * shape.in_channels()) as f64
            * shape.axes().map(|axis| axis.input as f64).iter().product::<f64>();
        let outputs = (shape.terms() * shape.out_channels()) as f64;
        let blocks = self.all_blocks(shape) as f64;
        let weights = self.weight_transforms(shape)
            * (shape.weights_len() as f64 + 2.0 * blocks * self.weights_block_len(shape) as f64);
        inputs + outputs + 2.0 * chunks * self.chunk_len(shape) as f64 + weights
    }

    /// See [`Backend::typical_error`](crate::backend::Backend::typical_error). Errors grow with the sums in registers: on uniform
    /// numbers tiles of four had 9.9 roundings with 33 channels, 12.8 with 64 and 13.4 with 256 or 512, and tiles of two 2.5 with
    /// 16, 4.3 with 64 and 4.6 with 512.
    pub fn typical_error(&self, shape: &ConvShape) -> f64 {
        let sums = (PARTIAL.min(shape.group_in_channels()) as f64).sqrt();
        match self.size {
            TileSize::Two => 0.6 * sums,
            TileSize::Four => 1.7 * sums,
        }
    }

    /// The constant of the error bound; see [`Winograd`](super::super::Winograd).
    pub fn error_bound(&self, shape: &ConvShape, unit_roundoff: f64) -> f64 {
        // A map of tiles is two multiply-adds deep. One of weights is a product with a rounded coefficient, a multiply-add and an
        // addition, one of outputs an addition and two multiply-adds; a multiply-add rounds once or twice. All have two axes. The
        // product rounds once, and so does adding the bias.
        let maps = 2 * (4 + 5 + 5);
        let ics = shape.group_in_channels();
        let roundings = (1 + maps + PARTIAL.min(ics) + ics.div_ceil(PARTIAL) + 1) as f64;
        self.size.forward_amplification().powi(2) * roundings / (1.0 - roundings * unit_roundoff).max(0.0)
    }
}

/// The largest box of at most `limit` cells that is filled from the last axis on, an axis being cut only where those behind it
/// are whole. Cuts are even.
fn filled(lens: [usize; 3], limit: usize) -> [usize; 3] {
    let columns = even(lens[2], limit);
    let rows = if columns < lens[2] { 1 } else { even(lens[1], limit / columns) };
    let is_whole = columns == lens[2] && rows == lens[1];
    let images = if is_whole { even(lens[0], limit / columns / rows) } else { 1 };
    [images, rows, columns]
}

/// Parts of at most `limit` of `len`, as even as they can be.
fn even(len: usize, limit: usize) -> usize {
    len.div_ceil(len.div_ceil(limit.max(1)))
}

/// The register tile: sixteen sums where there are registers enough, twelve in sixteen registers.
fn register_tile(oc: usize, registers: Registers) -> Tile {
    let sums = if registers.count > 16 { 16 } else { 12 };
    let v = if oc > registers.lanes { 2 } else { 1 };
    Tile { v, n: sums / v }
}

/// In one line.
impl fmt::Display for ForwardPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs = self.size.outputs();
        let Tile { v, n } = self.tile;
        let lanes = self.oc_width / v;
        write!(
            f,
            "F({outputs}x{outputs},3x3), {}x{} tiles an image, {v}x{n}, {lanes} lanes",
            self.tiles[1], self.tiles[2]
        )?;
        write!(f, ", chunks of {} tiles, {} a pass", self.chunk_tiles(), self.pass.iter().product::<usize>())?;
        write!(f, ", {} output channels a panel", self.panel * self.oc_width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::positions;

    const AVX512: Registers = Registers { lanes: 16, count: 32 };
    const AVX2: Registers = Registers { lanes: 8, count: 16 };
    const SCALAR: Registers = Registers { lanes: 1, count: 16 };

    const SHAPES: [&str; 8] = [
        "mb8ic64ih56oc64oh56kh3ph1",
        "mb8ic512ih7oc512oh7kh3ph1",
        "mb8ic512ih28oc512oh28kh3ph1",
        "mb64ic64ih224oc64oh224kh3ph1",
        "mb1ic16iw30000ih3oc16ow29998oh1kh3",
        "mb8g16ic256ih14oc256oh14kh3ph1",
        "mb1ic8ih3oc8oh1kh3",
        "mb2ic2048ih7oc2048oh7kh3ph1",
    ];

    #[test]
    fn telling_shapes_get_the_tiles_made_for_them() {
        for (shape, size, tiles, chunk) in [
            ("mb8ic64ih56oc64oh56kh3ph1", TileSize::Four, [8, 14, 14], [1, 4, 14]),
            ("mb8ic512ih7oc512oh7kh3ph1", TileSize::Four, [8, 2, 2], [8, 2, 2]),
            // Images are whole in a chunk, or rows are, and they are cut evenly.
            ("mb8ic16ih28oc16oh28kh3ph1", TileSize::Four, [8, 7, 7], [1, 7, 7]),
            ("mb1ic16iw520ih4oc16ow520oh4kh3ph1", TileSize::Four, [1, 1, 130], [1, 1, 44]),
            // A tile of two wastes nothing here, and takes 16 products where a tile of four takes 36.
            ("mb32ic64ih4oc64oh2kh3", TileSize::Two, [32, 1, 1], [32, 1, 1]),
        ] {
            let plan = ForwardPlan::new(&shape.parse().unwrap(), AVX512, 4);
            assert_eq!((plan.size, plan.tiles, plan.chunk), (size, tiles, chunk), "{shape}");
        }
    }

    #[test]
    fn passes_hold_every_tile_once_and_scratch_is_bounded() {
        for text in SHAPES {
            let shape: ConvShape = text.parse().unwrap();
            for (registers, element) in [(AVX512, 4), (AVX2, 4), (AVX2, 8), (SCALAR, 8)] {
                let plan = ForwardPlan::new(&shape, registers, element);
                let mut seen = vec![0; plan.tiles.iter().product()];
                for pass in plan.passes() {
                    assert!((0..3).all(|axis| pass[axis].len() <= plan.pass[axis]), "{text}: {plan}");
                    for [image, row, column] in positions(plan.tiles_of(&pass)) {
                        seen[(image * plan.tiles[1] + row) * plan.tiles[2] + column] += 1;
                    }
                }
                assert!(seen.iter().all(|&times| times == 1), "{text}: {plan}");
                assert!(plan.chunk_tiles() <= CHUNK, "{text}: {plan}");
                let [tiles, weights, _] = plan.lens(&shape).map(|len| len * element);
                // As many chunks, or blocks of channels, as fit, and at least one.
                assert!(tiles <= PASS_BYTES.max(plan.chunk_len(&shape) * element), "{text}: {tiles}");
                assert!(weights <= PANEL_BYTES.max(plan.weights_block_len(&shape) * element), "{text}: {weights}");
            }
        }
    }

    #[test]
    fn blocks_begin_where_their_channels_do() {
        let shape: ConvShape = "mb2g3ic48ih22iw13oc120kh3ph1".parse().unwrap();
        let plan = ForwardPlan::new(&shape, AVX512, 4);
        let firsts: Vec<_> = (0..=plan.all_blocks(&shape)).map(|block| plan.first_channel(&shape, block)).collect();
        assert_eq!(firsts, [0, 32, 40, 72, 80, 112, 120]);
    }
}
