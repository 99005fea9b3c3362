//! Positions of some channels from anywhere in memory to side by side, then into a panel.
//!
//! ```text
//! for channels, as many as are transposed at once:
//!     for line of positions:
//!         gathered[channel][..] = the line's numbers, a stride apart
//!         if the next line finds no room: transpose what is gathered into the panel
//! ```
//!
//! Lines are short where this is needed: rows of a strided convolution, or of a band that is not whole. Together they make
//! runs long enough to be transposed as vectors.

use crate::element::Element;
use crate::simd::Isa;
use crate::simd::transpose::Transpose;
use pulp::{Simd, WithSimd};

/// Channels gathered at a time: those a square of vectors transposes.
const CHANNELS: usize = 16;

/// Positions gathered at a time: with [`CHANNELS`], 16 KiB of f32.
const POSITIONS: usize = 256;

/// What is gathered: `count` channels from `start` on, positions along three axes given as `(length, stride)`.
pub(super) struct Gather<'a, T> {
    pub isa: Isa,
    pub data: &'a [T],
    pub start: usize,
    pub channel_stride: isize,
    pub axes: [(usize, isize); 3],
    pub count: usize,
    /// Elements of a position in the panel.
    pub width: usize,
}

impl<T: Element> Gather<'_, T> {
    /// Writes the channels of all positions to a panel.
    pub fn pack(&self, panel: &mut [T::Acc]) {
        let [depth, height, row] = self.axes;
        let mut gathered = [[T::Acc::default(); POSITIONS]; CHANNELS];
        for first in (0..self.count).step_by(CHANNELS) {
            let count = CHANNELS.min(self.count - first);
            let start = self.start.wrapping_add_signed(first.cast_signed().wrapping_mul(self.channel_stride));
            let (mut filled, mut packed) = (0, 0);
            let mut flush = |gathered: &[[T::Acc; POSITIONS]; CHANNELS], filled: &mut usize| {
                let rows = |c: usize| &gathered[c][..*filled];
                let out = &mut panel[packed * self.width + first..];
                let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
                self.isa.run(Transpose { rows, count, out, pitch: self.width, block: POSITIONS, put });
                packed += std::mem::take(filled);
            };
            for (d, h) in (0..depth.0).flat_map(|d| (0..height.0).map(move |h| (d, h))) {
                let line = d.cast_signed().wrapping_mul(depth.1).wrapping_add(h.cast_signed().wrapping_mul(height.1));
                for x in (0..row.0).step_by(POSITIONS) {
                    let len = POSITIONS.min(row.0 - x);
                    if filled + len > POSITIONS {
                        flush(&gathered, &mut filled);
                    }
                    let piece = line.wrapping_add(x.cast_signed().wrapping_mul(row.1));
                    self.isa.run(Lines {
                        data: self.data,
                        start: start.wrapping_add_signed(piece),
                        pitch: self.channel_stride,
                        stride: row.1,
                        out: &mut gathered[..count],
                        columns: filled..filled + len,
                    });
                    filled += len;
                }
            }
            if filled > 0 {
                flush(&gathered, &mut filled);
            }
        }
    }
}

/// One line of each channel.
struct Lines<'a, T: Element> {
    data: &'a [T],
    start: usize,
    /// From a channel to the next, and from a number to the next.
    pitch: isize,
    stride: isize,
    out: &'a mut [[T::Acc; POSITIONS]],
    columns: std::ops::Range<usize>,
}

impl<T: Element> WithSimd for Lines<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let len = self.columns.len();
        for (c, out) in self.out.iter_mut().enumerate() {
            let out = &mut out[self.columns.clone()];
            let start = self.start.wrapping_add_signed(c.cast_signed().wrapping_mul(self.pitch));
            match self.stride {
                // The strides of most networks by themselves: the compiler turns them into shuffles.
                1 => copy_every::<T, 1>(&self.data[start..][..len], out),
                2 => copy_every::<T, 2>(&self.data[start..][..2 * len - 1], out),
                stride => {
                    for (x, out) in out.iter_mut().enumerate() {
                        *out = self.data[start.wrapping_add_signed(x.cast_signed().wrapping_mul(stride))].to_acc();
                    }
                }
            }
        }
    }
}

/// Copies every `STEP`-th number, the last one included.
#[inline(always)]
fn copy_every<T: Element, const STEP: usize>(line: &[T], out: &mut [T::Acc]) {
    let (chunks, rest) = line.as_chunks::<STEP>();
    for (out, chunk) in out.iter_mut().zip(chunks) {
        *out = chunk[0].to_acc();
    }
    if let (Some(out), Some(last)) = (out.get_mut(chunks.len()), rest.first()) {
        *out = last.to_acc();
    }
}
