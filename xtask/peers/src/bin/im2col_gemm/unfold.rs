//! im2col: for each tap, the input as the outputs see it, with zeros where they see the padding.

use peers::{Axis, Shape};
use rayon::prelude::*;

/// Position `[d, h]` of a row of outputs, by its number.
fn output_row([_, height, _]: &[Axis; 3], row: usize) -> [usize; 2] {
    [row / height.output, row % height.output]
}

/// Position `[d, h, w]` of a tap, by its number.
fn tap_position([_, height, width]: &[Axis; 3], tap: usize) -> [usize; 3] {
    [tap / (height.kernel * width.kernel), tap / width.kernel % height.kernel, tap % width.kernel]
}

/// The row of input positions that a row of outputs meets at a tap, by its number within a channel.
fn input_row([depth, height, _]: &[Axis; 3], [d, h]: [usize; 2], tap: [usize; 3]) -> Option<usize> {
    Some(depth.input_position(d, tap[0])? * height.input + height.input_position(h, tap[1])?)
}

/// `[in channels][taps][positions]` of a group's channels of one image, which come before its positions.
pub fn channels_first(shape: &Shape, image: &[f32], columns: &mut [f32]) {
    let (axes, taps) = (shape.three_axes(), shape.taps());
    let width = &axes[2];
    let channel_len = image.len() / shape.group_in_channels();
    columns.par_chunks_mut(shape.output_positions()).enumerate().for_each(|(i, plane)| {
        let channel = &image[i / taps * channel_len..][..channel_len];
        let tap = tap_position(&axes, i % taps);
        let seen = width.valid_outputs(tap[2]);
        let first = width.input_position(seen.start, tap[2]);
        for (number, outputs) in plane.chunks_mut(width.output).enumerate() {
            let row = input_row(&axes, output_row(&axes, number), tap);
            let (Some(row), Some(first)) = (row, first) else {
                outputs.fill(0.0);
                continue;
            };
            outputs[..seen.start].fill(0.0);
            outputs[seen.end..].fill(0.0);
            let outputs = &mut outputs[seen.clone()];
            let inputs = &channel[row * width.input..][first..width.input];
            if width.stride == 1 {
                outputs.copy_from_slice(&inputs[..outputs.len()]);
            } else {
                for (output, input) in outputs.iter_mut().zip(inputs.iter().step_by(width.stride)) {
                    *output = *input;
                }
            }
        }
    });
}

/// `[positions][taps][in channels]` of a group's channels of one image, which begins at the group's first channel and
/// has all channels of all groups after each position.
pub fn channels_last(shape: &Shape, image: &[f32], columns: &mut [f32]) {
    let (axes, taps, channels) = (shape.three_axes(), shape.taps(), shape.group_in_channels());
    let width = &axes[2];
    let row_len = taps * channels;
    columns.par_chunks_mut(width.output * row_len).enumerate().for_each(|(number, rows)| {
        let begin = output_row(&axes, number);
        for tap in 0..taps {
            let position = tap_position(&axes, tap);
            let row = input_row(&axes, begin, position);
            for (output, columns) in rows.chunks_mut(row_len).enumerate() {
                let columns = &mut columns[tap * channels..][..channels];
                match (row, width.input_position(output, position[2])) {
                    (Some(row), Some(w)) => {
                        let input = (row * width.input + w) * shape.in_channels;
                        columns.copy_from_slice(&image[input..][..channels]);
                    }
                    _ => columns.fill(0.0),
                }
            }
        }
    });
}
