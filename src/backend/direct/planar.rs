//! The planar kernel over a whole problem: channels of one operand in lanes, the other read where its planes lie.
//!
//! ```text
//! for part in parallel:
//!     for window of its images and outputs:
//!         pack the operand in lanes into [tile][position][V lanes]
//!         for task (some rows of the result), chunk of positions:         so few that they stay in the L2 cache
//!             for tile of lanes, tile of rows:
//!                 sums[part, row, lane] += the kernel over the chunk's positions
//! merge the parts in their order; write the sums into the gradient
//! ```
//!
//! 1. A row of the result is an input channel and a tap: all rows see the same positions, shifted. So a tile of rows takes
//!    what comes, be it seven taps of one of three channels, and no kernel size or channel count leaves a tile half empty.
//! 2. A kernel of one tap may have its roles exchanged, with input channels in lanes and output channels as rows: the smaller
//!    operand is packed then, and the larger one read once, in place.
//! 3. With padding, the input is copied between zeros first, which are multiplied like numbers. That pays where channels are
//!    few; where they are many, the [outer](super::outer) kernel skips the padding. The sum is the definition's as long as
//!    delta is finite; an infinite or NaN delta makes a NaN of taps that meet it in the padding.
//! 4. Windows, chunks and parts depend on the shape and the instruction set, not on the threads: the bits are the same on
//!    any number of them.

use super::cut::{Chunks, Window};
use super::panel::{Panel, Positions, Tiling};
use super::parts::sum_parts;
use super::planar_plan::{LaneOperand, PlanarPlan, sizes};
use super::planes::Planes;
use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_chunk, join, threads_for, work_within};
use crate::problem::WeightGradient;
use crate::shape::ConvShape;
use crate::simd::planar::PlanarTile;
use crate::simd::tile::{Tile, for_tile};
use crate::simd::totals::LineTotals;
use crate::simd::walk::Walk;
use crate::simd::{Isa, Lane};
use crate::tensor::View;
use crate::write::{SumRows, Sums, write, write_bias, write_rows};
use std::ops::{Add, Range};

/// Whether the operands lie as the kernel reads them by this plan.
pub(super) fn can_read<T: Element>(problem: &WeightGradient<'_, T>, plan: &PlanarPlan) -> bool {
    let in_place = match plan.in_lanes {
        LaneOperand::Delta => &problem.input,
        LaneOperand::Input => &problem.delta,
    };
    let strides = in_place.strides5();
    let is_near = |most: isize| strides[4] <= most || in_place.dims5()[4] == 1;
    if plan.copies {
        return is_near(MAX_COPIED_COLUMN_STRIDE);
    }
    is_near(MAX_COLUMN_STRIDE) && T::as_acc(in_place.data()).is_some() && strides.iter().all(|&stride| stride >= 0)
}

/// Whether the kernel sums delta along, which it can whose operands it [can read](can_read): in its panel; or where it lies, if
/// its columns lie side by side.
pub(super) fn fuses_bias<T: Element>(problem: &WeightGradient<'_, T>, plan: &PlanarPlan) -> bool {
    plan.in_lanes == LaneOperand::Delta || problem.delta.strides5()[4] == 1
}

/// Elements between columns up to which an operand is read in place. Channels last, columns of 64 and 256 channels were read
/// in place in 0.93 and 0.86 of the time that packing both operands took, columns of 1024 and 2048 in 1.03 to 1.10 of it: they
/// lie a power of two apart and share few sets of the caches (Zen 5).
const MAX_COLUMN_STRIDE: isize = 256;

/// Elements between columns up to which an operand is copied between the zeros of its padding. Channels last, 3x3 layers of
/// stride 2 took 0.91 of the time of packing both operands with 16 channels, 0.99 with 32, 1.18 with 64, and twice that time
/// with 32 groups of 16 or of 32 (Zen 5, AVX-512).
const MAX_COPIED_COLUMN_STRIDE: isize = 32;

/// Computes a problem by its plan, whose operands the kernel [can read](can_read).
pub(super) fn run<T: Element>(problem: WeightGradient<'_, T>, plan: &PlanarPlan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, bias } = problem;
    let wants_totals = bias.is_some();
    let totals_len = if wants_totals { plan.totals_len(shape) } else { 0 };
    let lens = [plan.sums_len(shape) + totals_len, plan.panels_len(shape)];
    let sums = sum_parts(shape, &plan.cut, 1, scratch, lens, |window, _, is_first, sums, panels| {
        let (sums, totals) = sums.split_at_mut(plan.sums_len(shape));
        let window = ReadyWindow::new(shape, plan, isa, window, (&delta, &input), panels, wants_totals);
        window.add_to(sums, is_first);
        if !totals.is_empty() {
            window.add_totals(totals, is_first);
        }
    });
    let (sums, totals) = sums.split_at(plan.sums_len(shape));
    let group = plan.group_rows() * plan.pitch();
    let (channels, rows) = sizes(plan.in_lanes, shape);
    let row = |oc: usize| &sums[oc / rows * group + oc % rows * plan.pitch()..][..plan.pitch()];
    if let Some(bias) = bias {
        let total = |oc: usize| match plan.in_lanes {
            LaneOperand::Delta => totals[oc / channels * plan.pitch() + oc % channels],
            LaneOperand::Input => pairwise_sum(&row(oc)[plan.pitch() - plan.lanes..]),
        };
        write_bias(total, bias, update);
    }
    match plan.in_lanes {
        LaneOperand::Delta => write(isa, shape, &LaneSums { shape, plan, sums }, gradient, update),
        LaneOperand::Input => write_rows(shape, |oc| &row(oc)[..channels], gradient, update),
    }
}

/// The sum of the lanes of a vector.
fn pairwise_sum<A: Lane + Add<Output = A>>(lanes: &[A]) -> A {
    match lanes {
        [sum] => *sum,
        _ => {
            let (low, high) = lanes.split_at(lanes.len() / 2);
            pairwise_sum(low) + pairwise_sum(high)
        }
    }
}

/// A window whose operands are ready to be multiplied.
struct ReadyWindow<'a, A> {
    shape: &'a ConvShape,
    plan: &'a PlanarPlan,
    isa: Isa,
    window: &'a Window,
    /// `[group][tile][image][position][V lanes]`
    vectors: Panel<'a, A>,
    numbers: Planes<'a, A>,
    wants_totals: bool,
}

impl<'a, A: Lane> ReadyWindow<'a, A> {
    /// Packs, and copies if the plan says so, a window; on this thread, or on all of them where there is only one part.
    fn new<T: Element<Acc = A>>(
        shape: &'a ConvShape,
        plan: &'a PlanarPlan,
        isa: Isa,
        window: &'a Window,
        (delta, input): (&View<'a, T>, &View<'a, T>),
        panels: &'a mut [A],
        wants_totals: bool,
    ) -> ReadyWindow<'a, A> {
        let images = window.images.clone();
        let (channels, _) = sizes(plan.in_lanes, shape);
        let tiling = Tiling::of_groups(shape.groups(), channels, plan.lane_tiles, plan.width());
        let step = |i: usize| if plan.in_lanes == LaneOperand::Delta { 1 } else { shape.axes()[i].stride };
        let positions = [0, 1, 2].map(|i| {
            let outputs = &window.axes[i].outputs;
            Positions { first: outputs.start * step(i), step: step(i), len: outputs.len() }
        });
        let panel_len = Panel::<A>::len(images.len(), tiling, positions);
        let (panel, copy) = panels.split_at_mut(panel_len);
        let packed = if plan.in_lanes == LaneOperand::Delta { delta } else { input };
        let work =
            work_within(plan.cut.parts, (panel_len + if plan.copies { copy.len() } else { 0 }) as f64 * ELEMENT_FLOPS);
        let (vectors, numbers) = join(
            work,
            || Panel::pack(isa, packed, images.clone(), tiling, positions, work, panel),
            || match plan.in_lanes {
                LaneOperand::Delta if plan.copies => Planes::copy(shape, input, window, work, copy),
                LaneOperand::Delta => Planes::of_input(shape, input, window),
                LaneOperand::Input => Planes::of_delta(delta, window),
            },
        );
        ReadyWindow { shape, plan, isa, window, vectors, numbers, wants_totals }
    }

    /// Adds the products of all positions to all sums: `[group][task][row][lanes]`. The first window clears them, each
    /// task its own, which then are in its cache.
    fn add_to(&self, sums: &mut [A], is_first: bool) {
        let ReadyWindow { shape, plan, window, .. } = self;
        let chunks = Chunks::new(plan.cut.chunk, window);
        let share = (window.images.len() * window.delta_positions()) as f64 / shape.terms() as f64;
        let work = work_within(plan.cut.parts, shape.flops() * share);
        let (_, rows) = sizes(plan.in_lanes, shape);
        // The more threads share a part, the smaller their tasks; who adds to a sum does not change it.
        let task_rows = plan.task_rows(shape, threads_for(work).div_ceil(plan.cut.parts));
        let group_rows = plan.group_rows();
        for_each_chunk(sums, task_rows * plan.pitch(), work, |task, sums| {
            if is_first {
                sums.fill(A::default());
            }
            let (group, first) = (task * task_rows / group_rows, task * task_rows % group_rows);
            // Rows that only fill the last task of a group have nothing to add.
            let rows = first.min(rows)..rows.min(first + task_rows);
            for chunk in (0..chunks.count()).map(|index| chunks.get(index)) {
                self.add_chunk(&chunk, group, rows.clone(), sums);
            }
        });
    }

    /// Adds all positions to the totals of delta's channels, which are in lanes. The first window clears them.
    fn add_totals(&self, totals: &mut [A], is_first: bool) {
        let ReadyWindow { plan, window, .. } = self;
        if is_first {
            totals.fill(A::default());
        }
        let elements = window.images.len() * window.delta_positions() * totals.len();
        let work = work_within(plan.cut.parts, elements as f64 * ELEMENT_FLOPS);
        self.vectors.add_totals(self.isa, plan.cut.chunk, work, totals);
    }

    /// Adds the products of one chunk of positions to the sums of some rows of a group.
    fn add_chunk(&self, chunk: &[Range<usize>; 4], group: usize, rows: Range<usize>, sums: &mut [A]) {
        let ReadyWindow { shape, plan, isa, window, vectors, numbers, .. } = self;
        let [images, outputs @ ..] = chunk;
        let image = images.start - window.images.start;
        let at: [usize; 3] = [0, 1, 2].map(|i| outputs[i].start - window.axes[i].outputs.start);
        let [vectors_image, vectors_depth, vectors_row, _] = vectors.pitches();
        let (planes, vectors_plane, numbers_plane) = if window.is_flat {
            (images.len(), vectors_image, numbers.image)
        } else {
            (outputs[0].len(), vectors_depth, numbers.outputs[0])
        };
        let walk = Walk {
            planes,
            rows: outputs[1].len(),
            columns: outputs[2].len(),
            vectors_plane,
            vectors_row,
            numbers_plane,
            numbers_row: numbers.outputs[1],
            numbers_column: numbers.outputs[2],
        };
        let walk = walk.merged(plan.width());
        let position: usize = (0..3).map(|i| at[i] * numbers.outputs[i]).sum();
        let data = &numbers.data[numbers.origin + image * numbers.image + position..];
        let first = RowStarts::new(shape, plan, numbers, group, rows.start);
        for lane_tile in 0..plan.lane_tiles {
            let vectors = vectors.from(group * plan.lane_tiles + lane_tile, image, at);
            let mut starts = first;
            let with_totals = self.wants_totals && plan.in_lanes == LaneOperand::Input && lane_tile == 0;
            for row in rows.clone().step_by(plan.tile.n) {
                let tile = Tile { n: plan.tile.n.min(rows.end - row), ..plan.tile };
                let sums = &mut sums[(row - rows.start) * plan.pitch() + lane_tile * plan.width()..];
                let pitch = plan.pitch();
                for_tile!(tile, {
                    let starts: [usize; N] = std::array::from_fn(|_| starts.next());
                    isa.run(PlanarTile::<A, V, N> { vectors, numbers: data, starts, walk, sums, pitch });
                    if with_totals {
                        for (n, start) in starts.into_iter().enumerate() {
                            let totals = &mut sums[n * pitch + pitch - plan.lanes..][..plan.lanes];
                            isa.run(LineTotals { numbers: &data[start..], walk, totals });
                        }
                    }
                });
            }
        }
    }
}

/// Where the rows of a group begin, one after the other: channels, and the taps of each.
#[derive(Clone, Copy)]
struct RowStarts {
    kernel: [usize; 3],
    channel: usize,
    taps: [usize; 3],
    /// The next row's channel, counted through all groups, and tap.
    next: [usize; 4],
}

impl RowStarts {
    fn new<A>(shape: &ConvShape, plan: &PlanarPlan, planes: &Planes<'_, A>, group: usize, row: usize) -> RowStarts {
        let kernel = shape.axes().map(|axis| axis.kernel);
        let channels = match plan.in_lanes {
            LaneOperand::Delta => shape.group_in_channels(),
            LaneOperand::Input => shape.group_out_channels(),
        };
        let (channel, tap) = (row / shape.taps(), row % shape.taps());
        let next =
            [group * channels + channel, tap / (kernel[1] * kernel[2]), tap / kernel[2] % kernel[1], tap % kernel[2]];
        RowStarts { kernel, channel: planes.channel, taps: planes.taps, next }
    }

    #[inline(always)]
    fn next(&mut self) -> usize {
        let [channel, taps @ ..] = &mut self.next;
        let start = *channel * self.channel + taps[0] * self.taps[0] + taps[1] * self.taps[1] + taps[2] * self.taps[2];
        for i in (0..3).rev() {
            taps[i] += 1;
            if taps[i] < self.kernel[i] {
                return start;
            }
            taps[i] = 0;
        }
        *channel += 1;
        start
    }
}

/// The merged sums with output channels in lanes, `[group][row][lanes]`.
struct LaneSums<'a, A> {
    shape: &'a ConvShape,
    plan: &'a PlanarPlan,
    sums: &'a [A],
}

impl<A: Sync> Sums<A> for LaneSums<'_, A> {
    fn neighbours(&self, channel: usize) -> Range<usize> {
        let ocs = self.shape.group_out_channels();
        let group = channel / ocs * ocs;
        group..group + ocs
    }

    fn rows(&self, channels: Range<usize>) -> SumRows<'_, A> {
        let (ocs, pitch) = (self.shape.group_out_channels(), self.plan.pitch());
        let (group, oc) = (channels.start / ocs, channels.start % ocs);
        SumRows { data: &self.sums[group * self.plan.group_rows() * pitch + oc..], pitch, channels: channels.len() }
    }
}
