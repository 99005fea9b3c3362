//! The forward pass, which is the input gradient's as well: the output is halved into parts that do not interleave in memory,
//! each computed by one task.

use super::plan::{Blocking, ForwardPlan, Pieces};
use super::unfold::{RowOrder, Unfolded, output_terms};
use crate::correlation::{Correlation, Weights};
use crate::element::Element;
use crate::gemm::{Gemm, Matrix, MatrixMut};
use crate::partition::{ELEMENT_FLOPS, for_each_chunk, join};
use crate::problem::Update;
use crate::shape::ConvShape;
use crate::tensor::{Runs, ViewMut};
use std::ops::Range;

pub(super) fn forward<T: Element>(problem: Correlation<'_, T>, scratch: &mut [T::Acc]) {
    let Correlation { shape, input, weights, bias, output, update } = problem;
    let shape = &shape;
    let plan = ForwardPlan::new(shape);
    let unfolded = Unfolded::new(shape, input);
    let pieces = Pieces::new(shape, plan.blocking.columns, unfolded.keeps_images_apart());
    let (weights_scratch, scratch) = scratch.split_at_mut(shape.weights_len());
    let weights = weight_matrix(shape, weights, unfolded.order, weights_scratch);
    let product =
        Product { shape, blocking: plan.blocking, task_len: plan.task_len(), pieces, unfolded, weights, bias, update };
    let part = Part { output, channels: 0..shape.out_channels(), terms: 0..shape.terms() };
    product.compute(part, &mut scratch[..plan.tasks * plan.task_len()], shape.flops());
}

/// The weights as a matrix of out channels by rows: in place, or copied in the order of the rows.
fn weight_matrix<'s, 'a: 's, T: Element>(
    shape: &ConvShape,
    weights: Weights<'a, T>,
    order: RowOrder,
    scratch: &'s mut [T::Acc],
) -> Matrix<'s, T::Acc> {
    let (channels, group_channels) = (shape.out_channels(), shape.group_out_channels());
    let len = shape.group_in_channels() * shape.taps();
    let axes = shape.axes();
    let taps = [0, 1, 2].map(|axis| (axes[axis].kernel, weights.taps[axis]));
    let rows = order.runs((shape.group_in_channels(), weights.in_channel), taps);
    let channel = Runs::new([(1, 0), (1, 0), (shape.groups(), weights.group), (group_channels, weights.out_channel)]);
    let in_place = rows.single(&(0..len)).zip(channel.single(&(0..channels))).zip(T::as_acc(weights.data));
    if let Some(((offset, _), data)) = in_place {
        let first = weights.origin.wrapping_add_signed(offset);
        return Matrix::new(data, first, [channels, len], [channel.stride(), rows.stride()]);
    }
    let flops = shape.weights_len() as f64 * ELEMENT_FLOPS;
    for_each_chunk(scratch, len, flops, |channel, copy| {
        let first = weights.index(channel / group_channels, channel % group_channels, 0);
        let mut copy = copy.iter_mut();
        rows.for_each(0..len, |offset, len| {
            let start = first.wrapping_add_signed(offset);
            for (i, copy) in copy.by_ref().take(len).enumerate() {
                *copy = weights.data[start.wrapping_add_signed(i as isize * rows.stride())].to_acc();
            }
        });
    });
    Matrix::new(scratch, 0, [channels, len], [len as isize, 1])
}

/// Terms and channels a part keeps when it is halved. The weights are packed again for every part of the terms, the input
/// unfolded again for every part of a group's channels; from these numbers on that takes less time than the product.
const LEAST_TERMS: usize = 96;
const LEAST_CHANNELS: usize = 128;

/// Some channels of some terms of the output. Terms are consecutive: all positions of several images, or a range of one.
struct Part<'a, T> {
    output: ViewMut<'a, T>,
    channels: Range<usize>,
    terms: Range<usize>,
}

impl<'a, T: Element> Part<'a, T> {
    /// A range of terms counted from the part's first.
    fn local(&self, terms: &Range<usize>) -> Range<usize> {
        terms.start - self.terms.start..terms.end - self.terms.start
    }

    /// The halves of the part along its outermost axis in memory; the whole and nothing where memory does not allow it or
    /// the halves would be too small.
    fn halve(self, group_channels: usize) -> (Self, Option<Self>) {
        let Part { mut output, channels, terms } = self;
        let dims = output.dims5();
        let spatial = (2..5).find(|&axis| dims[axis] > 1).filter(|_| dims[0] == 1);
        for axis in [0, 1].into_iter().chain(spatial) {
            // Whole groups have nothing in common that a cut would repeat.
            let several_groups = axis == 1 && channels.len() > group_channels;
            let unit = if several_groups { group_channels } else { 1 };
            let middle = dims[axis] / unit / 2 * unit;
            let middle_term = terms.start + terms.len() / dims[axis] * middle;
            let large_enough = match axis {
                1 => several_groups || middle >= LEAST_CHANNELS,
                _ => middle_term - terms.start >= LEAST_TERMS,
            };
            if !large_enough {
                continue;
            }
            match output.split(axis, middle) {
                Err(whole) => output = whole,
                Ok((low, high)) => {
                    let mut low = Part { output: low, channels: channels.clone(), terms: terms.clone() };
                    let mut high = Part { output: high, channels, terms };
                    if axis == 1 {
                        low.channels.end = low.channels.start + middle;
                        high.channels.start = low.channels.end;
                    } else {
                        low.terms.end = middle_term;
                        high.terms.start = middle_term;
                    }
                    return (low, Some(high));
                }
            }
        }
        (Part { output, channels, terms }, None)
    }
}

/// The product of the weights and the unfolded input, and how it is cut.
struct Product<'a, T: Element> {
    shape: &'a ConvShape,
    blocking: Blocking,
    task_len: usize,
    pieces: Pieces,
    unfolded: Unfolded<'a, T>,
    weights: Matrix<'a, T::Acc>,
    bias: Option<&'a [T]>,
    update: Update<T>,
}

impl<T: Element> Product<'_, T> {
    /// Computes a part with the scratch of at least one task: by halves while there is scratch for both.
    fn compute(&self, part: Part<'_, T>, scratch: &mut [T::Acc], flops: f64) {
        let tasks = scratch.len() / self.task_len;
        if tasks == 1 {
            return self.compute_alone(part, scratch);
        }
        let (low_scratch, high_scratch) = scratch.split_at_mut(tasks / 2 * self.task_len);
        match part.halve(self.shape.group_out_channels()) {
            (low, Some(high)) => {
                let half = flops / 2.0;
                join(flops, || self.compute(low, low_scratch, half), || self.compute(high, high_scratch, half));
            }
            (whole, None) => self.compute_alone(whole, scratch),
        }
    }

    fn compute_alone(&self, mut part: Part<'_, T>, scratch: &mut [T::Acc]) {
        let Blocking { channels: block_channels, row_blocks, .. } = self.blocking;
        let (unfolded_scratch, product_scratch) = scratch.split_at_mut(self.blocking.unfolded_len());
        let group_channels = self.shape.group_out_channels();
        let mut first = part.channels.start;
        while first < part.channels.end {
            // A block of channels within one group.
            let group = first / group_channels;
            let end = (first + block_channels).min((group + 1) * group_channels).min(part.channels.end);
            // A product is laid out as the output is, so that it can be written in runs.
            let channels_contiguous = part.output.strides5()[1] == 1;
            for terms in self.pieces.within(part.terms.clone()) {
                for rows in (0..row_blocks).map(|block| self.blocking.rows_of(block)) {
                    let beta = T::Acc::from_f64(if rows.start == 0 { 0.0 } else { 1.0 });
                    let weights = self.weights.block(first..end, rows.clone());
                    let unfolded = self.unfolded.piece(group, rows, terms.clone(), unfolded_scratch);
                    let (a, b, size) = if channels_contiguous {
                        (unfolded.transposed(), weights.transposed(), [terms.len(), end - first])
                    } else {
                        (weights, unfolded, [end - first, terms.len()])
                    };
                    T::Acc::gemm(a, b, beta, MatrixMut::new(product_scratch, size, size[1]));
                }
                if channels_contiguous {
                    self.write_terms(&mut part, first..end, terms, product_scratch);
                } else {
                    self.write_channels(&mut part, first..end, terms, product_scratch);
                }
            }
            first = end;
        }
    }

    /// Writes a product `[channels, terms]` with its bias into the part.
    fn write_channels(&self, part: &mut Part<'_, T>, channels: Range<usize>, terms: Range<usize>, product: &[T::Acc]) {
        let runs = output_terms(part.output.dims5(), part.output.strides5());
        for (channel, product) in channels.zip(product.chunks_exact(terms.len())) {
            let bias = self.bias(channel);
            let start = part.output.index([0, channel - part.channels.start, 0, 0, 0]);
            let mut product = product.iter();
            runs.for_each(part.local(&terms), |offset, len| {
                let start = start.wrapping_add_signed(offset);
                for (i, &sum) in product.by_ref().take(len).enumerate() {
                    let index = start.wrapping_add_signed(i as isize * runs.stride());
                    self.update.apply(&mut part.output.data_mut()[index], sum + bias);
                }
            });
        }
    }

    /// Writes a product `[terms, channels]` with its bias into the part, whose channels are contiguous.
    fn write_terms(&self, part: &mut Part<'_, T>, channels: Range<usize>, terms: Range<usize>, product: &[T::Acc]) {
        let runs = output_terms(part.output.dims5(), part.output.strides5());
        let start = part.output.index([0, channels.start - part.channels.start, 0, 0, 0]);
        let mut product = product.chunks_exact(channels.len());
        runs.for_each(part.local(&terms), |offset, len| {
            let start = start.wrapping_add_signed(offset);
            for (i, sums) in product.by_ref().take(len).enumerate() {
                let index = start.wrapping_add_signed(i as isize * runs.stride());
                let outputs = &mut part.output.data_mut()[index..index + sums.len()];
                for ((output, &sum), channel) in outputs.iter_mut().zip(sums).zip(channels.clone()) {
                    self.update.apply(output, sum + self.bias(channel));
                }
            }
        });
    }

    fn bias(&self, channel: usize) -> T::Acc {
        self.bias.map_or(T::Acc::default(), |bias| bias[channel].to_acc())
    }
}
