//! The matrices behind a convolution: the unfolded input, and delta as a matrix.
//!
//! ```text
//! unfolded[row, term] = input[n, ic, o*stride + k*dilation - padding]     row = (ic, k), term = (n, o)
//! delta[oc, term]     = delta[n, oc, o]
//! ```
//!
//! Either exists as pieces only, each made when it is asked for. A piece that memory already holds with one stride
//! along rows and one along terms is not copied at all: the unfolded input of a 1x1 kernel, of one-dimensional
//! convolutions without padding, and delta within an image.

use crate::element::Element;
use crate::gemm::Matrix;
use crate::shape::ConvShape;
use crate::tensor::{Runs, View};
use std::ops::Range;

/// Which of the two indices of a row counts faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowOrder {
    /// Row `ic * taps + tap`: the order of contiguous weights. A copied piece has its terms contiguous.
    TapsFastest,
    /// Row `tap * channels + ic`: a copied piece has its rows contiguous, as channels-last memory has.
    ChannelsFastest,
}

impl RowOrder {
    /// The rows of an operand `[.., channels, kernel..]` as one count over memory.
    pub fn runs(self, channels: (usize, isize), [d, h, w]: [(usize, isize); 3]) -> Runs {
        Runs::new(match self {
            RowOrder::TapsFastest => [channels, d, h, w],
            RowOrder::ChannelsFastest => [d, h, w, channels],
        })
    }

    /// The rows of a view of weights or of their gradient.
    pub fn weight_rows(self, dims: [usize; 5], strides: [isize; 5]) -> Runs {
        self.runs((dims[1], strides[1]), [2, 3, 4].map(|i| (dims[i], strides[i])))
    }
}

/// Whether an image in the order of its dimensions is its own unfolded matrix.
pub(super) fn one_image_lies_unfolded(shape: &ConvShape) -> bool {
    let [depth, height, width] = shape.axes();
    let steps = [height.input as isize * width.input as isize, width.input as isize, 1];
    let axes = [depth, height, width];
    let taps = [0, 1, 2].map(|i| (axes[i].kernel, steps[i].wrapping_mul(axes[i].dilation as isize)));
    let [d, h, w] = [0, 1, 2].map(|i| (axes[i].output, steps[i].wrapping_mul(axes[i].stride as isize)));
    let rows = RowOrder::TapsFastest.runs((shape.group_in_channels(), depth.input as isize * steps[0]), taps);
    let is_padded = axes.iter().any(|axis| axis.padding > 0 || axis.padding_end() > 0);
    !is_padded
        && rows.len() == shape.group_in_channels() * shape.taps()
        && Runs::new([(1, 0), d, h, w]).len() == shape.output_positions()
}

/// The unfolded input.
pub(super) struct Unfolded<'a, T> {
    shape: &'a ConvShape,
    input: View<'a, T>,
    pub order: RowOrder,
    /// Rows and terms over the input's memory, as they lie if no padding is read.
    rows: Runs,
    terms: Runs,
    padded: bool,
}

impl<'a, T: Element> Unfolded<'a, T> {
    pub fn new(shape: &'a ConvShape, input: View<'a, T>) -> Self {
        let [batch_stride, channel_stride, strides @ ..] = input.strides5();
        let axes = shape.axes();
        let channels = shape.group_in_channels();
        // Wrapping: a step that leaves the view is never taken, so its overflow does not matter.
        let step = |i: usize, by: usize| strides[i].wrapping_mul(by as isize);
        let contiguous_terms = axes[2].output > 1 && step(2, axes[2].stride) == 1;
        let order = if channel_stride == 1 && channels > 1 && !contiguous_terms {
            RowOrder::ChannelsFastest
        } else {
            RowOrder::TapsFastest
        };
        let taps = [0, 1, 2].map(|i| (axes[i].kernel, step(i, axes[i].dilation)));
        let [d, h, w] = [0, 1, 2].map(|i| (axes[i].output, step(i, axes[i].stride)));
        let padded = axes.iter().any(|axis| axis.padding > 0 || axis.padding_end() > 0);
        let rows = order.runs((channels, channel_stride), taps);
        Unfolded { shape, input, order, rows, terms: Runs::new([(shape.batch(), batch_stride), d, h, w]), padded }
    }

    /// Whether pieces should keep images apart: the input of one image is its unfolded matrix, the batch's is not.
    pub fn keeps_images_apart(&self) -> bool {
        let rows = self.shape.group_in_channels() * self.shape.taps();
        !self.padded && self.rows.len() == rows && self.terms.len() == self.shape.output_positions()
    }

    /// A piece of a group's matrix, `[rows, terms]`: in place if memory holds it, else copied to the start of `scratch`.
    pub fn piece<'s>(
        &self,
        group: usize,
        rows: Range<usize>,
        terms: Range<usize>,
        scratch: &'s mut [T::Acc],
    ) -> Matrix<'s, T::Acc>
    where
        'a: 's,
    {
        let size = [rows.len(), terms.len()];
        if let Some(matrix) = self.in_place(group, &rows, &terms) {
            return matrix;
        }
        let scratch = &mut scratch[..size[0] * size[1]];
        match self.order {
            RowOrder::TapsFastest => {
                self.copy_row_by_row(group, rows, terms, scratch);
                Matrix::new(scratch, 0, size, [size[1] as isize, 1])
            }
            RowOrder::ChannelsFastest => {
                self.copy_term_by_term(group, rows, terms, scratch);
                Matrix::new(scratch, 0, size, [1, size[0] as isize])
            }
        }
    }

    fn in_place(&self, group: usize, rows: &Range<usize>, terms: &Range<usize>) -> Option<Matrix<'a, T::Acc>> {
        if self.padded {
            return None;
        }
        let data = T::as_acc(self.input.data())?;
        let offset = self.rows.single(rows)? + self.terms.single(terms)?;
        let first = self.input.index([0, group * self.shape.group_in_channels(), 0, 0, 0]);
        let strides = [self.rows.stride(), self.terms.stride()];
        Some(Matrix::new(data, first.wrapping_add_signed(offset), [rows.len(), terms.len()], strides))
    }

    /// Copies `[rows, terms]` row-major: each line of outputs is zeros, a run of an input line, zeros.
    fn copy_row_by_row(&self, group: usize, rows: Range<usize>, terms: Range<usize>, out: &mut [T::Acc]) {
        let taps = self.shape.taps();
        let step = self.input.strides5()[4].wrapping_mul(self.shape.axes()[2].stride as isize);
        for (row, out) in rows.zip(out.chunks_exact_mut(terms.len())) {
            let channel = group * self.shape.group_in_channels() + row / taps;
            let tap = self.tap(channel, row % taps);
            self.for_each_line(&terms, |line| {
                let out = &mut out[line.at..][..line.outputs.len()];
                let Some(start) = self.line_start(&tap, &line) else { return out.fill(T::Acc::default()) };
                let begin = tap.valid.start.clamp(line.outputs.start, line.outputs.end);
                let end = tap.valid.end.clamp(begin, line.outputs.end);
                let (before, rest) = out.split_at_mut(begin - line.outputs.start);
                let (inside, after) = rest.split_at_mut(end - begin);
                before.fill(T::Acc::default());
                after.fill(T::Acc::default());
                copy_run(inside, self.input.data(), start.wrapping_add_signed(step.wrapping_mul(begin as isize)), step);
            });
        }
    }

    /// Copies `[rows, terms]` column-major: each tap of each output is a run of channels, or of zeros.
    fn copy_term_by_term(&self, group: usize, rows: Range<usize>, terms: Range<usize>, out: &mut [T::Acc]) {
        let channels = self.shape.group_in_channels();
        let [_, channel_step, _, _, width_stride] = self.input.strides5();
        let step = width_stride.wrapping_mul(self.shape.axes()[2].stride as isize);
        let mut row = rows.start;
        while row < rows.end {
            let channel = row % channels;
            let len = (channels - channel).min(rows.end - row);
            let tap = self.tap(group * channels + channel, row / channels);
            self.for_each_line(&terms, |line| {
                let start = self.line_start(&tap, &line);
                let columns = out[line.at * rows.len()..].chunks_exact_mut(rows.len());
                for (ow, column) in line.outputs.zip(columns) {
                    let column = &mut column[row - rows.start..][..len];
                    match start.filter(|_| tap.valid.contains(&ow)) {
                        Some(start) => {
                            let start = start.wrapping_add_signed(step.wrapping_mul(ow as isize));
                            copy_run(column, self.input.data(), start, channel_step);
                        }
                        None => column.fill(T::Acc::default()),
                    }
                }
            });
            row += len;
        }
    }

    /// What a channel's lines have in common at a tap.
    fn tap(&self, channel: usize, tap: usize) -> Tap {
        let [_, height, width] = self.shape.axes();
        let [kh, kw] = [tap / width.kernel % height.kernel, tap % width.kernel];
        // The padding's share may point outside the input; wrapping cancels once a valid output is added.
        let shift = self.input.strides5()[4].wrapping_mul(width.input_position(0, kw));
        let base = self.input.index([0, channel, 0, 0, 0]).wrapping_add_signed(shift);
        Tap { kd: tap / width.kernel / height.kernel, kh, valid: width.valid_outputs(kw), base }
    }

    /// The index that output 0 of a line reads at this tap, be it outside the input; `None` if all outputs read padding.
    #[inline(always)]
    fn line_start(&self, tap: &Tap, line: &Line) -> Option<usize> {
        let [depth, height, _] = self.shape.axes();
        let [batch_stride, _, depth_stride, height_stride, _] = self.input.strides5();
        let id = depth.input_position(line.od, tap.kd);
        let ih = height.input_position(line.oh, tap.kh);
        let inside = id.cast_unsigned() < depth.input && ih.cast_unsigned() < height.input;
        let offset = || line.image as isize * batch_stride + id * depth_stride + ih * height_stride;
        inside.then(|| tap.base.wrapping_add_signed(offset()))
    }

    /// Calls `body` for each line of outputs that terms lie on, in order.
    #[inline(always)]
    fn for_each_line(&self, terms: &Range<usize>, mut body: impl FnMut(Line)) {
        let [depth, height, width] = self.shape.axes().map(|axis| axis.output);
        let (line, mut begin) = (terms.start / width, terms.start % width);
        let (mut image, mut od, mut oh) = (line / height / depth, line / height % depth, line % height);
        let mut at = 0;
        while at < terms.len() {
            let end = width.min(begin + terms.len() - at);
            body(Line { image, outputs: begin..end, at, od, oh });
            at += end - begin;
            begin = 0;
            oh += 1;
            if oh == height {
                (oh, od) = (0, od + 1);
            }
            if od == depth {
                (od, image) = (0, image + 1);
            }
        }
    }
}

/// Terms of a piece that lie on one line of the output.
struct Line {
    image: usize,
    od: usize,
    oh: usize,
    outputs: Range<usize>,
    /// Where in the piece the first of them stands.
    at: usize,
}

/// A position of the kernel, for one channel.
struct Tap {
    kd: usize,
    kh: usize,
    /// The outputs of a line for which the tap reads the input.
    valid: Range<usize>,
    /// The index that output 0 of an input line at position 0 would read.
    base: usize,
}

/// Delta, or any operand of outputs, as a matrix of channels by terms.
pub(super) struct Outputs<'a, T> {
    delta: View<'a, T>,
    terms: Runs,
}

impl<'a, T: Element> Outputs<'a, T> {
    pub fn new(delta: View<'a, T>) -> Self {
        Outputs { delta, terms: output_terms(delta.dims5(), delta.strides5()) }
    }

    /// A piece of the matrix where memory holds it.
    pub fn in_place(&self, channels: Range<usize>, terms: Range<usize>) -> Option<Matrix<'a, T::Acc>> {
        let offset = self.terms.single(&terms)?;
        let start = self.delta.index([0, channels.start, 0, 0, 0]).wrapping_add_signed(offset);
        let strides = [self.delta.strides5()[1], self.terms.stride()];
        Some(Matrix::new(T::as_acc(self.delta.data())?, start, [channels.len(), terms.len()], strides))
    }

    /// A piece of the matrix copied to the start of `scratch`.
    pub fn copy<'s>(
        &self,
        channels: Range<usize>,
        terms: Range<usize>,
        scratch: &'s mut [T::Acc],
    ) -> Matrix<'s, T::Acc> {
        let size = [channels.len(), terms.len()];
        let scratch = &mut scratch[..size[0] * size[1]];
        for (channel, mut row) in channels.zip(scratch.chunks_exact_mut(terms.len())) {
            let first = self.delta.index([0, channel, 0, 0, 0]);
            self.terms.for_each(terms.clone(), |offset, len| {
                let (run, rest) = std::mem::take(&mut row).split_at_mut(len);
                copy_run(run, self.delta.data(), first.wrapping_add_signed(offset), self.terms.stride());
                row = rest;
            });
        }
        Matrix::new(scratch, 0, size, [size[1] as isize, 1])
    }
}

/// Batch and positions of an operand of outputs as one count.
pub(super) fn output_terms([n, _, d, h, w]: [usize; 5], [sn, _, sd, sh, sw]: [isize; 5]) -> Runs {
    Runs::new([(n, sn), (d, sd), (h, sh), (w, sw)])
}

/// Copies elements `step` apart.
#[inline(always)]
fn copy_run<T: Element>(out: &mut [T::Acc], data: &[T], start: usize, step: isize) {
    if out.is_empty() {
        // Where nothing is read, `start` may be anything.
    } else if step == 1 {
        let data = &data[start..start + out.len()];
        for (out, &value) in out.iter_mut().zip(data) {
            *out = value.to_acc();
        }
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            *out = data[start.wrapping_add_signed(i as isize * step)].to_acc();
        }
    }
}
