//! Flat planes for the dot kernel: delta and input of one unit at one pitch, zeros in all gaps.

use super::dot_plan::DotPlan;
use crate::element::Element;
use crate::shape::{ConvShape, positions};
use crate::tensor::View;
use std::ops::Range;

/// Lays a unit's delta flat: `[channel][lead, then depth, row, column at the pitches]`.
pub(super) fn pack_delta<T: Element>(
    shape: &ConvShape,
    plan: &DotPlan,
    delta: &View<'_, T>,
    group: usize,
    unit: usize,
    packed: &mut [T::Acc],
) {
    let (image, [depths, rows, columns]) = plan.unit(unit);
    let [row_pitch, plane_pitch] = plan.pitches();
    let [.., depth_stride, row_stride, column_stride] = delta.strides5();
    for (c, packed) in packed.chunks_exact_mut(plan.delta_len()).enumerate() {
        packed.fill(T::Acc::default());
        let channel = group * shape.group_out_channels() + c;
        let first = delta.index([image, channel, depths.start, rows.start, columns.start]);
        for d in 0..depths.len() {
            let plane = first.wrapping_add_signed(d.cast_signed() * depth_stride);
            let flat = &mut packed[plan.lead() + d * plane_pitch..];
            for (h, line) in flat.chunks_mut(row_pitch).take(rows.len()).enumerate() {
                let start = plane.wrapping_add_signed(h.cast_signed() * row_stride);
                copy_row(delta.data(), start, column_stride, &mut line[..columns.len()]);
            }
        }
    }
}

/// Lays a unit's input flat: `[channel][phase of depth, row, column][depth][row][column]`, zeros for padding.
pub(super) fn pack_input<T: Element>(
    shape: &ConvShape,
    plan: &DotPlan,
    input: &View<'_, T>,
    group: usize,
    unit: usize,
    packed: &mut [T::Acc],
) {
    let (image, outputs) = plan.unit(unit);
    let axes = &plan.axes;
    let channels = shape.group_in_channels();
    let (packed, beyond) = packed.split_at_mut(channels * plan.input_len());
    beyond.fill(T::Acc::default());
    let phases = positions(axes.map(|a| 0..a.phases));
    for (c, packed) in packed.chunks_exact_mut(plan.input_len()).enumerate() {
        for (phase, packed) in phases.clone().zip(packed.chunks_exact_mut(plan.phase_len())) {
            let [depths, rows, columns] =
                [0, 1, 2].map(|i| axes[i].source(phase[i], outputs[i].start, outputs[i].len()));
            if [&depths, &rows, &columns].iter().any(|source| source.range.is_empty()) {
                packed.fill(T::Acc::default());
                continue;
            }
            let channel = group * channels + c;
            let first = input.index([image, channel, depths.begin(), rows.begin(), columns.begin()]);
            // Wrapping: the stride of an axis of length 1 is never stepped and may be anything.
            let strides = [0, 1, 2].map(|i| input.strides5()[i + 2].wrapping_mul(axes[i].axis.stride.cast_signed()));
            for (d, plane) in packed.chunks_exact_mut(axes[1].len * axes[2].len).enumerate() {
                for (h, line) in plane.chunks_exact_mut(axes[2].len).enumerate() {
                    if !depths.range.contains(&d) || !rows.range.contains(&h) {
                        line.fill(T::Acc::default());
                        continue;
                    }
                    let down = (d - depths.range.start).cast_signed() * strides[0];
                    let across = (h - rows.range.start).cast_signed() * strides[1];
                    let Range { start, end } = columns.range;
                    line[..start].fill(T::Acc::default());
                    line[end..].fill(T::Acc::default());
                    copy_row(input.data(), first.wrapping_add_signed(down + across), strides[2], &mut line[start..end]);
                }
            }
        }
    }
}

/// Copies elements `start, start + stride, ..` of a slice.
#[inline]
fn copy_row<T: Element>(data: &[T], start: usize, stride: isize, row: &mut [T::Acc]) {
    if stride == 1 {
        for (out, value) in row.iter_mut().zip(&data[start..]) {
            *out = value.to_acc();
        }
    } else if stride > 1 {
        for (out, value) in row.iter_mut().zip(data[start..].iter().step_by(stride.unsigned_abs())) {
            *out = value.to_acc();
        }
    } else {
        for (x, out) in row.iter_mut().enumerate() {
            *out = data[start.wrapping_add_signed(x.cast_signed() * stride)].to_acc();
        }
    }
}
