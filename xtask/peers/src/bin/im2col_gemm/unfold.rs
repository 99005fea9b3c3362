//! im2col: for each tap, the input as the outputs see it, with zeros where they see the padding.

use convgrad::ConvShape;
use rayon::prelude::*;

/// Output positions `[d, h]`, of which each begins a row of outputs, by their number.
fn output_row(shape: &ConvShape, row: usize) -> [usize; 2] {
    let height = shape.axes()[1].output;
    [row / height, row % height]
}

/// Taps `[d, h, w]` by their number.
fn tap_position(shape: &ConvShape, tap: usize) -> [usize; 3] {
    let [_, h, w] = shape.axes().map(|a| a.kernel);
    [tap / (h * w), tap / w % h, tap % w]
}

/// The row of input positions that a row of outputs meets at a tap, by number within a channel.
fn input_row(shape: &ConvShape, [d, h]: [usize; 2], tap: [usize; 3]) -> Option<usize> {
    let [depth, height, _] = shape.axes();
    let within = |position: isize, size: usize| usize::try_from(position).ok().filter(|&p| p < size);
    let d = within(depth.input_position(d, tap[0]), depth.input)?;
    let h = within(height.input_position(h, tap[1]), height.input)?;
    Some(d * height.input + h)
}

/// `[in channels][taps][positions]` of a group's channels of one image, which come before its positions.
pub fn channels_first(shape: &ConvShape, image: &[f32], columns: &mut [f32]) {
    let (width, positions) = (&shape.axes()[2], shape.output_positions());
    let channel_len = image.len() / shape.group_in_channels();
    columns.par_chunks_mut(positions).enumerate().for_each(|(i, plane)| {
        let channel = &image[i / shape.taps() * channel_len..][..channel_len];
        let tap = tap_position(shape, i % shape.taps());
        let seen = width.valid_outputs(tap[2]);
        for (number, outputs) in plane.chunks_mut(width.output).enumerate() {
            let row = match input_row(shape, output_row(shape, number), tap) {
                Some(row) if !seen.is_empty() => &channel[row * width.input..][..width.input],
                _ => {
                    outputs.fill(0.0);
                    continue;
                }
            };
            outputs[..seen.start].fill(0.0);
            outputs[seen.end..].fill(0.0);
            let outputs = &mut outputs[seen.clone()];
            let from = &row[width.input_position(seen.start, tap[2]).unsigned_abs()..];
            if width.stride == 1 {
                outputs.copy_from_slice(&from[..outputs.len()]);
            } else {
                for (output, input) in outputs.iter_mut().zip(from.iter().step_by(width.stride)) {
                    *output = *input;
                }
            }
        }
    });
}

/// `[positions][taps][in channels]` of a group's channels of one image, which begins at the group's first channel and
/// has all channels of all groups after each position.
pub fn channels_last(shape: &ConvShape, image: &[f32], columns: &mut [f32]) {
    let (width, channels) = (&shape.axes()[2], shape.group_in_channels());
    let row_len = shape.taps() * channels;
    columns.par_chunks_mut(width.output * row_len).enumerate().for_each(|(number, rows)| {
        let begin = output_row(shape, number);
        for tap in 0..shape.taps() {
            let position = tap_position(shape, tap);
            let row = input_row(shape, begin, position);
            let seen = width.valid_outputs(position[2]);
            for (output, columns) in rows.chunks_mut(row_len).enumerate() {
                let columns = &mut columns[tap * channels..][..channels];
                match row {
                    Some(row) if seen.contains(&output) => {
                        let input = row * width.input + width.input_position(output, position[2]).unsigned_abs();
                        columns.copy_from_slice(&image[input * shape.in_channels()..][..channels]);
                    }
                    _ => columns.fill(0.0),
                }
            }
        }
    });
}
