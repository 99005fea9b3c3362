//! Transforms of an operand: the tiles of some chunks, for all channels.
//!
//! ```text
//! for chunk, block of channels in parallel:
//!     for image of the chunk:
//!         out[chunk][block][point][tile][channel] = the map of each tile          strip by strip
//! ```

use super::plan::{Plan, TileSize};
use super::strip::{Channels, Place, Positions};
use super::workspace::with_workspace;
use crate::element::Element;
use crate::partition::for_each_chunk;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::toom::{DeltaOfFour, DeltaOfTwo, InputOfFour, InputOfTwo, Linear};
use crate::tensor::View;
use std::ops::Range;

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
        let positions = [0, 1].map(|axis| positions(role, shape, plan, axis));
        let block = Channels { isa, operand, channels, width, step: plan.size.outputs(), positions };
        with_workspace(|strip| match (plan.size, role) {
            (TileSize::Four, Role::Input) => chunk_of::<T, InputOfFour, 6, 6>(&block, shape, plan, chunk, strip, out),
            (TileSize::Four, Role::Delta) => chunk_of::<T, DeltaOfFour, 4, 6>(&block, shape, plan, chunk, strip, out),
            (TileSize::Two, Role::Input) => chunk_of::<T, InputOfTwo, 4, 4>(&block, shape, plan, chunk, strip, out),
            (TileSize::Two, Role::Delta) => chunk_of::<T, DeltaOfTwo, 2, 4>(&block, shape, plan, chunk, strip, out),
        });
    });
}

/// Positions of an operand along height or width.
fn positions(role: Role, shape: &ConvShape, plan: &Plan, axis: usize) -> Positions {
    let (tiles, axis) = (&plan.axes[axis], &shape.axes()[axis + 1]);
    match role {
        Role::Delta => Positions { first: tiles.first.cast_signed(), end: tiles.end },
        Role::Input => Positions { first: axis.input_position(tiles.first, 0), end: axis.input },
    }
}

/// Transforms the tiles of a chunk by a map of `I` positions to `O` points along each axis.
fn chunk_of<T: Element, L: Linear<I, O>, const I: usize, const O: usize>(
    block: &Channels<'_, '_, T>,
    shape: &ConvShape,
    plan: &Plan,
    chunk: usize,
    strip: &mut [T::Acc],
    out: &mut [T::Acc],
) {
    let tile_rows = plan.axes[0].count;
    // The last piece of a row may have tiles that lie behind the row. They are zeros.
    let columns = chunk % plan.pieces * plan.columns;
    let columns = columns..columns + plan.columns;
    let first = chunk / plan.pieces * plan.rows;
    let rows = first..(shape.batch() * tile_rows).min(first + plan.rows);
    let mut row = rows.start;
    while row < rows.end {
        let (image, tile_row) = (row / tile_rows, row % tile_rows);
        let of_image = (rows.end - row).min(tile_rows - tile_row);
        let place = Place { pitch: plan.pitch(), first: (row - rows.start) * plan.columns, row: plan.columns };
        block.transform::<L, I, O>(image, [tile_row..tile_row + of_image, columns.clone()], place, strip, out);
        row += of_image;
    }
}
