//! What [`ErrorScale::Norms`](crate::ErrorScale::Norms) says of each entry of a result.
//!
//! ```text
//! weight gradient   |delta[oc]| * |input[ic]|                                over batch and positions
//! output            |w[oc]| * |input of the group, near what it reads| + |b[oc]|
//! input gradient    |w[ic]| * |delta of the group, near what reads it|
//! ```
//!
//! Squares are summed over the channels of a group first, then over a box of positions, one axis after the other.

use super::operands::{Operands, Read, filled, positions5};
use crate::element::Element;
use crate::error::Error;
use crate::problem::Problem;
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::tensor::View;
use std::ops::Range;

/// Positions that count on either side of those an output reads: no tile of any backend is wider.
const NEAR: isize = 3;

impl<T: Element> Problem<'_, T> {
    /// What [`ErrorScale::Norms`](crate::ErrorScale::Norms) says of each entry, in the order of the result's dimensions: for those who
    /// hold a backend to its [error bound](crate::Backend::error_bound).
    ///
    /// A bias gradient has no such norms; each of its entries gets the Euclidean norm of its channel of delta.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]
    ///
    /// ```
    /// use convgrad::{ConvShape, Problem, Update, View, ViewMut, WeightGradient};
    /// let shape = ConvShape::conv1d(1, 1, 2, 1, 1).build()?;
    /// let (input, delta, mut gradient) = ([3.0, 4.0], [0.0, 2.0], [0.0]);
    /// let problem = WeightGradient::new(
    ///     &shape,
    ///     View::nchw(&input, &shape.input_dims())?,
    ///     View::nchw(&delta, &shape.output_dims())?,
    ///     ViewMut::nchw(&mut gradient, &shape.weights_dims())?,
    ///     Update::overwrite(),
    /// )?;
    /// assert_eq!(Problem::WeightGradient(problem).norms()?, [5.0 * 2.0]);
    /// # Ok::<(), convgrad::Error>(())
    /// ```
    pub fn norms(&self) -> Result<Vec<f64>, Error> {
        Operands::of(self).norms()
    }
}

impl<T: Element> Operands<'_, T> {
    /// See [`Problem::norms`].
    pub fn norms(&self) -> Result<Vec<f64>, Error> {
        let Operands { shape, read } = self;
        let (groups, taps) = (shape.groups(), shape.taps());
        let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
        let mut norms = filled(saturating_product(self.result_dims()), 0.0)?;
        match read {
            Read::WeightGradient { input, delta } => {
                let [input, delta] = [channel_squares(input, 1), channel_squares(delta, 1)];
                for (entry, norm) in norms.iter_mut().enumerate() {
                    let (oc, ic) = (entry / taps / ics, entry / taps % ics);
                    *norm = (delta[oc] * input[oc / ocs * ics + ic]).sqrt();
                }
            }
            Read::Forward { input, weights, bias } => {
                let of_weights = channel_squares(weights, 0);
                let near = near(input, groups, shape, read_by_output)?;
                let positions = shape.output_positions();
                for (entry, norm) in norms.iter_mut().enumerate() {
                    let (image, oc) = (entry / positions / (groups * ocs), entry / positions % (groups * ocs));
                    let square = near[(image * groups + oc / ocs) * positions + entry % positions];
                    let bias = bias.map_or(0.0, |bias| bias[oc].to_f64().abs());
                    *norm = (of_weights[oc] * square).sqrt() + bias;
                }
            }
            Read::InputGradient { weights, delta } => {
                let of_weights = input_channel_squares(weights, shape);
                let near = near(delta, groups, shape, reading_input)?;
                let positions = saturating_product(shape.axes().map(|axis| axis.input));
                for (entry, norm) in norms.iter_mut().enumerate() {
                    let (image, ic) = (entry / positions / (groups * ics), entry / positions % (groups * ics));
                    let square = near[(image * groups + ic / ics) * positions + entry % positions];
                    *norm = (of_weights[ic] * square).sqrt();
                }
            }
            Read::BiasGradient { delta } => {
                for (norm, square) in norms.iter_mut().zip(channel_squares(delta, 1)) {
                    *norm = square.sqrt();
                }
            }
        }
        Ok(norms)
    }
}

/// The sums of the squares that agree in one of the first two dimensions.
fn channel_squares<T: Element>(view: &View<'_, T>, dimension: usize) -> Vec<f64> {
    let mut squares = vec![0.0; view.dims5()[dimension]];
    for position in positions5(view.dims5()) {
        squares[position[dimension]] += view.at(position).to_f64().powi(2);
    }
    squares
}

/// The sums of the squares of the weights of each input channel, those of all groups in turn.
fn input_channel_squares<T: Element>(weights: &View<'_, T>, shape: &ConvShape) -> Vec<f64> {
    let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
    let mut squares = vec![0.0; shape.in_channels()];
    for position in positions5(weights.dims5()) {
        squares[position[0] / ocs * ics + position[1]] += weights.at(position).to_f64().powi(2);
    }
    squares
}

/// The positions of the input near those that an output reads.
fn read_by_output(axis: &Axis) -> Vec<Range<usize>> {
    let range = |output: usize| {
        let begin = (output * axis.stride).cast_signed() - axis.padding.cast_signed();
        let end = begin + axis.extent().cast_signed();
        clip(begin - NEAR, end + NEAR, axis.input)
    };
    (0..axis.output).map(range).collect()
}

/// The outputs that read a position of the input, or one near it.
fn reading_input(axis: &Axis) -> Vec<Range<usize>> {
    let stride = axis.stride.cast_signed();
    let range = |input: usize| {
        let position = (input + axis.padding).cast_signed();
        // An output reads from its position times the stride on, as far as the kernel extends.
        let first = position - NEAR - (axis.extent().cast_signed() - 1);
        clip(-(-first).div_euclid(stride), (position + NEAR).div_euclid(stride) + 1, axis.output)
    };
    (0..axis.input).map(range).collect()
}

fn clip(begin: isize, end: isize, len: usize) -> Range<usize> {
    let [begin, end] = [begin, end].map(|at| at.clamp(0, len.cast_signed()).cast_unsigned());
    begin..end.max(begin)
}

/// The sums of squares over the channels of a group and a box of positions: `[image][group][position of the result]`.
fn near<T: Element>(
    view: &View<'_, T>,
    groups: usize,
    shape: &ConvShape,
    ranges: impl Fn(&Axis) -> Vec<Range<usize>>,
) -> Result<Vec<f64>, Error> {
    let [images, channels, extents @ ..] = view.dims5();
    let planes = images * groups;
    let mut squares = filled(planes * saturating_product(extents), 0.0)?;
    for position in positions5(view.dims5()) {
        let [image, channel, d, h, w] = position;
        let plane = image * groups + channel / (channels / groups);
        squares[((plane * extents[0] + d) * extents[1] + h) * extents[2] + w] += view.at(position).to_f64().powi(2);
    }
    // Of each axis, those before it have the result's length by now.
    let mut outer = planes;
    for (i, axis) in shape.axes().iter().enumerate() {
        let inner: usize = extents[i + 1..].iter().product();
        let ranges = ranges(axis);
        squares = box_sums(&squares, [outer, extents[i], inner], &ranges)?;
        outer *= ranges.len();
    }
    Ok(squares)
}

/// `sums[a][i][b] =` the sum of `values[a][range i][b]`.
fn box_sums(values: &[f64], [outer, len, inner]: [usize; 3], ranges: &[Range<usize>]) -> Result<Vec<f64>, Error> {
    let mut sums = filled(saturating_product([outer, ranges.len(), inner]), 0.0)?;
    for (values, sums) in values.chunks_exact(len * inner).zip(sums.chunks_exact_mut(ranges.len() * inner)) {
        for (range, sums) in ranges.iter().zip(sums.chunks_exact_mut(inner)) {
            for values in values[range.start * inner..range.end * inner].chunks_exact(inner) {
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
    }
    Ok(sums)
}
