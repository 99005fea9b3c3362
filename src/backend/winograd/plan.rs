//! How a problem is cut into tiles, blocks of channels and passes: plain data, computed from the shape and the registers.

use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::tile::Tile;
use crate::simd::toom::{Four, Scheme, Two};
use crate::simd::winograd::{PARTIAL, TAPS};
use std::fmt;

/// Tiles of a chunk, or so many whole rows of tiles as come near to it: the numbers of its points, and of the channels of a
/// register tile, fit an L1 cache.
const CHUNK: usize = 64;

/// Tiles whose sums are turned into the gradient at a time. Delta's numbers of 128 tiles, 590 KB of f32 for 32 channels, stay
/// in an L2 cache while they meet those of all input channels.
const BLOCK: usize = 128;

/// Bytes of transformed operands that there are at a time, roughly. They should leave room for the operands in an L3 cache:
/// 64 to 64 channels of 224x224 in a batch of 8 took 79 ms with 4 MiB and 88 with 8; of 56x56, half as long again with 32 as
/// with 4 (Zen 5, 32 MiB of L3).
const PASS_BYTES: usize = 4 << 20;

/// Tasks there should be.
const MIN_TASKS: usize = 64;

/// How many outputs a tile has along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TileSize {
    Two,
    Four,
}

impl TileSize {
    pub fn outputs(self) -> usize {
        match self {
            TileSize::Two => Two::OUTPUTS,
            TileSize::Four => Four::OUTPUTS,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            TileSize::Two => "2x2",
            TileSize::Four => "4x4",
        }
    }

    pub fn forward_name(self) -> &'static str {
        match self {
            TileSize::Two => "forward 2x2",
            TileSize::Four => "forward 4x4",
        }
    }

    /// Points along both axes.
    pub fn points(self) -> usize {
        match self {
            TileSize::Two => Two::POINTS * Two::POINTS,
            TileSize::Four => Four::POINTS * Four::POINTS,
        }
    }

    /// See [`Backend::typical_error`](super::super::Backend::typical_error). Partial sums keep it from growing with the number
    /// of tiles: on uniform numbers, tiles of four had 7.8 roundings with 392 terms, 9.4 with 1568 and 9.1 with 25088.
    pub fn typical_error(self) -> f64 {
        match self {
            TileSize::Two => 4.0,
            TileSize::Four => 9.5,
        }
    }

    /// See [`Scheme::FORWARD_AMPLIFICATION`].
    pub fn forward_amplification(self) -> f64 {
        match self {
            TileSize::Two => Two::FORWARD_AMPLIFICATION,
            TileSize::Four => Four::FORWARD_AMPLIFICATION,
        }
    }

    /// See [`Scheme::AMPLIFICATION`].
    fn amplification(self) -> f64 {
        match self {
            TileSize::Two => Two::AMPLIFICATION,
            TileSize::Four => Four::AMPLIFICATION,
        }
    }
}

/// The tiles along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AxisTiles {
    /// Outputs that meet the input at all, whatever the tap.
    pub first: usize,
    pub end: usize,
    pub count: usize,
}

impl AxisTiles {
    fn new(axis: &Axis, size: TileSize) -> AxisTiles {
        // The last tap meets the input first, and the first one last.
        let first = axis.valid_outputs(TAPS - 1).start;
        let end = axis.valid_outputs(0).end.max(first);
        AxisTiles { first, end, count: (end - first).div_ceil(size.outputs()) }
    }
}

/// How a problem is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub size: TileSize,
    /// Tiles along height and width.
    pub axes: [AxisTiles; 2],
    /// The register tile of the products: vectors of output channels by input channels.
    pub tile: Tile,
    /// Output channels, and input channels, that are transformed side by side.
    pub oc_width: usize,
    pub ic_width: usize,
    /// Blocks of so many channels in a group.
    pub oc_blocks: usize,
    pub ic_blocks: usize,
    /// Register tiles of input channels in a group, and in a task.
    pub ic_tiles: usize,
    pub ic_tiles_of_task: usize,
    /// Rows of tiles in a chunk, or the pieces a row is cut into, and the tiles of such a piece.
    pub rows: usize,
    pub pieces: usize,
    pub columns: usize,
    /// Chunks of the whole problem, of a pass, of a block.
    pub chunks: usize,
    pub pass: usize,
    pub block: usize,
}

impl Plan {
    /// The plan of a problem that is supported; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> Plan {
        let [four, two] = [TileSize::Four, TileSize::Two].map(|size| Plan::with(size, shape, registers, element));
        if four.cycles(shape) <= two.cycles(shape) { four } else { two }
    }

    /// The plan with tiles of a given size.
    pub fn with(size: TileSize, shape: &ConvShape, registers: Registers, element: usize) -> Plan {
        let [_, height, width] = shape.axes();
        let axes = [height, width].map(|axis| AxisTiles::new(axis, size));
        let (oc, ic) = (shape.group_out_channels(), shape.group_in_channels());
        let tile = register_tile(oc, registers);
        let (oc_width, ic_width) = (tile.v * registers.lanes, least_common_multiple(registers.lanes, tile.n));
        let (oc_blocks, ic_blocks) = (oc.div_ceil(oc_width), ic.div_ceil(ic_width));
        let ic_tiles = ic.div_ceil(tile.n);
        let least = MIN_TASKS.div_ceil(shape.groups() * oc_blocks);
        let tasks = (least..ic_tiles).find(|tasks| ic_tiles.is_multiple_of(*tasks)).unwrap_or(ic_tiles);

        let tiles_of_row = axes[1].count.max(1);
        let all_rows = shape.batch() * axes[0].count;
        let pieces = tiles_of_row.div_ceil(CHUNK);
        let columns = tiles_of_row.div_ceil(pieces);
        let rows = if pieces > 1 { 1 } else { (CHUNK / columns).clamp(1, all_rows.max(1)) };
        let chunks = if axes[1].count == 0 { 0 } else { all_rows.div_ceil(rows) * pieces };
        let block = (BLOCK / (rows * columns)).max(1);
        let mut plan = Plan {
            size,
            axes,
            tile,
            oc_width,
            ic_width,
            oc_blocks,
            ic_blocks,
            ic_tiles,
            ic_tiles_of_task: ic_tiles / tasks,
            rows,
            pieces,
            columns,
            chunks,
            pass: 1,
            block,
        };
        let chunk_bytes = plan.operand_lens(shape).iter().sum::<usize>().saturating_mul(element);
        // Whole blocks.
        let pass = (PASS_BYTES / chunk_bytes / block * block).max(block).min(chunks.max(1));
        // As even as whole blocks can be.
        plan.pass = chunks.div_ceil(chunks.div_ceil(pass).max(1)).next_multiple_of(block).clamp(1, chunks.max(1));
        plan
    }

    /// Tiles of a whole chunk.
    pub fn chunk_tiles(&self) -> usize {
        self.rows * self.columns
    }

    /// Tiles from a point to the next in a chunk: an odd number, so that a tile's points do not all share a set of a cache.
    pub fn pitch(&self) -> usize {
        self.chunk_tiles() | 1
    }

    /// Elements of a chunk of one block of output channels, and of input channels.
    pub fn block_lens(&self) -> [usize; 2] {
        [self.oc_width, self.ic_width].map(|width| saturating_product([self.size.points(), self.pitch(), width]))
    }

    /// Elements of a chunk of delta, and of the input.
    fn operand_lens(&self, shape: &ConvShape) -> [usize; 2] {
        let [delta, input] = self.block_lens();
        [
            saturating_product([delta, shape.groups(), self.oc_blocks]),
            saturating_product([input, shape.groups(), self.ic_blocks]),
        ]
    }

    /// Elements of a pass of delta and of the input, and of all sums. The input's are followed by those of a tile more,
    /// which kernels may slice but do not read.
    pub fn lens(&self, shape: &ConvShape) -> [usize; 3] {
        let [delta, input] = self.operand_lens(shape).map(|len| len.saturating_mul(self.pass));
        let sums = saturating_product([shape.groups(), self.oc_blocks, self.ic_tiles, self.sums_of_tile()]);
        [delta, input.saturating_add(self.ic_width), sums]
    }

    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        self.lens(shape).into_iter().fold(0, usize::saturating_add)
    }

    /// Whether the gradient of a task is finished after one block of tiles, and a block of output channels is a range of the
    /// weights whose first is a multiple of its length.
    pub fn is_at_once(&self, shape: &ConvShape) -> bool {
        let is_aligned = shape.groups() == 1 || shape.group_out_channels().is_multiple_of(self.oc_width);
        self.chunks <= self.block && is_aligned
    }

    /// Pieces of the products that do not wait for each other.
    pub fn tasks(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.groups(), self.oc_blocks, self.ic_tiles.div_ceil(self.ic_tiles_of_task)])
    }

    /// Elements of the gradient that belong to a register tile.
    pub fn sums_of_tile(&self) -> usize {
        self.tile.n * TAPS * TAPS * self.oc_width
    }

    /// Tiles of all images.
    pub fn tiles(&self, shape: &ConvShape) -> usize {
        saturating_product([shape.batch(), self.axes[0].count, self.axes[1].count])
    }

    /// Multiply-adds of vectors, all in all: the products, the maps of both operands and of the gradient.
    fn operations(&self, shape: &ConvShape) -> f64 {
        let points = self.size.points() as f64;
        let tiles = self.tiles(shape) as f64;
        let groups = shape.groups() as f64;
        let ics = (self.ic_tiles * self.tile.n) as f64;
        let oc_vectors = (self.oc_blocks * self.tile.v) as f64;
        let products = points * oc_vectors * ics;
        let lanes = (self.oc_width / self.tile.v) as f64;
        let ic_vectors = (self.ic_blocks * self.ic_width) as f64 / lanes;
        let maps = MAP_OPERATIONS * points * (oc_vectors + ic_vectors);
        let blocks = self.chunks.div_ceil(self.block) as f64;
        groups * (tiles * (products + maps) + blocks * MAP_OPERATIONS * points * oc_vectors * ics)
    }

    /// Cycles of the whole problem on a core that starts two multiply-adds a cycle.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        self.operations(shape) / 2.0
    }

    /// Floating point operations, on idle lanes too.
    pub fn flops(&self, shape: &ConvShape) -> f64 {
        2.0 * self.operations(shape) * (self.oc_width / self.tile.v) as f64
    }

    /// The constant of the error bound; see [`Winograd`](super::Winograd).
    pub fn error_bound(&self, unit_roundoff: f64) -> f64 {
        // A map of an operand is two multiply-adds deep, and one of the gradient three and an addition beside its rounded
        // coefficient; a multiply-add rounds once or twice. Both have two axes. The product rounds once.
        let maps = 2 * (4 + 4 + 8);
        let partial_sums = self.block * self.chunk_tiles().div_ceil(PARTIAL);
        let sums = PARTIAL.min(self.chunk_tiles()) + partial_sums + self.chunks.div_ceil(self.block);
        let roundings = (1 + maps + sums) as f64;
        let amplification = 2.0 * self.size.amplification().powi(2);
        amplification * roundings / (1.0 - roundings * unit_roundoff).max(0.0)
    }
}

/// Multiply-adds that a map and its loads and stores are worth, for each point of a tile.
pub(super) const MAP_OPERATIONS: f64 = 6.0;

/// The register tile: sixteen sums where there are registers enough, twelve in sixteen registers.
fn register_tile(oc: usize, registers: Registers) -> Tile {
    let sums = if registers.count > 16 { 16 } else { 12 };
    let v = if oc > registers.lanes { 2 } else { 1 };
    Tile { v, n: sums / v }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

/// In one line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outputs = self.size.outputs();
        let Tile { v, n } = self.tile;
        let lanes = self.oc_width / v;
        write!(f, "F(3x3,{outputs}x{outputs}), {}x{} tiles an image", self.axes[0].count, self.axes[1].count)?;
        write!(f, ", {v}x{n}, {lanes} lanes, {} chunks of {} tiles", self.chunks, self.chunk_tiles())?;
        write!(f, ", {} a pass", self.pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVX512: Registers = Registers { lanes: 16, count: 32 };
    const AVX2: Registers = Registers { lanes: 8, count: 16 };
    const SCALAR: Registers = Registers { lanes: 1, count: 16 };

    fn plan(registers: Registers, shape: &str) -> Plan {
        Plan::new(&shape.parse().unwrap(), registers, 4)
    }

    #[test]
    fn telling_shapes_get_the_tiles_made_for_them() {
        for (shape, size, tiles) in [
            ("mb8ic64ih56oc64oh56kh3ph1", TileSize::Four, [14, 14]),
            ("mb8ic512ih7oc512oh7kh3ph1", TileSize::Four, [2, 2]),
            // A tile of two wastes nothing here, and takes 16 products where a tile of four takes 36.
            ("mb32ic64ih4oc64oh2kh3", TileSize::Two, [1, 1]),
            // Three outputs of five meet the input; those beside them see nothing but padding.
            ("mb32ic64ih1oc64oh5kh3ph3", TileSize::Four, [1, 1]),
        ] {
            let plan = plan(AVX512, shape);
            assert_eq!((plan.size, plan.axes.map(|axis| axis.count)), (size, tiles), "{shape}");
        }
    }

    #[test]
    fn chunks_cover_all_tiles_and_scratch_is_bounded() {
        for text in [
            "mb8ic64ih56oc64oh56kh3ph1",
            "mb64ic64ih224oc64oh224kh3ph1",
            "mb1ic16iw30000ih3oc16ow29998oh1kh3",
            "mb8g16ic256ih14oc256oh14kh3ph1",
            "mb1ic8ih3oc8oh1kh3",
            "mb2ic2048ih7oc2048oh7kh3ph1",
        ] {
            let shape: ConvShape = text.parse().unwrap();
            for registers in [AVX512, AVX2, SCALAR] {
                let plan = plan(registers, text);
                assert!(plan.chunks * plan.chunk_tiles() >= plan.tiles(&shape), "{text}: {plan}");
                assert!((plan.chunks - 1) * plan.rows < shape.batch() * plan.axes[0].count * plan.pieces, "{text}");
                assert!(plan.pass <= plan.chunks && plan.chunk_tiles() <= CHUNK, "{text}: {plan}");
                assert!(plan.pass == plan.chunks || plan.pass.is_multiple_of(plan.block), "{text}: {plan}");
                let [delta, input, _] = plan.lens(&shape);
                // What is transformed at a time, or one block of tiles where channels are many.
                let block = BLOCK * plan.size.points() * 2 * (shape.in_channels() + shape.out_channels());
                assert!(delta + input <= (PASS_BYTES / 4 + block) * 2, "{text}: {}", delta + input);
            }
        }
    }
}
