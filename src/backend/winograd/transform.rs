//! Transforms of an operand: the tiles of some chunks, for all channels.
//!
//! ```text
//! for chunk, block of channels in parallel:
//!     for band of the chunk's tiles:              rows of tiles of one image, so few that what they meet fits the strip
//!         strip[position][channel] = operand[image][channel][position]
//!         out[chunk][block][point][tile][channel] = the map of each tile
//! ```
//!
//! Deviations from reading a tile where it lies:
//! 1. Channels must lie side by side. Where rows of positions are contiguous (NCHW) they are transposed, several rows at
//!    once if these follow each other; where channels are (NHWC) they are copied; else element by element.
//! 2. Neighbouring tiles of the input share two rows and columns, which are transposed once for all tiles of a band.

use super::plan::{Plan, TileSize};
use super::workspace::with_workspace;
use crate::element::Element;
use crate::partition::for_each_chunk;
use crate::shape::ConvShape;
use crate::simd::toom::{DeltaOfFour, DeltaOfTwo, InputOfFour, InputOfTwo, Linear};
use crate::simd::transpose::Transpose;
use crate::simd::winograd::{Band, CopyPositions, Transformed};
use crate::simd::{Isa, Lane};
use crate::tensor::{Runs, View};
use std::marker::PhantomData;
use std::ops::Range;

/// Positions transposed for all channels of a block before the next ones.
const TRANSPOSED: usize = 128;

/// Which operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Delta,
    Input,
}

/// Transforms the tiles of some chunks to `out`, `[chunk][block of all groups][point][tile][width]`; in parallel if `work` pays.
#[expect(clippy::too_many_arguments, reason = "the operand, how it is cut, and where it goes")]
pub(super) fn transform<T: Element>(
    role: Role,
    shape: &ConvShape,
    plan: &Plan,
    isa: Isa,
    operand: &View<'_, T>,
    chunks: Range<usize>,
    work: f64,
    out: &mut [T::Acc],
) {
    let [delta_len, input_len] = plan.block_lens();
    let (len, width, blocks, channels) = match role {
        Role::Delta => (delta_len, plan.oc_width, plan.oc_blocks, shape.group_out_channels()),
        Role::Input => (input_len, plan.ic_width, plan.ic_blocks, shape.group_in_channels()),
    };
    let of_chunk = shape.groups() * blocks;
    for_each_chunk(&mut out[..chunks.len() * of_chunk * len], len, work, |index, out| {
        let (chunk, block) = (chunks.start + index / of_chunk, index % of_chunk);
        let (group, first) = (block / blocks, block % blocks * width);
        let channels = group * channels + first..group * channels + channels.min(first + width);
        let block = Block { role, shape, plan, isa, operand, channels, width };
        with_workspace(|strip| match (plan.size, role) {
            (TileSize::Four, Role::Input) => block.transform::<InputOfFour, 6, 6>(chunk, strip, out),
            (TileSize::Four, Role::Delta) => block.transform::<DeltaOfFour, 4, 6>(chunk, strip, out),
            (TileSize::Two, Role::Input) => block.transform::<InputOfTwo, 4, 4>(chunk, strip, out),
            (TileSize::Two, Role::Delta) => block.transform::<DeltaOfTwo, 2, 4>(chunk, strip, out),
        });
    });
}

/// Some channels of an operand.
struct Block<'a, 'v, T> {
    role: Role,
    shape: &'a ConvShape,
    plan: &'a Plan,
    isa: Isa,
    operand: &'a View<'v, T>,
    channels: Range<usize>,
    /// Channels with those there are not, which are zeros.
    width: usize,
}

/// Positions of an operand along one axis.
#[derive(Clone, Copy)]
struct Positions {
    /// Where the first tile begins, maybe before the operand.
    first: isize,
    /// Where it ends: what delta has beyond belongs to no tile.
    end: usize,
}

impl<T: Element> Block<'_, '_, T> {
    /// Transforms the tiles of a chunk by a map of `I` positions to `O` points along each axis.
    fn transform<L: Linear<I, O>, const I: usize, const O: usize>(
        &self,
        chunk: usize,
        strip: &mut [T::Acc],
        out: &mut [T::Acc],
    ) {
        let plan = self.plan;
        let tile_rows = plan.axes[0].count;
        // The last piece of a row may have tiles that lie behind the row. They are zeros.
        let columns = chunk % plan.pieces * plan.columns;
        let columns = columns..columns + plan.columns;
        let first = chunk / plan.pieces * plan.rows;
        let rows = first..(self.shape.batch() * tile_rows).min(first + plan.rows);
        let mut row = rows.start;
        while row < rows.end {
            let (image, tile_row) = (row / tile_rows, row % tile_rows);
            let of_image = (rows.end - row).min(tile_rows - tile_row);
            // As many rows as the strip has room for, or as many columns of one.
            let step = plan.size.outputs();
            let reach = |tiles: usize| (tiles - 1) * step + I;
            let room = strip.len() / self.width;
            let fit = |across: usize| (room / reach(across)).saturating_sub(I - step) / step;
            let (band_rows, band_columns) = match fit(columns.len()) {
                0 => (1, ((room / I).saturating_sub(I - step) / step).clamp(1, columns.len())),
                fit => (fit.min(of_image), columns.len()),
            };
            for column in columns.clone().step_by(band_columns) {
                let band_columns = band_columns.min(columns.end - column);
                let tiles = [tile_row..tile_row + band_rows, column..column + band_columns];
                let first_tile = (row - rows.start) * columns.len() + column - columns.start;
                let band = self.fill::<I>(image, tiles, strip);
                self.isa.run(Transformed::<L, T::Acc, I, O> {
                    coefficients: L::COEFFICIENTS.map(T::Acc::from_f64),
                    band,
                    numbers: &strip[..band.positions[0] * band.positions[1] * self.width],
                    width: self.width,
                    out: &mut *out,
                    pitch: plan.pitch(),
                    first: first_tile,
                    row: columns.len(),
                    map: PhantomData,
                });
            }
            row += band_rows;
        }
    }

    /// Positions along an axis.
    fn positions(&self, axis: usize) -> Positions {
        let (tiles, axis) = (&self.plan.axes[axis], &self.shape.axes()[axis + 1]);
        match self.role {
            Role::Delta => Positions { first: tiles.first.cast_signed(), end: tiles.end },
            Role::Input => Positions { first: axis.input_position(tiles.first, 0), end: axis.input },
        }
    }

    /// Fills the strip with what some tiles meet.
    fn fill<const I: usize>(&self, image: usize, tiles: [Range<usize>; 2], strip: &mut [T::Acc]) -> Band {
        let step = self.plan.size.outputs();
        let (mut met, mut first) = ([0..0, 0..0], [0; 2]);
        for (axis, tiles) in tiles.iter().enumerate() {
            let positions = self.positions(axis);
            let begin = positions.first + (tiles.start * step).cast_signed();
            let end = begin + ((tiles.len() - 1) * step + I).cast_signed();
            let inside = |position: isize| position.clamp(0, positions.end.cast_signed()).cast_unsigned();
            met[axis] = inside(begin)..inside(end);
            first[axis] = begin - met[axis].start.cast_signed();
        }
        self.copy(image, &met, strip);
        Band { positions: met.map(|range| range.len()), first, tiles: tiles.map(|range| range.len()), step }
    }

    /// Copies a box of positions to `[position][width]`. Channels there are not are zeros.
    fn copy(&self, image: usize, [rows, columns]: &[Range<usize>; 2], strip: &mut [T::Acc]) {
        let (width, count) = (self.width, self.channels.len());
        if rows.is_empty() || columns.is_empty() {
            return;
        }
        if count < width {
            strip[..rows.len() * columns.len() * width].fill(T::Acc::default());
        }
        let [_, channel_stride, _, row_stride, column_stride] = self.operand.strides5();
        let start = self.operand.index([image, self.channels.start, 0, rows.start, columns.start]);
        let runs = Runs::new([(1, 0), (1, 0), (rows.len(), row_stride), (columns.len(), column_stride)]);
        let positions = rows.len() * columns.len();
        let data = T::as_acc(self.operand.data());
        let mut filled = 0;
        runs.for_each(0..positions, |offset, len| {
            let start = start.wrapping_add_signed(offset);
            let out = &mut strip[filled * width..(filled + len) * width];
            filled += len;
            if let (Some(data), true) = (data, runs.stride() == 1) {
                let rows =
                    |c: usize| &data[start.wrapping_add_signed(c.cast_signed().wrapping_mul(channel_stride))..][..len];
                (0..count).for_each(|c| touch(rows(c)));
                let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
                return self.isa.run(Transpose { rows, count, out, pitch: width, block: TRANSPOSED, put });
            }
            let stride = runs.stride();
            if let (Some(data), 1) = (data, channel_stride) {
                return self.isa.run(CopyPositions { data, start, stride, channels: count, out, width });
            }
            for (x, out) in out.chunks_exact_mut(width).enumerate() {
                let at = start.wrapping_add_signed(x.cast_signed().wrapping_mul(stride));
                for (c, out) in out[..count].iter_mut().enumerate() {
                    let at = at.wrapping_add_signed(c.cast_signed().wrapping_mul(channel_stride));
                    *out = self.operand.data()[at].to_acc();
                }
            }
        });
    }
}

/// Reads a number of each cache line, so that numbers come from memory run by run, as prefetchers expect: transposing asks for
/// those of sixteen runs in turn. The layer of 64 channels of 56x56 took 5.2 ms without, 4.8 with it (Zen 5).
fn touch<A: Lane + std::ops::Add<Output = A>>(run: &[A]) {
    let lines = run.iter().step_by(LINE_BYTES / size_of::<A>());
    std::hint::black_box(lines.fold(A::default(), |sum, &number| sum + number));
}

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;
