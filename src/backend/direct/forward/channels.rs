//! The forward pass with output channels in lanes: for every shape and any strides.
//!
//! ```text
//! pack the weights into [tile of output channels][block of input channels][tap][channel of the block][V lanes]
//! for part of the batch in parallel:
//!     for some images, group, band of output rows:                so small that its panel stays in the L2 cache
//!         pack the input into [block][row][column][image][channel of the block]
//!         for tile of output channels, tile of positions:
//!             sums[position][channel] = bias + the kernel over all blocks and taps
//!             write the sums, transposed where positions lie side by side
//! ```
//!
//! 1. A tap only shifts where the panel is read: nothing is unfolded. Zeros stand at both ends of a row; rows in the padding
//!    are left out of the walk.
//! 2. Rows shorter than a tile of positions take several images in turn, so that columns of all of them make whole tiles.
//! 3. Where the weights of a tile are too many for the cache, they are multiplied some blocks at a time with all positions of
//!    the band, whose sums wait in memory.
//! 4. Every output is one sum in one order: it does not show which thread computed it, nor in which tile.

use super::super::panel::{Line, Positions, pack};
use super::super::window::{self, AxisWindow, meeting_taps, piece, pieces, step};
use super::channels_plan::ChannelsPlan;
use super::weights::{pack as pack_weights, pack_bias, pack_depthwise};
use super::write::write_positions;
use crate::correlation::Correlation;
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk, join, pays, threads_for, work_within};
use crate::problem::Update;
use crate::shape::{Axis, ConvShape};
use crate::simd::Isa;
use crate::simd::correlate::{CorrelateTile, Level, Numbers, Start, for_correlate_tile};
use crate::simd::multiply::{MultiplyTile, for_multiply_tile};
use crate::simd::tile::Tile;
use crate::tensor::{Runs, View, ViewMut};
use std::ops::Range;

/// Computes a forward pass.
pub(super) fn run<T: Element>(problem: Correlation<'_, T>, plan: &ChannelsPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let shape = problem.shape;
    let plan = &plan.shared_by(threads_for(shape.flops()), shape.batch());
    let [biases, weights] = plan.packed_lens();
    let (bias, scratch) = scratch.split_at_mut(biases);
    let (weights, slots) = scratch.split_at_mut(weights);
    if plan.is_depthwise {
        pack_depthwise(&problem, plan.lanes, bias, weights);
    } else {
        pack_bias(&problem, &plan.order, bias);
        pack_weights(isa, &problem, &plan.order, weights);
    }
    let Correlation { input, output, update, .. } = problem;
    let pass = Pass { shape, plan, isa, input, bias, weights, update, slot_len: plan.slot_len(&shape) };
    pass.compute(0, output, &mut slots[..plan.parts * pass.slot_len], shape.flops());
}

/// What all parts share.
struct Pass<'a, T: Element> {
    shape: ConvShape,
    plan: &'a ChannelsPlan,
    isa: Isa,
    input: View<'a, T>,
    bias: &'a [T::Acc],
    weights: &'a [T::Acc],
    update: Update<T>,
    slot_len: usize,
}

impl<T: Element> Pass<'_, T> {
    /// Computes the images of an output, of which this is the first: by halves, while there is scratch for both.
    fn compute(&self, first: usize, output: ViewMut<'_, T>, slots: &mut [T::Acc], flops: f64) {
        let tasks = slots.len() / self.slot_len;
        let images = output.dims5()[0];
        let middle = images.div_ceil(self.plan.images) / 2 * self.plan.images;
        if tasks == 1 || !pays(flops) {
            return self.compute_in_turn(first, output, slots, flops);
        }
        match output.split_first(middle) {
            Ok((low, high)) => {
                let (low_slots, high_slots) = slots.split_at_mut(tasks / 2 * self.slot_len);
                let half = flops / 2.0;
                join(
                    flops,
                    || self.compute(first, low, low_slots, half),
                    || self.compute(first + middle, high, high_slots, half),
                );
            }
            Err(whole) => self.compute_in_turn(first, whole, slots, flops),
        }
    }

    /// Computes the windows of some images one after the other.
    fn compute_in_turn(&self, first: usize, mut output: ViewMut<'_, T>, slots: &mut [T::Acc], flops: f64) {
        let Pass { shape, plan, .. } = self;
        let (panel, sums) = slots[..self.slot_len].split_at_mut(plan.panel_len(shape));
        let [depth, height, _] = *shape.axes();
        let count = output.dims5()[0];
        let bands = [0, 1].map(|i| pieces(shape.axes()[i].output, plan.band[i]));
        let windows = count.div_ceil(plan.images) * plan.groups * bands[0] * bands[1];
        let work = work_within(plan.parts, flops / windows as f64);
        for image in (0..count).step_by(plan.images) {
            let images = image..count.min(image + plan.images);
            for group in 0..plan.groups {
                let channels = plan.of_group(group, plan.channels[1], shape.out_channels());
                for band in 0..bands[0] * bands[1] {
                    let depths = piece(depth.output, plan.band[0], band / bands[1]);
                    let rows = piece(height.output, plan.band[1], band % bands[1]);
                    let outputs = [depths.clone(), rows.clone()];
                    let window = self.pack(first + image..first + images.end, group, outputs, panel, work);
                    let output = output
                        .reborrow()
                        .every(0, images.start, 1, images.len())
                        .every(1, channels.start, 1, channels.len())
                        .every(2, depths.start, 1, depths.len())
                        .every(3, rows.start, 1, rows.len());
                    let piece = Piece { output, channel: 0, first: [0, 0] };
                    window.divide(piece, sums, work);
                }
            }
        }
    }

    /// Packs the input of some outputs.
    fn pack<'w>(
        &'w self,
        images: Range<usize>,
        group: usize,
        [depths, rows]: [Range<usize>; 2],
        panel: &'w mut [T::Acc],
        work: f64,
    ) -> Window<'w, T> {
        let Pass { shape, plan, isa, input, .. } = self;
        let [depth, height, width] = *shape.axes();
        let axes = [AxisWindow::new(depth, depths), AxisWindow::new(height, rows)];
        let [of_depth, of_rows] =
            axes.each_ref().map(|axis| Positions { first: axis.first, step: axis.step, len: axis.len });
        let channels = plan.of_group(group, plan.channels[0], shape.in_channels());
        let channels_of_block = if plan.is_depthwise { plan.lanes } else { plan.order.channels };
        let columns = Columns::new(&width, plan.columns);
        let column_len = images.len() * plan.pitch;
        let line_len = plan.columns * column_len;
        let block_len = of_depth.len * of_rows.len * line_len;
        if block_len > 0 && columns.inside.len > 0 {
            let packed = &mut panel[..plan.order.blocks * block_len];
            let work = if work > 0.0 { packed.len() as f64 * ELEMENT_FLOPS } else { 0.0 };
            for_each_chunk(packed, block_len, work, |block, out| {
                let channel = block * channels_of_block;
                let count = channels_of_block.min(channels.len().saturating_sub(channel));
                if count < channels_of_block {
                    out.fill(T::Acc::default());
                }
                if count == 0 {
                    return;
                }
                let line = Line { first: channels.start + channel, count, apart: 1, at: 0 };
                // Side by side at the end of the block first, all lines at once; then each line to its place, which is before.
                let (before, inside) = (columns.before * column_len, columns.inside.len * column_len);
                let packed_at = out.len() - of_depth.len * of_rows.len * inside;
                for (i, image) in images.clone().enumerate() {
                    let positions = [of_depth, of_rows, columns.inside];
                    pack(*isa, input, image, line, positions, column_len, &mut out[packed_at + i * plan.pitch..]);
                }
                if packed_at > 0 {
                    for line in 0..of_depth.len * of_rows.len {
                        let (source, begin) = (packed_at + line * inside, line * line_len);
                        out.copy_within(source..source + inside, begin + before);
                        out[begin..begin + before].fill(T::Acc::default());
                        out[begin + before + inside..begin + line_len].fill(T::Acc::default());
                    }
                }
            });
        } else {
            // Nothing but padding is read, which is left out or zero.
            let len = plan.order.blocks * block_len;
            panel[..len].fill(T::Acc::default());
        }
        Window { pass: self, group, images: images.len(), axes, panel }
    }
}

/// The columns of a panel: zeros, those of the input, zeros.
struct Columns {
    before: usize,
    inside: Positions,
}

impl Columns {
    fn new(axis: &Axis, columns: usize) -> Columns {
        let step = step(axis);
        let before = axis.padding.div_ceil(step).min(columns);
        let end = (axis.input + axis.padding).div_ceil(step).min(columns);
        let first = (before * step).saturating_sub(axis.padding);
        Columns { before, inside: Positions { first, step, len: end - before } }
    }
}

/// Some images of a group, and a band of their outputs, with their input packed.
struct Window<'a, T: Element> {
    pass: &'a Pass<'a, T>,
    group: usize,
    images: usize,
    /// Depth and rows.
    axes: [AxisWindow; 2],
    panel: &'a [T::Acc],
}

/// Some of the outputs of a window.
struct Piece<'a, T> {
    output: ViewMut<'a, T>,
    /// Its first channel in the group, and its first depth and row in the window.
    channel: usize,
    first: [usize; 2],
}

impl<T: Element> Window<'_, T> {
    /// Computes a piece: by halves, while there are sums for both and threads to spare.
    fn divide(&self, piece: Piece<'_, T>, sums: &mut [T::Acc], work: f64) {
        let Pass { shape, plan, .. } = self.pass;
        let sums_len = plan.sums_len(shape);
        let count = sums.len() / sums_len;
        if count <= 1 || threads_for(work) == 1 {
            return self.compute(piece, &mut sums[..sums_len]);
        }
        let Piece { output, channel, first } = piece;
        let [_, channels, depths, rows, _] = output.dims5();
        let width = 2 * plan.lanes;
        let middles =
            [(1, channels.div_ceil(width) / 2 * width), (2, depths / 2), (3, if depths == 1 { rows / 2 } else { 0 })];
        let mut output = output;
        for (axis, middle) in middles {
            output = match output.split(axis, middle) {
                Ok((low, high)) => {
                    let (low_sums, high_sums) = sums.split_at_mut(count / 2 * sums_len);
                    let low = Piece { output: low, channel, first };
                    let mut high = Piece { output: high, channel, first };
                    match axis {
                        1 => high.channel += middle,
                        axis => high.first[axis - 2] += middle,
                    }
                    let half = work / 2.0;
                    join(work, || self.divide(low, low_sums, half), || self.divide(high, high_sums, half));
                    return;
                }
                Err(whole) => whole,
            };
        }
        self.compute(Piece { output, channel, first }, &mut sums[..sums_len]);
    }

    /// Computes a piece on this thread.
    fn compute(&self, mut piece: Piece<'_, T>, sums: &mut [T::Acc]) {
        let Pass { plan, .. } = self.pass;
        let [_, channels, depths, rows, columns] = piece.output.dims5();
        let (lines, line_len) = if plan.is_flat { (1, depths * rows * columns) } else { (depths * rows, columns) };
        let Piece { channel: first, first: [first_depth, first_row], .. } = piece;
        let line = |index: usize| [first_depth + index / rows, first_row + index % rows];
        let order = &plan.order;
        let images = self.images;
        for tile in 0..order.tiles() {
            let tile = order.tile(tile);
            if tile.start < first || tile.start >= first + channels {
                continue;
            }
            let count = channels.min(tile.end - first) - (tile.start - first);
            let width = tile.len();
            // Of one line, or of all of them.
            let write = |output: &mut ViewMut<'_, T>, line: Option<usize>, range: Range<usize>, sums: &[T::Acc]| {
                let [.., d, h, w] = output.strides5();
                let (at, runs) = match line.filter(|_| !plan.is_flat) {
                    None => ([0, 0], Runs::new([(1, 0), (depths, d), (rows, h), (columns, w)])),
                    Some(line) => ([line / rows, line % rows], Runs::new([(1, 0), (1, 0), (1, 0), (columns, w)])),
                };
                for image in 0..images {
                    let start = output.index([image, tile.start - first, at[0], at[1], 0]);
                    let (isa, update) = (self.pass.isa, self.pass.update);
                    let sums = &sums[image * width..];
                    write_positions(isa, output, start, &runs, range.clone(), (sums, images * width), count, update);
                }
            };
            if !plan.holds_band {
                let strips = pieces(line_len, plan.strip());
                for index in 0..lines {
                    for strip in (0..strips).map(|i| window::piece(line_len, plan.strip(), i)) {
                        let at = strip.start * images..strip.end * images;
                        self.add(line(index), &tile, 0..order.blocks, at, sums);
                        write(&mut piece.output, Some(index), strip, sums);
                    }
                }
            } else {
                let sums_of_line = line_len * images * width;
                for blocks in (0..order.blocks).step_by(plan.blocks) {
                    let blocks = blocks..order.blocks.min(blocks + plan.blocks);
                    for index in 0..lines {
                        let sums = &mut sums[index * sums_of_line..][..sums_of_line];
                        self.add(line(index), &tile, blocks.clone(), 0..line_len * images, sums);
                    }
                }
                write(&mut piece.output, None, 0..lines * line_len, sums);
            }
        }
    }

    /// Adds the products of some blocks to the sums of some positions of the line of a depth and row of the window; the first
    /// block begins them.
    fn add(
        &self,
        [depth_of_line, row_of_line]: [usize; 2],
        channels: &Range<usize>,
        blocks: Range<usize>,
        positions: Range<usize>,
        sums: &mut [T::Acc],
    ) {
        let Pass { shape, plan, isa, bias, weights, .. } = self.pass;
        let [depth, height, width] = *shape.axes();
        let order = &plan.order;
        let lanes = channels.len();
        let first = self.group * order.out_channels + channels.start;
        let start = if blocks.start == 0 { Start::Vectors(&bias[first..][..lanes]) } else { Start::Sums };
        // From an output to the next, a tap, a row, a depth, a block to the next.
        let column = self.images * plan.pitch;
        let step = step(&width);
        let position = width.stride / step * plan.pitch;
        let row = plan.columns * column;
        let plane = self.axes[1].len * row;
        let block = self.axes[0].len * plane;
        let outputs = [self.axes[0].outputs.start + depth_of_line, self.axes[1].outputs.start + row_of_line];
        let taps = [meeting_taps(&depth, outputs[0]), meeting_taps(&height, outputs[1])];
        let tap_len = order.channels * lanes;
        let runs_merge = !plan.is_depthwise && order.channels == column && width.dilation == step;
        let (columns, steps) = if runs_merge {
            (Level::ONE, width.kernel * order.channels)
        } else {
            (Level { count: width.kernel, vectors: tap_len, numbers: width.dilation / step * column }, order.channels)
        };
        let apart = |i: usize, axis: &Axis| axis.dilation / self.axes[i].step;
        let levels = [
            Level { count: blocks.len(), vectors: order.taps * tap_len, numbers: block },
            Level {
                count: taps[0].len(),
                vectors: height.kernel * width.kernel * tap_len,
                numbers: apart(0, &depth) * plane,
            },
            Level { count: taps[1].len(), vectors: width.kernel * tap_len, numbers: apart(1, &height) * row },
            columns,
        ];
        let meets = taps.iter().all(|taps| !taps.is_empty());
        let (vectors, numbers) = if meets {
            let tap = taps[0].start * height.kernel + taps[1].start;
            let at = [0, 1].map(|i| self.axes[i].packed(outputs[i], taps[i].start));
            (
                first * order.len() + (blocks.start * order.taps + tap * width.kernel) * tap_len,
                blocks.start * block + at[0] * plane + at[1] * row,
            )
        } else {
            (0, 0)
        };
        let (vectors, panel) = (&weights[vectors..], &self.panel[numbers..]);
        let v = lanes / plan.lanes;
        let longest = plan.max_n[v - 1];
        let [_, depths, rows, columns_of_taps] = levels;
        for index in 0..pieces(positions.len(), longest) {
            let tile = piece(positions.len(), longest, index);
            let numbers = if meets { &panel[(positions.start + tile.start) * position..] } else { &panel[..0] };
            let sums = &mut sums[tile.start * lanes..tile.end * lanes];
            if plan.is_depthwise {
                let (input, start) = (numbers, &bias[first..]);
                let levels = [depths, rows, columns_of_taps];
                for_multiply_tile!(
                    tile.len(),
                    isa.run(MultiplyTile::<T::Acc, N> { vectors, input, levels, position, start, sums })
                );
                continue;
            }
            let lie = Numbers::Apart(position);
            for_correlate_tile!(
                Tile { v, n: tile.len() },
                isa.run(CorrelateTile::<T::Acc, V, N> { vectors, numbers, levels, steps, lie, start, sums })
            );
        }
    }
}
