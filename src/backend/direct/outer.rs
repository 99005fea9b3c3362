//! The outer-product kernel over a whole problem: output channels in lanes, input channels broadcast; or groups in lanes.
//!
//! ```text
//! for set of groups, part in parallel:
//!     for window of its images and outputs:                   so small that its panels stay in cache
//!         pack delta into [oc tile][position][V lanes], input into [ic tile][position][N]
//!         for chunk of positions, oc tile:                    so few that delta's stay in the L1 cache
//!             for ic tile, tap:
//!                 sums[part, oc tile, ic tile, tap] += outer products over the chunk's positions
//! merge the parts in their order; write the sums into the gradient
//! ```
//!
//! 1. A tap only shifts where the input panel is read, so one packed copy serves all taps: no unfolding.
//! 2. Padding is not packed and not multiplied: each tap walks the outputs for which it meets the input.
//! 3. Parts have sums and panels of their own, so that threads neither wait for each other nor share caches. Where the
//!    sums are too many to have copies of, there is one part, and threads share its windows: each owns some tiles. So do
//!    threads that are more than the parts.
//! 4. Groups of few channels would leave lanes idle. As many groups as lanes make a *bundle*, one channel of each a vector of
//!    either operand, and a tile some channels by some others in all of them: the same walk over the same panels, but that
//!    the input's are vectors. Groups of 8 channels took 0.5 to 0.6 of the time that the kernels with positions in lanes took,
//!    and of stride 2 half as long; of 16 channels, which fill the lanes by themselves, 1.2 times as long (Zen 5, AVX-512).
//! 5. Sets of bundles are cut each for itself, so that windows need not be small to hold all groups.
//! 6. Windows, chunks and parts depend on the shape and the instruction set, not on the threads: the bits are the same
//!    on any number of them.

use super::cut::{Chunks, Window};
use super::outer_plan::OuterPlan;
use super::panel::{Panel, Positions, Tiling};
use super::parts::sum_parts;
use super::window::AxisWindow;
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk, join, threads_for, work_within};
use crate::problem::WeightGradient;
use crate::shape::ConvShape;
use crate::simd::grouped::GroupedTile;
use crate::simd::outer::OuterTile;
use crate::simd::tile::{Tile, for_tile};
use crate::simd::walk::Walk;
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use crate::write::{SumRows, Sums, write, write_bias};
use std::ops::Range;

/// Computes a problem by its plan.
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &OuterPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, bias } = problem;
    let totals_len = if bias.is_some() { plan.totals_len() } else { 0 };
    let set_len = plan.sums_len(shape) + totals_len;
    let lens = [set_len, plan.panels_len(shape)];
    let sums = sum_parts(shape, &plan.cut, plan.sets, scratch, lens, |window, set, is_first, sums, panels| {
        let (sums, totals) = sums.split_at_mut(plan.sums_len(shape));
        let bundles = plan.bundles_of_set(shape, set);
        let window = PackedWindow::new(shape, plan, isa, window, bundles, (&delta, &input), panels);
        window.add_to(sums, is_first);
        if !totals.is_empty() {
            window.add_totals(totals, is_first);
        }
    });
    let sums = TileSums { shape, plan, sums, set_len };
    if let Some(bias) = bias {
        write_bias(|channel| sums.total(channel), bias, update);
    }
    write(isa, shape, &sums, gradient, update);
}

/// A packed window, ready to be multiplied.
struct PackedWindow<'a, A> {
    shape: &'a ConvShape,
    plan: &'a OuterPlan,
    isa: Isa,
    window: &'a Window,
    bundles: Range<usize>,
    /// `[bundle][oc tile][image][position][V lanes]`
    delta: Panel<'a, A>,
    /// `[bundle][ic tile][image][position][N][group of the bundle]`
    input: Panel<'a, A>,
}

impl<'a, A: Lane> PackedWindow<'a, A> {
    /// Packs a window; on this thread, or on all of them where there is only one part.
    fn new<T: Element<Acc = A>>(
        shape: &'a ConvShape,
        plan: &'a OuterPlan,
        isa: Isa,
        window: &'a Window,
        bundles: Range<usize>,
        operands: (&View<'_, T>, &View<'_, T>),
        panels: &'a mut [A],
    ) -> PackedWindow<'a, A> {
        let images = || window.images.clone();
        let bundle = plan.bundle;
        let (first_group, end_group) = (bundles.start * bundle, shape.groups().min(bundles.end * bundle));
        let (oc, ic) = (shape.group_out_channels(), shape.group_in_channels());
        let tiling = |channels, tiles, width| Tiling { first_group, end_group, bundle, channels, tiles, width };
        let of_delta = tiling(oc, plan.oc_tiles, plan.width());
        let of_input = tiling(ic, plan.ic_tiles, plan.tile.n * bundle);
        let axes = window.axes.each_ref();
        let outputs = axes.map(|a| Positions { first: a.outputs.start, step: 1, len: a.outputs.len() });
        let inputs = axes.map(|a| Positions { first: a.first, step: a.step, len: a.len });
        let (delta_panel, input_panel) = panels.split_at_mut(Panel::<A>::len(images().len(), of_delta, outputs));
        let tasks = plan.cut.parts * plan.sets;
        let work = work_within(tasks, (delta_panel.len() + input_panel.len()) as f64 * ELEMENT_FLOPS);
        let (delta, input) = join(
            work,
            || Panel::pack(isa, operands.0, images(), of_delta, outputs, work, delta_panel),
            || Panel::pack(isa, operands.1, images(), of_input, inputs, work, input_panel),
        );
        PackedWindow { shape, plan, isa, window, bundles, delta, input }
    }

    /// Adds the outer products of all positions to the sums of all bundles: `[bundle][oc tile][ic tile][N][tap][V lanes]`. The
    /// first window clears them, each task its own, which then are in its cache.
    fn add_to(&self, sums: &mut [A], is_first: bool) {
        let PackedWindow { shape, plan, window, .. } = self;
        let chunks = Chunks::new(plan.cut.chunk, window);
        let share = (window.images.len() * window.delta_positions()) as f64 / (plan.sets * shape.terms()) as f64;
        let tasks = plan.cut.parts * plan.sets;
        let work = work_within(tasks, shape.flops() * share);
        // The more threads share a part, the smaller their tasks; who adds to a sum does not change it.
        let task_rows = plan.task_rows(threads_for(work).div_ceil(tasks));
        let tile = Tile { n: plan.tile.n.min(task_rows), ..plan.tile };
        let row_len = shape.taps() * plan.width();
        let sums = &mut sums[..self.bundles.len() * plan.oc_tiles * plan.ic_tiles * plan.tile_len(shape)];
        for_each_chunk(sums, task_rows * row_len, work, |task, sums| {
            if is_first {
                sums.fill(A::default());
            }
            for chunk in (0..chunks.count()).map(|index| chunks.get(index)) {
                for (i, sums) in sums.chunks_exact_mut(tile.n * row_len).enumerate() {
                    let first_row = task * task_rows + i * tile.n;
                    self.add_chunk(&chunk, first_row, tile, sums);
                }
            }
        });
    }

    /// Adds the positions of all bundles to delta's totals: `[bundle][oc tile][V lanes]`. The first window clears them.
    fn add_totals(&self, totals: &mut [A], is_first: bool) {
        let PackedWindow { plan, window, bundles, delta, .. } = self;
        let totals = &mut totals[..bundles.len() * plan.oc_tiles * plan.width()];
        if is_first {
            totals.fill(A::default());
        }
        let elements = window.images.len() * window.delta_positions() * totals.len();
        let work = work_within(plan.cut.parts * plan.sets, elements as f64 * ELEMENT_FLOPS);
        delta.add_totals(self.isa, plan.cut.chunk, work, totals);
    }

    /// Adds the outer products of one chunk of positions to the sums of one tile, or a share of its rows, tap by tap. Rows
    /// count through the input tiles of all tiles of delta.
    fn add_chunk(&self, chunk: &[Range<usize>; 4], first_row: usize, tile: Tile, sums: &mut [A]) {
        let PackedWindow { shape, plan, isa, window, delta, input, .. } = self;
        let (tile_pair, row) = (first_row / plan.tile.n, first_row % plan.tile.n);
        // Tiles of both operands count through all bundles.
        let delta_tile = tile_pair / plan.ic_tiles;
        let input_tile = delta_tile / plan.oc_tiles * plan.ic_tiles + tile_pair % plan.ic_tiles;
        let [images, outputs @ ..] = chunk;
        let image = images.start - window.images.start;
        let [delta_image, delta_depth, delta_row, _] = delta.pitches();
        let [input_image, input_depth, input_row, input_column] = input.pitches();
        let [depth, height, width] = &window.axes;
        let taps = shape.axes().map(|a| a.kernel);
        let pitch = shape.taps() * plan.width();
        let mut tap = 0..shape.taps();
        for kd in 0..taps[0] {
            let depths = Overlap::new(depth, &outputs[0], kd);
            for kh in 0..taps[1] {
                let rows = Overlap::new(height, &outputs[1], kh);
                for (kw, tap) in (0..taps[2]).zip(&mut tap) {
                    let columns = Overlap::new(width, &outputs[2], kw);
                    if depths.len == 0 || rows.len == 0 || columns.len == 0 {
                        continue;
                    }
                    let (planes, delta_plane, input_plane) = if window.is_flat {
                        (images.len(), delta_image, input_image)
                    } else {
                        (depths.len, delta_depth, depth.stride() * input_depth)
                    };
                    let walk = Walk {
                        planes,
                        rows: rows.len,
                        columns: columns.len,
                        vectors_plane: delta_plane,
                        vectors_row: delta_row,
                        numbers_plane: input_plane,
                        numbers_row: height.stride() * input_row,
                        numbers_column: width.stride() * input_column,
                    };
                    let walk = walk.merged(plan.width());
                    let delta = delta.from(delta_tile, image, [depths.delta, rows.delta, columns.delta]);
                    let input = input.from(input_tile, image, [depths.input, rows.input, columns.input]);
                    let input = &input[row * plan.bundle..];
                    let sums = &mut sums[tap * plan.width()..];
                    if plan.bundle == 1 {
                        let (vectors, numbers) = (delta, input);
                        for_tile!(tile, isa.run(OuterTile::<A, V, N> { vectors, numbers, walk, sums, pitch }));
                    } else {
                        for_tile!(tile, isa.run(GroupedTile::<A, V, N> { delta, input, walk, sums, pitch }));
                    }
                }
            }
        }
    }
}

/// The outputs of a chunk for which a tap meets the input, along one axis.
struct Overlap {
    len: usize,
    /// The first of them in delta's panel, and the position it meets in the input's.
    delta: usize,
    input: usize,
}

impl Overlap {
    #[inline(always)]
    fn new(axis: &AxisWindow, outputs: &Range<usize>, tap: usize) -> Overlap {
        let valid = axis.valid(outputs, tap);
        if valid.is_empty() {
            return Overlap { len: 0, delta: 0, input: 0 };
        }
        Overlap { len: valid.len(), delta: valid.start - axis.outputs.start, input: axis.packed(valid.start, tap) }
    }
}

/// The merged sums of all sets: `[bundle][oc tile][ic tile][N][tap][V lanes]`, and behind them delta's totals if they are
/// wanted, `[bundle][oc tile][V lanes]`.
struct TileSums<'a, A> {
    shape: &'a ConvShape,
    plan: &'a OuterPlan,
    sums: &'a [A],
    /// Elements of a set.
    set_len: usize,
}

impl<A: Lane> TileSums<'_, A> {
    /// Where an output channel is: the sums of its set, its tile among those of the set, its lane.
    fn place(&self, channel: usize) -> (&[A], usize, usize) {
        let OuterPlan { bundle, oc_tiles, set_bundles, .. } = *self.plan;
        let (ocs, width) = (self.shape.group_out_channels(), self.plan.width());
        let (group, oc) = (channel / ocs, channel % ocs);
        let (set, of_set) = (group / bundle / set_bundles, group / bundle % set_bundles);
        // Where the channel would be in lanes, were there one tile.
        let lane = oc * bundle + group % bundle;
        (&self.sums[set * self.set_len..][..self.set_len], of_set * oc_tiles + lane / width, lane % width)
    }

    fn total(&self, channel: usize) -> A {
        let (sums, tile, lane) = self.place(channel);
        sums[self.plan.sums_len(self.shape)..][tile * self.plan.width() + lane]
    }
}

impl<A: Lane> Sums<A> for TileSums<'_, A> {
    fn neighbours(&self, channel: usize) -> Range<usize> {
        let (ocs, width) = (self.shape.group_out_channels(), self.plan.width());
        if self.plan.bundle > 1 {
            return channel..channel + 1;
        }
        let group = channel / ocs * ocs;
        let first = (channel - group) / width * width;
        group + first..group + ocs.min(first + width)
    }

    fn rows(&self, channels: Range<usize>) -> SumRows<'_, A> {
        let (sums, tile, lane) = self.place(channels.start);
        let first = tile * self.plan.ic_tiles * self.plan.tile_len(self.shape) + lane;
        SumRows { data: &sums[first..], pitch: self.plan.width(), channels: channels.len() }
    }
}
