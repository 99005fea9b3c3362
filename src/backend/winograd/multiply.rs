//! The products of transformed operands, summed over tiles and mapped to the gradient.

use super::plan::{Plan, SUMS, TileSize};
use crate::element::Element;
use crate::partition::for_each_chunk;
use crate::shape::ConvShape;
use crate::simd::toom::{GradientOfFour, GradientOfTwo, Linear};
use crate::simd::winograd::{Gradient, Products, SumProducts, TAPS};
use crate::simd::{Isa, Lane};
use crate::write::{SumRows, Sums};
use std::marker::PhantomData;
use std::ops::Range;

/// Adds the gradient of some chunks to `sums`, `[group][block of oc][ic][tap][oc]`; the first chunk of all finds anything there.
/// Operands are `[chunk][block of all groups][point][tile][channel]`.
pub(super) fn multiply<A: Lane + Element>(
    shape: &ConvShape,
    plan: &Plan,
    isa: Isa,
    chunks: Range<usize>,
    delta: &[A],
    input: &[A],
    sums: &mut [A],
) {
    let [delta_block, input_block] = plan.block_lens();
    let groups = shape.groups();
    let work = shape.flops() * chunks.len() as f64 / plan.chunks as f64;
    let all_rows = shape.batch() * plan.axes[0].count * plan.pieces;
    for_each_chunk(sums, plan.ic_tiles_of_task * plan.sums_of_tile(), work, |task, sums| {
        let mut points = [A::default(); SUMS];
        let points = &mut points[..plan.size.points() * plan.tile.n * plan.oc_width];
        for block in chunks.clone().step_by(plan.block) {
            let block = block..chunks.end.min(block + plan.block);
            let first = block.start - chunks.start;
            // All chunks are whole but the last one.
            let rows = (all_rows - block.start * plan.rows).min(block.len() * plan.rows);
            for (i, sums) in sums.chunks_exact_mut(plan.sums_of_tile()).enumerate() {
                let tile = task * plan.ic_tiles_of_task + i;
                let (oc_block, ic) = (tile / plan.ic_tiles, tile % plan.ic_tiles * plan.tile.n);
                let ic_block = oc_block / plan.oc_blocks * plan.ic_blocks + ic / plan.ic_width;
                let vectors = (first * groups * plan.oc_blocks + oc_block) * delta_block;
                let numbers = (first * groups * plan.ic_blocks + ic_block) * input_block + ic % plan.ic_width;
                let products = Products {
                    vectors: &delta[vectors..],
                    numbers: &input[numbers..],
                    vectors_chunk: groups * plan.oc_blocks * delta_block,
                    numbers_chunk: groups * plan.ic_blocks * input_block,
                    width: plan.ic_width,
                    pitch: plan.pitch(),
                    chunk: plan.chunk_tiles(),
                    tiles: rows * plan.columns,
                    points: plan.size.points(),
                };
                let accumulate = block.start > 0;
                match (plan.tile.v, plan.tile.n) {
                    (1, 12) => isa.run(SumProducts::<A, 1, 12> { products, sums: &mut *points }),
                    (1, 16) => isa.run(SumProducts::<A, 1, 16> { products, sums: &mut *points }),
                    (2, 6) => isa.run(SumProducts::<A, 2, 6> { products, sums: &mut *points }),
                    (2, 8) => isa.run(SumProducts::<A, 2, 8> { products, sums: &mut *points }),
                    (v, n) => unreachable!("no plan has a register tile of {v} x {n}"),
                }
                match plan.size {
                    TileSize::Four => gradient::<GradientOfFour, A, 6>(plan, isa, points, sums, accumulate),
                    TileSize::Two => gradient::<GradientOfTwo, A, 4>(plan, isa, points, sums, accumulate),
                }
            }
        }
    });
}

/// Maps the sums of all points to the gradient.
fn gradient<L: Linear<I, TAPS>, A: Lane + Element, const I: usize>(
    plan: &Plan,
    isa: Isa,
    sums: &[A],
    gradient: &mut [A],
    accumulate: bool,
) {
    let coefficients = L::COEFFICIENTS.map(A::from_f64);
    isa.run(Gradient::<L, A, I> { coefficients, sums, width: plan.oc_width, gradient, accumulate, map: PhantomData });
}

/// The sums, `[group][block of oc][ic][tap][oc]`.
pub(super) struct GradientSums<'a, A> {
    pub shape: &'a ConvShape,
    pub plan: &'a Plan,
    pub sums: &'a [A],
}

impl<A: Sync> Sums<A> for GradientSums<'_, A> {
    fn neighbours(&self, channel: usize) -> Range<usize> {
        let (ocs, width) = (self.shape.group_out_channels(), self.plan.oc_width);
        let group = channel / ocs * ocs;
        let first = (channel - group) / width * width;
        group + first..group + ocs.min(first + width)
    }

    fn rows(&self, channels: Range<usize>) -> SumRows<'_, A> {
        let Plan { oc_blocks, ic_tiles, tile, oc_width, .. } = *self.plan;
        let ocs = self.shape.group_out_channels();
        let (group, oc) = (channels.start / ocs, channels.start % ocs);
        let first_row = (group * oc_blocks + oc / oc_width) * ic_tiles * tile.n * TAPS * TAPS;
        SumRows { data: &self.sums[first_row * oc_width + oc % oc_width..], pitch: oc_width, channels: channels.len() }
    }
}
