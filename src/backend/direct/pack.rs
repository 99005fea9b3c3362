//! Panels for the outer kernel: a few channels of one image, position by position.
//!
//! ```text
//! panel[position][c] = source[image, first channel + c, position]      0 for c beyond the channels there are
//! ```
//!
//! Deviations from the plain loop, by where the source is contiguous:
//! 1. along positions (NCHW): rows of channels are transposed;
//! 2. along channels (NHWC): a position is one copy;
//! 3. neither: element by element.

use crate::element::Element;
use crate::simd::Isa;
use crate::simd::transpose::Transpose;
use crate::tensor::View;
use std::ops::Range;

/// Positions to pack along one axis: `len` of them, `step` apart, from `first`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Positions {
    pub first: usize,
    pub step: usize,
    pub len: usize,
}

/// Packs `channels` of one image into `panel`, whose positions are `width` elements wide.
pub(super) fn pack<T: Element>(
    isa: Isa,
    source: &View<'_, T>,
    image: usize,
    channels: Range<usize>,
    [depth, height, row]: [Positions; 3],
    width: usize,
    panel: &mut [T::Acc],
) {
    let count = channels.len();
    if row.len == 0 {
        return;
    }
    // Rows that follow on each other are one long row, which is packed faster.
    let [_, _, _, row_stride, column_stride] = source.strides5();
    let follow = row_stride * height.step as isize == column_stride * (row.len * row.step) as isize;
    let (height, row) = match follow {
        true => (Positions { len: 1, ..height }, Positions { len: height.len * row.len, ..row }),
        false => (height, row),
    };
    let mut lines = panel.chunks_exact_mut(row.len * width);
    for d in 0..depth.len {
        for (h, line) in (0..height.len).zip(&mut lines) {
            if count < width {
                line.fill(T::Acc::default());
            }
            let position =
                [image, channels.start, depth.first + d * depth.step, height.first + h * height.step, row.first];
            pack_line(isa, source, position, count, row, width, line);
        }
    }
}

/// Packs `row.len` positions of `count` channels, from `position` on.
fn pack_line<T: Element>(
    isa: Isa,
    source: &View<'_, T>,
    position: [usize; 5],
    count: usize,
    row: Positions,
    width: usize,
    line: &mut [T::Acc],
) {
    let [_, channel_stride, _, _, column_stride] = source.strides5();
    let (data, start) = (source.data(), source.index(position));
    let step = column_stride * row.step as isize;
    let at = |c: usize, x: usize| start.wrapping_add_signed(c as isize * channel_stride + x as isize * step);
    let contiguous = (step == 1 || row.len == 1).then(|| T::as_acc(data)).flatten();
    if let Some(data) = contiguous {
        let rows = |c: usize| &data[at(c, 0)..][..row.len];
        let put = |out: &mut T::Acc, number| *out = number;
        isa.run(Transpose { rows, count, out: line, pitch: width, put });
    } else if channel_stride == 1 {
        for (x, out) in line.chunks_exact_mut(width).enumerate() {
            for (out, value) in out.iter_mut().zip(&data[at(0, x)..][..count]) {
                *out = value.to_acc();
            }
        }
    } else {
        for (x, out) in line.chunks_exact_mut(width).enumerate() {
            for (c, out) in out.iter_mut().take(count).enumerate() {
                *out = data[at(c, x)].to_acc();
            }
        }
    }
}
