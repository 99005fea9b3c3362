//! Finished sums of some positions into the output, wherever its elements lie.

use crate::element::Element;
use crate::problem::Update;
use crate::simd::Isa;
use crate::tensor::{Runs, ViewMut};
use crate::write::transpose;
use std::ops::Range;

/// Writes the sums of a range of positions, which lie so many elements apart, for as many channels: `start` is where the output
/// has the first channel of the first of the positions that `runs` walk.
#[expect(clippy::too_many_arguments, reason = "where from, where to, and how")]
pub(super) fn write_positions<T: Element>(
    isa: Isa,
    output: &mut ViewMut<'_, T>,
    start: usize,
    runs: &Runs,
    range: Range<usize>,
    (sums, pitch): (&[T::Acc], usize),
    channels: usize,
    update: Update<T>,
) {
    let channel_stride = output.strides5()[1];
    let data = output.data_mut();
    let mut written = 0;
    runs.for_each(range, |offset, len| {
        let start = start.wrapping_add_signed(offset);
        let row = |position: usize| &sums[(written + position) * pitch..][..channels];
        let at = |position: usize| start.wrapping_add_signed(runs.stride().wrapping_mul(position.cast_signed()));
        let apart = usize::try_from(channel_stride).ok().filter(|&apart| apart >= len);
        if channel_stride == 1 || channels == 1 {
            for position in 0..len {
                write_row(&mut data[at(position)..][..channels], row(position), update);
            }
        } else if let Some(apart) = apart.filter(|_| runs.stride() == 1 || len == 1) {
            transpose(isa, row, len, &mut data[start..], apart, update);
        } else {
            // Line by line of the output.
            for channel in 0..channels {
                let channel_at = channel_stride.wrapping_mul(channel.cast_signed());
                let sums = sums[written * pitch + channel..].iter().step_by(pitch);
                for (position, &sum) in sums.enumerate().take(len) {
                    update.apply(&mut data[at(position).wrapping_add_signed(channel_at)], sum);
                }
            }
        }
        written += len;
    });
}

/// Writes sums that lie side by side, as their outputs do.
#[inline(always)]
pub(super) fn write_row<T: Element>(output: &mut [T], sums: &[T::Acc], update: Update<T>) {
    if update == Update::overwrite() {
        return T::round(sums, output);
    }
    for (output, &sum) in output.iter_mut().zip(sums) {
        update.apply(output, sum);
    }
}
