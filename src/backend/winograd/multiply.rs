//! The products of transformed operands, summed over tiles and mapped to the gradient.

use super::plan::{Plan, TileSize};
use super::workspace::with_workspace;
use crate::element::Element;
use crate::partition::{for_each_chunk, for_each_part};
use crate::problem::Update;
use crate::shape::ConvShape;
use crate::simd::toom::{GradientOfFour, GradientOfTwo, Linear};
use crate::simd::winograd::{Gradient, Products, SumProducts, TAPS};
use crate::simd::{Isa, Lane};
use crate::tensor::ViewMut;
use crate::write::{SumRows, Sums, write_channels};
use std::marker::PhantomData;
use std::ops::Range;

/// The transforms of some chunks, `[chunk][block of all groups][point][tile][channel]`, ready to be multiplied.
pub(super) struct Multiplication<'a, A> {
    pub shape: &'a ConvShape,
    pub plan: &'a Plan,
    pub isa: Isa,
    pub chunks: Range<usize>,
    pub delta: &'a [A],
    pub input: &'a [A],
}

impl<A: Lane + Element<Acc = A>> Multiplication<'_, A> {
    /// Adds the gradient of the chunks to `sums`, `[group][block of oc][ic][tap][oc]`. The first chunk finds anything there.
    pub fn add_to(&self, sums: &mut [A]) {
        let plan = self.plan;
        let work = self.shape.flops() * self.chunks.len() as f64 / plan.chunks as f64;
        for_each_chunk(sums, plan.ic_tiles_of_task * plan.sums_of_tile(), work, |task, sums| {
            with_workspace(|points| {
                for first in self.chunks.clone().step_by(plan.block) {
                    for (i, sums) in sums.chunks_exact_mut(plan.sums_of_tile()).enumerate() {
                        self.multiply(first, task * plan.ic_tiles_of_task + i, points, sums);
                    }
                }
            });
        });
    }

    /// Writes the gradient, where [the plan](Plan::is_at_once) has it finished after one block.
    pub fn write<T: Element<Acc = A>>(&self, gradient: ViewMut<'_, T>, update: Update<T>) {
        let plan = self.plan;
        for_each_part(gradient, 0, plan.oc_width, self.shape.flops(), &|first, mut part| {
            let [channels, ics, ..] = part.dims5();
            with_workspace(|workspace| {
                let (sums, points) = workspace.split_at_mut(plan.sums_of_tile());
                for position in (0..channels).step_by(plan.oc_width) {
                    let block = (first + position) / plan.oc_width;
                    for tile in 0..plan.ic_tiles {
                        self.multiply(0, block * plan.ic_tiles + tile, points, sums);
                        let ics = tile * plan.tile.n..ics.min((tile + 1) * plan.tile.n);
                        let channels = plan.oc_width.min(channels - position);
                        let rows = SumRows { data: sums, pitch: plan.oc_width, channels };
                        write_channels(self.isa, self.shape, rows, ics, position, &mut part, update);
                    }
                }
            });
        });
    }

    /// Computes the gradient of a register tile of channels from the block of chunks that begins with `first`, or adds it
    /// unless that is the first chunk of all. Tiles count through all blocks of output channels.
    fn multiply(&self, first: usize, tile: usize, points: &mut [A], sums: &mut [A]) {
        let Multiplication { shape, plan, isa, .. } = *self;
        let [delta_block, input_block] = plan.block_lens();
        let end = self.chunks.end.min(first + plan.block);
        // All chunks are whole but the last one.
        let all_rows = shape.batch() * plan.axes[0].count * plan.pieces;
        let rows = (end * plan.rows).min(all_rows) - first * plan.rows;
        let (oc_block, ic) = (tile / plan.ic_tiles, tile % plan.ic_tiles * plan.tile.n);
        let ic_block = oc_block / plan.oc_blocks * plan.ic_blocks + ic / plan.ic_width;
        let [vectors_chunk, numbers_chunk] =
            [plan.oc_blocks * delta_block, plan.ic_blocks * input_block].map(|len| shape.groups() * len);
        let chunk = first - self.chunks.start;
        let products = Products {
            vectors: &self.delta[chunk * vectors_chunk + oc_block * delta_block..],
            numbers: &self.input[chunk * numbers_chunk + ic_block * input_block + ic % plan.ic_width..],
            vectors_chunk,
            numbers_chunk,
            width: plan.ic_width,
            pitch: plan.pitch(),
            chunk: plan.chunk_tiles(),
            tiles: rows * plan.columns,
            points: plan.size.points(),
        };
        let points = &mut points[..plan.size.points() * plan.tile.n * plan.oc_width];
        let accumulate = first > 0;
        match (plan.tile.v, plan.tile.n) {
            (1, 12) => multiply::<A, 1, 12>(plan.size, isa, products, points, sums, accumulate),
            (1, 16) => multiply::<A, 1, 16>(plan.size, isa, products, points, sums, accumulate),
            (2, 6) => multiply::<A, 2, 6>(plan.size, isa, products, points, sums, accumulate),
            (2, 8) => multiply::<A, 2, 8>(plan.size, isa, products, points, sums, accumulate),
            (v, n) => unreachable!("no plan has a register tile of {v} x {n}"),
        }
    }
}

/// Sums the products of a register tile for all points, and maps these sums to the gradient.
fn multiply<A: Lane + Element, const V: usize, const N: usize>(
    size: TileSize,
    isa: Isa,
    products: Products<'_, A>,
    sums: &mut [A],
    gradient: &mut [A],
    accumulate: bool,
) {
    isa.run(SumProducts::<A, V, N> { products, sums: &mut *sums });
    match size {
        TileSize::Four => {
            let coefficients = GradientOfFour::COEFFICIENTS.map(A::from_f64);
            let map = PhantomData::<GradientOfFour>;
            isa.run(Gradient::<_, A, 6, V, N> { coefficients, sums, gradient, accumulate, map });
        }
        TileSize::Two => {
            let coefficients = GradientOfTwo::COEFFICIENTS.map(A::from_f64);
            let map = PhantomData::<GradientOfTwo>;
            isa.run(Gradient::<_, A, 4, V, N> { coefficients, sums, gradient, accumulate, map });
        }
    }
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
