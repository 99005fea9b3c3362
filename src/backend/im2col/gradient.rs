//! The weight gradient: tasks sum blocks of it in scratch, then every entry of the caller's view is updated once.

use super::plan::{GradientPlan, Pieces};
use super::unfold::{Outputs, Unfolded};
use crate::element::Element;
use crate::gemm::{Gemm, MatrixMut};
use crate::partition::{ELEMENT_FLOPS, for_each_chunk, for_each_part};
use crate::problem::{Update, WeightGradient};
use crate::shape::ConvShape;
use crate::tensor::ViewMut;

pub(super) fn weight_gradient<T: Element>(problem: WeightGradient<'_, T>, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, .. } = problem;
    let plan = GradientPlan::new(shape);
    let unfolded = Unfolded::new(shape, input);
    let pieces = Pieces::new(shape, plan.blocking.columns, unfolded.keeps_images_apart());
    let product = Product { shape, plan, pieces, unfolded, delta: Outputs::new(delta) };

    let scratch = &mut scratch[..plan.scratch_len()];
    for_each_chunk(scratch, plan.task_len(), shape.flops(), |task, scratch| product.compute(task, scratch));

    let scratch = &*scratch;
    let flops = (plan.parts * shape.weights_len()) as f64 * ELEMENT_FLOPS;
    for_each_part(gradient, 0, 1, flops, &|first, gradient| product.write(scratch, first, gradient, update));
}

/// The product of delta and the unfolded input, and how it is cut.
struct Product<'a, T> {
    shape: &'a ConvShape,
    plan: GradientPlan,
    pieces: Pieces,
    unfolded: Unfolded<'a, T>,
    delta: Outputs<'a, T>,
}

impl<T: Element> Product<'_, T> {
    /// Sums the blocks of one task, `[group's out channels, rows]` each.
    fn compute(&self, task: usize, scratch: &mut [T::Acc]) {
        let GradientPlan { blocking, units_per_task, unit_len, .. } = self.plan;
        let (part, units) = self.plan.task(task);
        let share = self.plan.pieces_of(part, self.pieces.count());
        let (blocks, scratch) = scratch.split_at_mut(units_per_task * unit_len);
        let (unfolded_scratch, delta_scratch) = scratch.split_at_mut(blocking.unfolded_len());
        for (unit, block) in units.zip(blocks.chunks_exact_mut(unit_len)) {
            let (group, rows) = (unit / blocking.row_blocks, blocking.rows_of(unit % blocking.row_blocks));
            for (index, terms) in share.clone().map(|piece| self.pieces.get(piece)).enumerate() {
                let unfolded = self.unfolded.piece(group, rows.clone(), terms.clone(), unfolded_scratch).transposed();
                let beta = T::Acc::from_f64(if index == 0 { 0.0 } else { 1.0 });
                let channels = self.shape.group_out_channels();
                let first = group * channels;
                if let Some(delta) = self.delta.in_place(first..first + channels, terms.clone()) {
                    let block = MatrixMut::new(block, [channels, rows.len()], rows.len());
                    T::Acc::gemm(delta, unfolded, beta, block);
                    continue;
                }
                for begin in (0..channels).step_by(blocking.channels) {
                    let some = begin..channels.min(begin + blocking.channels);
                    let delta = self.delta.copy(first + some.start..first + some.end, terms.clone(), delta_scratch);
                    let block = &mut block[begin * rows.len()..];
                    T::Acc::gemm(delta, unfolded, beta, MatrixMut::new(block, [some.len(), rows.len()], rows.len()));
                }
            }
        }
    }

    /// Updates the out channels from `first` on with the sums of all parts, in the order of memory where the weights are
    /// contiguous, and within one channel's weights at least where they are not.
    fn write(&self, scratch: &[T::Acc], first: usize, mut gradient: ViewMut<'_, T>, update: Update<T>) {
        let GradientPlan { blocking, parts, .. } = self.plan;
        let part_stride = self.plan.part_stride();
        let rows = self.unfolded.order.weight_rows(gradient.dims5(), gradient.strides5());
        for channel in 0..gradient.dims5()[0] {
            let start = gradient.index([channel, 0, 0, 0, 0]);
            let group = (first + channel) / self.shape.group_out_channels();
            let channel = (first + channel) % self.shape.group_out_channels();
            for block in 0..blocking.row_blocks {
                let block_rows = blocking.rows_of(block);
                let block_start = self.plan.unit_start(group * blocking.row_blocks + block);
                let mut at = block_start + channel * block_rows.len();
                rows.for_each(block_rows, |offset, len| {
                    for (i, &sum) in scratch[at..at + len].iter().enumerate() {
                        let sum = (1..parts).fold(sum, |sum, part| sum + scratch[part * part_stride + at + i]);
                        let index = start.wrapping_add_signed(offset + i as isize * rows.stride());
                        update.apply(&mut gradient.data_mut()[index], sum);
                    }
                    at += len;
                });
            }
        }
    }
}
