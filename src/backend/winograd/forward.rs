//! Winograd's forward pass, which is the input gradient's as well: tiles of outputs by the same transforms.
//!
//! ```text
//! for tile of r x r outputs, r = 4 or 2:
//!     U[ic] = B^T x B             x: the (r+2) x (r+2) inputs the tile meets
//!     V[oc,ic] = G w[oc,ic] G^T
//!     M[oc] = sum over ic  U[ic] * V[oc,ic]       point by point
//! outputs[oc] = A^T M[oc] A + bias[oc]
//! ```
//!
//! For each of the `(r+2)^2` points that is a product of the matrices `[tiles x ic]` and `[ic x oc]`.
//!
//! ```text
//! for pass over the chunks of tiles:                          so many that their transforms stay in an L3 cache
//!     U of the pass, [chunk][block of ic][point][tile][ic]                    in parallel by chunk and block
//!     for panel of blocks of oc:                              so many that their transforms stay in an L3 cache
//!         V of the panel, [block][point][ic][oc]                              in parallel by block
//!         for part of the outputs in parallel:
//!             for block of oc, chunk:
//!                 M for all points, [point][tile][oc]         in the L2 cache
//!                 strip[position][oc] = A^T M A + bias, and from there into the output
//! ```
//!
//! 1. Output channels lie in lanes and tiles are broadcast, whose numbers lie channel by channel as the transform writes them.
//! 2. Unless one panel holds all weights, they are transformed anew in each pass. That takes less time than to read them back
//!    from memory: they are four times the weights.
//! 3. All inputs of an output are summed in one order that depends on the shape alone, however its part was cut: parts may follow
//!    the threads, and the bits are the same on any number of them.
//! 4. Tiles that hang over an edge are filled up with zeros, and what they have beyond it is left out.

mod outputs;
pub(super) mod plan;
mod weights;

use super::plan::TileSize;
use super::strip::{Channels, Place, Positions};
use super::workspace::with_workspace;
use crate::correlation::Correlation;
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk};
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::toom::{InputOfFour, InputOfTwo, Linear};
use crate::simd::winograd::forward::WIDTH;
use crate::tensor::{View, ViewMut};
use outputs::{Part, Products};
use plan::{Box3, ForwardPlan};
use std::ops::Range;
use weights::transform_weights;

/// Computes a supported problem by its plan.
pub(super) fn forward<T: Element>(problem: Correlation<'_, T>, plan: &ForwardPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let Correlation { shape, input, weights, bias, mut output, update } = problem;
    let shape = &shape;
    let [tiles_len, weights_len, tasks_len] = plan.lens(shape);
    let (tiles, rest) = scratch.split_at_mut(tiles_len);
    let (transformed, rest) = rest.split_at_mut(weights_len);
    let tasks = &mut rest[..tasks_len];
    let all_blocks = plan.all_blocks(shape);
    for (index, pass) in plan.passes().enumerate() {
        transform_tiles(shape, plan, isa, &input, &pass, tiles);
        for first in (0..all_blocks).step_by(plan.panel) {
            let panel = first..all_blocks.min(first + plan.panel);
            if index == 0 || plan.panel < all_blocks {
                transform_weights(shape, plan, isa, weights, panel.clone(), transformed);
            }
            let part = part_of(shape, plan, &pass, &panel, &mut output);
            let share = part.tiles.iter().map(|range| range.len() as f64).product::<f64>() * panel.len() as f64
                / (plan.tiles.iter().map(|&count| count as f64).product::<f64>() * all_blocks as f64);
            let products =
                Products { shape, plan, isa, pass: pass.clone(), panel, tiles, weights: transformed, bias, update };
            products.compute(part, tasks, plan.flops(shape) * share);
        }
    }
}

/// The outputs of a pass and a panel.
fn part_of<'a, T: Element>(
    shape: &ConvShape,
    plan: &ForwardPlan,
    pass: &Box3,
    panel: &Range<usize>,
    output: &'a mut ViewMut<'_, T>,
) -> Part<'a, T> {
    let tiles = plan.tiles_of(pass);
    let step = plan.size.outputs();
    let [_, height, width] = shape.axes();
    let first = plan.first_channel(shape, panel.start);
    let channels = plan.first_channel(shape, panel.end) - first;
    let [rows, columns] = [(&tiles[1], height), (&tiles[2], width)]
        .map(|(tiles, axis)| tiles.start * step..axis.output.min(tiles.end * step));
    let output = output.reborrow().every(0, tiles[0].start, 1, tiles[0].len()).every(1, first, 1, channels);
    let output = output.every(3, rows.start, 1, rows.len()).every(4, columns.start, 1, columns.len());
    Part { output, tiles, blocks: panel.clone() }
}

/// Transforms the tiles of a pass to `[chunk][block of all groups][point][tile][WIDTH]`.
fn transform_tiles<T: Element>(
    shape: &ConvShape,
    plan: &ForwardPlan,
    isa: Isa,
    input: &View<'_, T>,
    pass: &Box3,
    out: &mut [T::Acc],
) {
    let of_chunk = shape.groups() * plan.ic_blocks;
    let [images, rows, columns] = [0, 1, 2].map(|axis| pass[axis].len());
    let out = &mut out[..images * rows * columns * plan.chunk_len(shape)];
    let work = out.len() as f64 * ELEMENT_FLOPS;
    let [_, height, width] = shape.axes();
    let positions = [height, width].map(|axis| Positions { first: axis.input_position(0, 0), end: axis.input });
    for_each_chunk(out, plan.tiles_block_len(), work, |index, out| {
        let (chunk, block) = (index / of_chunk, index % of_chunk);
        let chunk = [chunk / (rows * columns), chunk / columns % rows, chunk % columns];
        let [image, row, column] = [0, 1, 2].map(|axis| pass[axis].start + chunk[axis]);
        let tiles = plan.tiles_of(&[image..image + 1, row..row + 1, column..column + 1]);
        let (group, first) = (block / plan.ic_blocks, block % plan.ic_blocks * WIDTH);
        let ics = shape.group_in_channels();
        let channels = group * ics + first..group * ics + ics.min(first + WIDTH);
        let channels = Channels { isa, operand: input, channels, width: WIDTH, step: plan.size.outputs(), positions };
        with_workspace(|strip| match plan.size {
            TileSize::Four => transform_chunk::<T, InputOfFour, 6>(&channels, plan, &tiles, strip, out),
            TileSize::Two => transform_chunk::<T, InputOfTwo, 4>(&channels, plan, &tiles, strip, out),
        });
    });
}

/// Transforms the tiles of a chunk, image by image.
fn transform_chunk<T: Element, L: Linear<I, I>, const I: usize>(
    channels: &Channels<'_, '_, T>,
    plan: &ForwardPlan,
    [images, rows, columns]: &Box3,
    strip: &mut [T::Acc],
    out: &mut [T::Acc],
) {
    for (index, image) in images.clone().enumerate() {
        let place = Place { pitch: plan.pitch(), first: index * rows.len() * columns.len(), row: columns.len() };
        channels.transform::<L, I, I>(image, [rows.clone(), columns.clone()], place, strip, out);
    }
}
