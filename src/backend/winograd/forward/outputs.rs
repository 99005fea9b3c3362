//! The products of tiles and weights, mapped to outputs and written.

use super::plan::{Box3, ForwardPlan};
use crate::backend::winograd::plan::TileSize;
use crate::element::Element;
use crate::partition::{join, pays};
use crate::problem::Update;
use crate::shape::{ConvShape, positions};
use crate::simd::Isa;
use crate::simd::tile::{Tile, for_tile};
use crate::simd::toom::Linear;
use crate::simd::toom::forward::{OutputOfFour, OutputOfTwo};
use crate::simd::winograd::forward::{Outputs, SumChannels, WIDTH};
use crate::tensor::{Runs, ViewMut};
use crate::write::transpose;
use std::marker::PhantomData;
use std::ops::Range;

/// Tiles a part keeps when it is halved: weights are read again for each part.
const LEAST_TILES: usize = 8;

/// The transformed tiles of a pass, `[chunk][block of all groups][point][tile][WIDTH]`, and the transformed weights of a panel,
/// `[block][point][ic][oc]`, ready to be multiplied.
pub(super) struct Products<'a, T: Element> {
    pub shape: &'a ConvShape,
    pub plan: &'a ForwardPlan,
    pub isa: Isa,
    /// The chunks of the pass, and the blocks of output channels of the panel.
    pub pass: Box3,
    pub panel: Range<usize>,
    pub tiles: &'a [T::Acc],
    pub weights: &'a [T::Acc],
    pub bias: Option<&'a [T]>,
    pub update: Update<T>,
}

/// Some channels of some outputs of a pass.
pub(super) struct Part<'a, T> {
    /// The outputs of these tiles and channels, and no others.
    pub output: ViewMut<'a, T>,
    pub tiles: Box3,
    pub blocks: Range<usize>,
}

impl<'a, T: Element> Part<'a, T> {
    /// The halves of the part along the first axis where memory allows it; the whole and nothing where it does not, or the
    /// halves would be too small.
    fn halve(self, shape: &ConvShape, plan: &ForwardPlan) -> (Self, Option<Self>) {
        let Part { mut output, tiles, blocks } = self;
        let count: usize = tiles.iter().map(|range| range.len()).product();
        for (axis, dimension) in [(0, 0), (1, 3), (2, 4)] {
            // Tiles of one chunk lie side by side by image; else chunks stay whole.
            let unit = if axis == 0 { 1 } else { plan.chunk[axis] };
            let middle = (tiles[axis].start + tiles[axis].len() / 2).next_multiple_of(unit);
            if middle >= tiles[axis].end || count < 2 * LEAST_TILES {
                continue;
            }
            let cut = (middle - tiles[axis].start) * if axis == 0 { 1 } else { plan.size.outputs() };
            match output.split(dimension, cut) {
                Err(whole) => output = whole,
                Ok((low, high)) => {
                    let (mut low_tiles, mut high_tiles) = (tiles.clone(), tiles);
                    low_tiles[axis].end = middle;
                    high_tiles[axis].start = middle;
                    let low = Part { output: low, tiles: low_tiles, blocks: blocks.clone() };
                    return (low, Some(Part { output: high, tiles: high_tiles, blocks }));
                }
            }
        }
        let middle = blocks.start + blocks.len() / 2;
        let cut = plan.first_channel(shape, middle) - plan.first_channel(shape, blocks.start);
        match output.split(1, cut) {
            Err(output) => (Part { output, tiles, blocks }, None),
            Ok((low, high)) => {
                let low = Part { output: low, tiles: tiles.clone(), blocks: blocks.start..middle };
                (low, Some(Part { output: high, tiles, blocks: middle..blocks.end }))
            }
        }
    }
}

impl<T: Element> Products<'_, T> {
    /// Computes a part with the scratch of at least one task: by halves while there is scratch for both, and threads are there.
    /// No output depends on how the part is cut.
    pub fn compute(&self, part: Part<'_, T>, scratch: &mut [T::Acc], flops: f64) {
        let task_len: usize = self.plan.task_lens().iter().sum();
        let tasks = scratch.len() / task_len;
        if tasks < 2 || !pays(flops) {
            return self.compute_alone(part, scratch);
        }
        match part.halve(self.shape, self.plan) {
            (low, Some(high)) => {
                let (low_scratch, high_scratch) = scratch.split_at_mut(tasks / 2 * task_len);
                let half = flops / 2.0;
                join(flops, || self.compute(low, low_scratch, half), || self.compute(high, high_scratch, half));
            }
            (whole, None) => self.compute_alone(whole, scratch),
        }
    }

    fn compute_alone(&self, mut part: Part<'_, T>, scratch: &mut [T::Acc]) {
        let plan = self.plan;
        let [sums_len, strip_len, _] = plan.task_lens();
        let (sums, rest) = scratch.split_at_mut(sums_len);
        let (strip, rest) = rest.split_at_mut(strip_len);
        let bias = &mut rest[..plan.oc_width];
        for block in part.blocks.clone() {
            let first = plan.first_channel(self.shape, block);
            let channels = first..plan.first_channel(self.shape, block + 1);
            bias.fill(T::Acc::default());
            for (bias, &given) in bias.iter_mut().zip(self.bias.map_or(&[][..], |bias| &bias[channels.clone()])) {
                *bias = given.to_acc();
            }
            let local = first - plan.first_channel(self.shape, part.blocks.start);
            let channels = local..local + channels.len();
            for chunk in positions(plan.chunks_of(&part.tiles)) {
                let whole = plan.tiles_of(&chunk.map(|first| first..first + 1));
                let images = whole[0].start.max(part.tiles[0].start)..whole[0].end.min(part.tiles[0].end);
                self.multiply(block, chunk, &whole, &images, sums);
                let tiles = [images, whole[1].clone(), whole[2].clone()];
                self.map_and_write(&tiles, channels.clone(), sums, strip, bias, &mut part);
            }
        }
    }

    /// Sums the products of some images of a chunk at all points, `[point][tile][oc]`.
    fn multiply(&self, block: usize, chunk: [usize; 3], whole: &Box3, images: &Range<usize>, sums: &mut [T::Acc]) {
        let (shape, plan) = (self.shape, self.plan);
        let [_, rows, columns] = [0, 1, 2].map(|axis| self.pass[axis].len());
        let [image, row, column] = [0, 1, 2].map(|axis| chunk[axis] - self.pass[axis].start);
        let chunk = (image * rows + row) * columns + column;
        let of_image = whole[1].len() * whole[2].len();
        let first = (images.start - whole[0].start) * of_image;
        let group = block / plan.oc_blocks;
        let numbers = &self.tiles[chunk * plan.chunk_len(shape) + group * plan.ic_blocks * plan.tiles_block_len()..];
        let weights = &self.weights[(block - self.panel.start) * plan.weights_block_len(shape)..];
        // Register tiles as even as they can be: some of one size, the others of one tile less.
        let tiles = images.len() * of_image;
        let groups = tiles.div_ceil(plan.tile.n);
        let n = tiles.div_ceil(groups);
        let fewer = n * groups - tiles;
        for (n, groups, at) in [(n, groups - fewer, 0), (n - 1, fewer, (groups - fewer) * n)] {
            if groups == 0 || n == 0 {
                continue;
            }
            for_tile!(Tile { v: plan.tile.v, n }, {
                self.isa.run(SumChannels::<T::Acc, V, N> {
                    vectors: weights,
                    vectors_pitch: plan.weights_pitch(shape),
                    channels: shape.group_in_channels(),
                    numbers: &numbers[(first + at) * WIDTH..],
                    numbers_block: plan.tiles_block_len(),
                    sums: &mut sums[at * plan.oc_width..],
                    numbers_pitch: plan.pitch(),
                    sums_pitch: plan.pitch(),
                    groups,
                    points: plan.size.points(),
                })
            });
        }
    }

    /// Maps the sums of some tiles to outputs, image by image, and writes these.
    fn map_and_write(
        &self,
        tiles: &Box3,
        channels: Range<usize>,
        sums: &[T::Acc],
        strip: &mut [T::Acc],
        bias: &[T::Acc],
        part: &mut Part<'_, T>,
    ) {
        let plan = self.plan;
        let [_, height, width] = self.shape.axes();
        let step = plan.size.outputs();
        let first = [tiles[1].start * step, tiles[2].start * step];
        let positions =
            [height.output.min(tiles[1].end * step) - first[0], width.output.min(tiles[2].end * step) - first[1]];
        let of_image = tiles[1].len() * tiles[2].len();
        for (index, image) in tiles[0].clone().enumerate() {
            let sums = &sums[index * of_image * plan.oc_width..];
            let columns = tiles[2].len();
            match plan.size {
                TileSize::Four => self.map::<OutputOfFour, 6, 4>(sums, columns, positions, bias, strip),
                TileSize::Two => self.map::<OutputOfTwo, 4, 2>(sums, columns, positions, bias, strip),
            }
            let corner = [
                image - part.tiles[0].start,
                channels.start,
                0,
                first[0] - part.tiles[1].start * step,
                first[1] - part.tiles[2].start * step,
            ];
            self.write(corner, positions, channels.len(), strip, &mut part.output);
        }
    }

    fn map<L: Linear<I, O>, const I: usize, const O: usize>(
        &self,
        sums: &[T::Acc],
        columns: usize,
        positions: [usize; 2],
        bias: &[T::Acc],
        out: &mut [T::Acc],
    ) {
        let coefficients = L::COEFFICIENTS.map(T::Acc::from_f64);
        let pitch = self.plan.pitch();
        let map = PhantomData::<L>;
        self.isa.run(Outputs::<L, T::Acc, I, O> { coefficients, sums, pitch, columns, bias, out, positions, map });
    }

    /// Writes a rectangle of positions, `[row][column][oc]`, of some channels; `corner` is the first of them in the output.
    fn write(
        &self,
        corner: [usize; 5],
        [rows, columns]: [usize; 2],
        channels: usize,
        strip: &[T::Acc],
        output: &mut ViewMut<'_, T>,
    ) {
        let width = self.plan.oc_width;
        let [_, channel_stride, _, row_stride, column_stride] = output.strides5();
        let start = output.index(corner);
        let data = output.data_mut();
        let runs = Runs::new([(1, 0), (1, 0), (rows, row_stride), (columns, column_stride)]);
        let mut written = 0;
        runs.for_each(0..rows * columns, |offset, len| {
            let start = start.wrapping_add_signed(offset);
            let strip = &strip[written * width..][..len * width];
            written += len;
            if runs.stride() == 1 && (channels == 1 || channel_stride >= len.cast_signed()) {
                // The stride of a single channel is never stepped and may be anything.
                let pitch = if channels == 1 { len } else { channel_stride.cast_unsigned() };
                let positions = |position: usize| &strip[position * width..][..channels];
                return transpose(self.isa, positions, len, &mut data[start..], pitch, self.update);
            }
            for (x, sums) in strip.chunks_exact(width).enumerate() {
                let at = start.wrapping_add_signed(x.cast_signed().wrapping_mul(runs.stride()));
                if channel_stride == 1 && self.update == Update::overwrite() {
                    T::round(&sums[..channels], &mut data[at..at + channels]);
                    continue;
                }
                for (channel, &sum) in sums[..channels].iter().enumerate() {
                    let at = at.wrapping_add_signed(channel.cast_signed().wrapping_mul(channel_stride));
                    self.update.apply(&mut data[at], sum);
                }
            }
        });
    }
}
