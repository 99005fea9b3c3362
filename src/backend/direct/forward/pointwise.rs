//! The forward pass of a 1x1 kernel with output positions in lanes: a matrix product whose long side is in lanes.
//!
//! ```text
//! pack the weights into [tile of N output channels][input channel][N]
//! for piece of the output in parallel:
//!     for group, window of positions, counted through images and rows:         so small that it stays in the L2 cache
//!         copy the input into [tile of V vectors][input channel][V lanes]
//!         for tile of output channels, tile of positions:
//!             sums[channel][position] = bias + the kernel over all input channels
//!             write the sums, as they lie
//! ```
//!
//! 1. Positions of a channel lie side by side in both operands, and are copied where the kernel with
//!    [channels](super::channels) in lanes transposes them twice.
//! 2. Vectors cross from row to row and from image to image: small planes leave no lanes idle.

use super::weights::{Order, pack as pack_weights, pack_bias};
use crate::correlation::Correlation;
use crate::element::Element;
use crate::partition::{join, pays, threads_for};
use crate::problem::Update;
use crate::shape::ConvShape;
use crate::simd::channels::{CopyEvery, CopyLines};
use crate::simd::correlate::{CorrelateTile, Level, Numbers, Start, for_correlate_tile, max_n};
use crate::simd::tile::Tile;
use crate::simd::{Isa, Registers};
use crate::tensor::{Runs, View, ViewMut};
use std::ops::Range;

/// Vectors of positions in a tile.
const VECTORS: usize = 2;

/// Positions of a tile on the widest vectors.
const MAX_POSITIONS: usize = 32;

/// Tiles of positions copied at a time, at most, and their elements: 256 KB of `f32`. What is written of an output channel is
/// as long.
const WINDOW: usize = 16;
const PANEL: usize = 64 << 10;

/// Sums of a tile.
const MAX_SUMS: usize = MAX_POSITIONS * crate::simd::correlate::MAX_N;

/// Pieces of the output that have scratch of their own.
const PARTS: usize = 16;

/// How it is cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct PointwisePlan {
    lanes: usize,
    order: Order,
    /// Tiles of positions copied at a time.
    window: usize,
    pub parts: usize,
}

impl PointwisePlan {
    pub fn new(shape: &ConvShape, registers: Registers) -> PointwisePlan {
        let order = Order {
            out_channels: shape.group_out_channels(),
            tile: max_n(VECTORS, registers),
            grain: 1,
            blocks: 1,
            channels: shape.group_in_channels(),
            taps: 1,
        };
        let position_tiles = shape.terms().div_ceil(VECTORS * registers.lanes);
        let window = PANEL / (order.channels * VECTORS * registers.lanes);
        PointwisePlan {
            lanes: registers.lanes,
            order,
            window: window.clamp(1, WINDOW.min(position_tiles)),
            parts: (position_tiles * shape.groups() * order.tiles()).min(PARTS),
        }
    }

    /// Elements of the input of a tile.
    fn tile_len(&self) -> usize {
        self.order.channels.saturating_mul(VECTORS * self.lanes)
    }

    fn slot_len(&self) -> usize {
        self.tile_len().saturating_mul(self.window)
    }

    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let packed = shape.out_channels().saturating_add(shape.weights_len());
        packed.saturating_add(self.parts.saturating_mul(self.slot_len()))
    }

    /// Cycles of the whole problem on one core.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let vectors = shape.terms().div_ceil(self.lanes) as f64;
        let products = vectors * shape.weights_len() as f64;
        let copied = (shape.terms() * (shape.in_channels() + shape.out_channels())) as f64;
        0.52 * products + 0.4 * copied + 0.5 * shape.weights_len() as f64
    }
}

/// Computes a forward pass.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>, plan: &PointwisePlan, isa: Isa, scratch: &mut [T::Acc]) {
    let shape = problem.shape;
    let (bias, scratch) = scratch.split_at_mut(shape.out_channels());
    let (weights, slots) = scratch.split_at_mut(shape.weights_len());
    pack_bias(&problem, &plan.order, bias);
    pack_weights(isa, &problem, &plan.order, weights);
    let Correlation { input, output, update, .. } = problem;
    let pass = Pass { shape, plan, isa, input, bias, weights, update };
    let piece = Piece { output, image: 0, channel: 0 };
    // As few pieces as give each thread one, for the smaller they are, the more lanes are idle at their ends: 512 to 2048 channels
    // of 7x7 on two threads took 2.0 ms in two pieces and 3.0 in sixteen. An output is one sum in any piece.
    let pieces = threads_for(shape.flops()).next_power_of_two().min(plan.parts);
    pass.divide(piece, &mut slots[..pieces * plan.slot_len()], shape.flops());
}

/// What all pieces share.
struct Pass<'a, T: Element> {
    shape: ConvShape,
    plan: &'a PointwisePlan,
    isa: Isa,
    input: View<'a, T>,
    bias: &'a [T::Acc],
    weights: &'a [T::Acc],
    update: Update<T>,
}

/// A piece of the output: its first image and channel.
struct Piece<'a, T> {
    output: ViewMut<'a, T>,
    image: usize,
    channel: usize,
}

impl<T: Element> Pass<'_, T> {
    /// Computes a piece: by halves, while there is scratch for both.
    fn divide(&self, piece: Piece<'_, T>, slots: &mut [T::Acc], flops: f64) {
        let slot_len = self.plan.slot_len();
        let tasks = slots.len() / slot_len;
        if tasks == 1 || !pays(flops) {
            return self.compute(piece, &mut slots[..slot_len]);
        }
        let Piece { mut output, image, channel } = piece;
        for axis in [0, 1] {
            let middle = output.dims5()[axis] / 2;
            // Tiles of channels are not cut; they may be of one channel less.
            let middle = if axis == 0 { middle } else { self.tile_end(channel + middle) - channel };
            output = match output.split(axis, middle) {
                Ok((low, high)) => {
                    let (low_slots, high_slots) = slots.split_at_mut(tasks / 2 * slot_len);
                    let low = Piece { output: low, image, channel };
                    let mut high = Piece { output: high, image, channel };
                    if axis == 0 {
                        high.image += middle;
                    } else {
                        high.channel += middle;
                    }
                    let half = flops / 2.0;
                    join(flops, || self.divide(low, low_slots, half), || self.divide(high, high_slots, half));
                    return;
                }
                Err(whole) => whole,
            };
        }
        self.compute(Piece { output, image, channel }, &mut slots[..slot_len]);
    }

    /// Where the tile ends that the channel before this one belongs to.
    fn tile_end(&self, channel: usize) -> usize {
        let order = &self.plan.order;
        let (group, last) =
            (channel.saturating_sub(1) / order.out_channels, channel.saturating_sub(1) % order.out_channels);
        let ends = (0..order.tiles()).map(|tile| order.tile(tile).end);
        group * order.out_channels + ends.into_iter().find(|&end| end > last).unwrap_or(order.out_channels)
    }

    fn compute(&self, piece: Piece<'_, T>, panel: &mut [T::Acc]) {
        let Pass { plan, isa, bias, weights, .. } = self;
        let Piece { mut output, image, channel } = piece;
        let [images, channels, depths, rows, columns] = output.dims5();
        let terms = images * depths * rows * columns;
        let order = &plan.order;
        let (input_runs, output_runs) = (self.input_runs(images), {
            let [batch, _, depth, row, column] = output.strides5();
            Runs::new([(images, batch), (depths, depth), (rows, row), (columns, column)])
        });
        let (tile_positions, tile_len) = (VECTORS * plan.lanes, plan.tile_len());
        let mut sums = [T::Acc::default(); MAX_SUMS];
        // Of each tile of a window, its vectors and where its positions lie in the output.
        let mut tiles = [const { (0, 0..0) }; WINDOW];
        let mut segments = [(0, 0); WINDOW * MAX_POSITIONS];
        let groups = channel / order.out_channels..(channel + channels).div_ceil(order.out_channels);
        for group in groups {
            let of_group = group * order.out_channels;
            for first in (0..terms).step_by(plan.window * tile_positions) {
                let window = first..terms.min(first + plan.window * tile_positions);
                let mut count = 0;
                for (index, begin) in window.clone().step_by(tile_positions).enumerate() {
                    let positions = begin..window.end.min(begin + tile_positions);
                    let v = positions.len().div_ceil(plan.lanes);
                    let panel = &mut panel[index * tile_len..][..tile_len];
                    self.copy_input(group, image, &input_runs, positions.clone(), v * plan.lanes, panel);
                    let first = count;
                    output_runs.for_each(positions, |offset, len| {
                        segments[count] = (offset, len);
                        count += 1;
                    });
                    tiles[index] = (v, first..count);
                }
                let tiles_of_window = &tiles[..window.len().div_ceil(tile_positions)];
                for (tile, (index, (v, of_tile))) in (0..order.tiles())
                    .map(|tile| order.tile(tile))
                    .flat_map(|tile| tiles_of_window.iter().enumerate().map(move |of_window| (tile.clone(), of_window)))
                {
                    let (v, width) = (*v, v * plan.lanes);
                    let at = of_group + tile.start;
                    if at < channel || at >= channel + channels {
                        continue;
                    }
                    for_correlate_tile!(
                        Tile { v, n: tile.len() },
                        isa.run(CorrelateTile::<T::Acc, V, N> {
                            vectors: &panel[index * tile_len..],
                            numbers: &weights[at * order.channels..],
                            levels: [Level::ONE; 4],
                            steps: order.channels,
                            lie: Numbers::BySteps,
                            start: Start::Numbers(&bias[at..]),
                            sums: &mut sums,
                        })
                    );
                    let channels = at - channel..at - channel + tile.len();
                    self.write(
                        &mut output,
                        channels,
                        (&segments[of_tile.clone()], output_runs.stride()),
                        (&sums, width),
                    );
                }
            }
        }
    }

    fn input_runs(&self, images: usize) -> Runs {
        let [batch, _, strides @ ..] = self.input.strides5();
        let axes = self.shape.axes();
        // Wrapping: the stride of an axis of length 1 is never stepped and may be anything.
        let [depth, row, column] =
            [0, 1, 2].map(|i| (axes[i].output, strides[i].wrapping_mul(axes[i].stride.cast_signed())));
        Runs::new([(images, batch), depth, row, column])
    }

    /// Copies some positions of all input channels of a group, `[channel][width]`.
    fn copy_input(
        &self,
        group: usize,
        image: usize,
        runs: &Runs,
        positions: Range<usize>,
        width: usize,
        panel: &mut [T::Acc],
    ) {
        let ics = self.plan.order.channels;
        let pitch = self.input.strides5()[1];
        let start = self.input.index([image, group * ics, 0, 0, 0]);
        let mut at = 0;
        runs.for_each(positions, |offset, len| {
            let first = start.wrapping_add_signed(offset);
            let pitched = (first, pitch, ics, len);
            match T::as_acc(self.input.data()) {
                Some(source) => self.copy_lines(source, pitched, runs.stride(), &mut panel[at..], width),
                None => {
                    for (channel, out) in panel.chunks_exact_mut(width).enumerate().take(ics) {
                        let first = first.wrapping_add_signed(pitch.wrapping_mul(channel.cast_signed()));
                        for (x, out) in out[at..at + len].iter_mut().enumerate() {
                            let x = runs.stride().wrapping_mul(x.cast_signed());
                            *out = self.input.data()[first.wrapping_add_signed(x)].to_acc();
                        }
                    }
                }
            }
            at += len;
        });
    }

    /// Copies as many lines of a length: from the first of them on, so many elements apart, every `step`-th number.
    fn copy_lines(
        &self,
        source: &[T::Acc],
        (first, pitch, lines, len): (usize, isize, usize, usize),
        step: isize,
        out: &mut [T::Acc],
        width: usize,
    ) {
        if step != 1 && len > 1 {
            return self.isa.run(CopyEvery { source, first, pitch, step, lines, len, out, out_pitch: width });
        }
        let (out_first, out_pitch) = (0, width.cast_signed());
        let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
        self.isa.run(CopyLines { source, first, pitch, lines, len, out, out_first, out_pitch, put });
    }

    /// Writes the sums of some channels, in segments of the output: where they begin, and their lengths.
    fn write(
        &self,
        output: &mut ViewMut<'_, T>,
        channels: Range<usize>,
        (segments, step): (&[(isize, usize)], isize),
        (sums, width): (&[T::Acc], usize),
    ) {
        let start = output.index([0, channels.start, 0, 0, 0]);
        let pitch = output.strides5()[1];
        let mut at = 0;
        for &(offset, len) in segments {
            let first = start.wrapping_add_signed(offset);
            if self.update == Update::overwrite() && (step == 1 || len == 1) {
                self.isa.run(CopyLines {
                    source: sums,
                    first: at,
                    pitch: width.cast_signed(),
                    lines: channels.len(),
                    len,
                    out: output.data_mut(),
                    out_first: first,
                    out_pitch: pitch,
                    put: |out: &mut [T], sums: &[T::Acc]| T::round(sums, out),
                });
            } else {
                for channel in 0..channels.len() {
                    let first = first.wrapping_add_signed(pitch.wrapping_mul(channel.cast_signed()));
                    for x in 0..len {
                        let index = first.wrapping_add_signed(step.wrapping_mul(x.cast_signed()));
                        self.update.apply(&mut output.data_mut()[index], sums[channel * width + at + x]);
                    }
                }
            }
            at += len;
        }
    }
}
