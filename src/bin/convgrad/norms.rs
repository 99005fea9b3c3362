//! What errors scale with in backends that multiply sums of operands: see [`ErrorScale::Norms`](convgrad::ErrorScale).

use crate::data::Operands;
use anyhow::{Context, Result};
use convgrad::{ConvShape, Element, Layout, Op, Update, View, ViewMut, reference};

/// Positions that count on either side of those an output reads.
const NEAR: usize = 3;

/// The norms of each entry of a result, in its memory order.
pub fn of_entries<T: Element>(op: Op, shape: &ConvShape, operands: &Operands<T>, layout: Layout) -> Result<Vec<f64>> {
    let squared = operands.map(|x| x * x)?;
    match op {
        Op::Forward | Op::InputGradient => of_pass(op, shape, &squared, layout),
        _ => of_weights(shape, &squared, layout),
    }
}

/// Of each weight, those of its two channels over batch and positions.
fn of_weights(shape: &ConvShape, squared: &Operands<f64>, layout: Layout) -> Result<Vec<f64>> {
    let delta = channel_sums(&View::new(&squared.delta, &shape.output_dims(), layout)?);
    let input = channel_sums(&View::new(&squared.input, &shape.input_dims(), layout)?);
    let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
    let of_weight = |weight: usize| {
        let (oc, ic) = (weight / shape.taps() / ics, weight / shape.taps() % ics);
        (delta[oc] * input[oc / ocs * ics + ic]).sqrt()
    };
    Ok((0..shape.weights_len()).map(of_weight).collect())
}

/// Of each output, or gradient of an input, that of its channel's weights and that of what is read near it.
///
/// The squares near an output are a forward pass, too: by a kernel of ones that reaches further.
fn of_pass(op: Op, shape: &ConvShape, squared: &Operands<f64>, layout: Layout) -> Result<Vec<f64>> {
    let (ocs, ics, groups) = (shape.group_out_channels(), shape.group_in_channels(), shape.groups());
    let [_, height, width] = shape.axes();
    let is_forward = op == Op::Forward;
    let [in_channels, out_channels] = if is_forward { [groups * ics, groups] } else { [groups, groups * ocs] };
    let reach = |axis: &convgrad::Axis| axis.extent() + 2 * NEAR;
    let end = |axis: &convgrad::Axis| usize::try_from(axis.padding_end() + NEAR.cast_signed());
    let extents = [height.input, width.input];
    let near = ConvShape::conv2d(shape.batch(), in_channels, extents, out_channels, [reach(height), reach(width)])
        .groups(groups)
        .stride([height.stride, width.stride])
        .padding_begin_end([height.padding + NEAR, width.padding + NEAR], [end(height)?, end(width)?])
        .build()
        .context("norms of a pass are those of two-dimensional layers")?;
    let ones = vec![1.0; near.weights_len()];
    let ones = View::nchw(&ones, &near.weights_dims())?;
    let reference = reference::<f64>();
    let mut sums;
    if is_forward {
        sums = vec![0.0; near.output_dims().iter().product()];
        let input = View::new(&squared.input, &near.input_dims(), layout)?;
        reference.forward(&near, input, ones, None, ViewMut::nchw(&mut sums, &near.output_dims())?)?;
    } else {
        sums = vec![0.0; near.input_dims().iter().product()];
        let delta = View::new(&squared.delta, &near.output_dims(), layout)?;
        let result = ViewMut::nchw(&mut sums, &near.input_dims())?;
        reference.input_gradient(&near, ones, delta, result, Update::overwrite())?;
    }
    let (channels, of_group) = if is_forward { (groups * ocs, ocs) } else { (groups * ics, ics) };
    let mut weights = vec![0.0; channels];
    for (weight, square) in squared.weights.iter().enumerate() {
        let (oc, ic) = (weight / shape.taps() / ics, weight / shape.taps() % ics);
        weights[if is_forward { oc } else { oc / ocs * ics + ic }] += square;
    }
    let positions = sums.len() / (shape.batch() * groups);
    let of_entry = |entry: usize| {
        let (image, channel, position) = match layout {
            Layout::Nhwc => (entry / channels / positions, entry % channels, entry / channels % positions),
            _ => (entry / positions / channels, entry / positions % channels, entry % positions),
        };
        let near = sums[(image * groups + channel / of_group) * positions + position];
        (weights[channel] * near).sqrt() + if is_forward { squared.bias[channel].sqrt() } else { 0.0 }
    };
    Ok((0..shape.batch() * channels * positions).map(of_entry).collect())
}

/// The sum of each channel, over batch and positions.
fn channel_sums(view: &View<'_, f64>) -> Vec<f64> {
    let [images, channels, depth, height, width] = view.dims5();
    let sum = |channel: usize| {
        let positions = (0..images * depth * height).flat_map(|row| (0..width).map(move |x| (row, x)));
        let numbers = positions.map(|(row, x)| {
            let (image, row) = (row / (depth * height), row % (depth * height));
            view.at([image, channel, row / height, row % height, x])
        });
        numbers.sum::<f64>()
    };
    (0..channels).map(sum).collect()
}
