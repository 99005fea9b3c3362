//! What the depthwise kernel reads: operands whose channels lie side by side, or a packed copy of some of their
//! channels.

use super::operand::Operand;
use crate::simd::channels::{CopyChannels, TransposeChannels};
use crate::simd::depthwise::Pitches;
use crate::simd::{Isa, Lane};
use std::ops::Range;

/// How the elements of an operand lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Order {
    /// Channels side by side.
    Channels,
    /// Columns side by side.
    Rows,
}

impl Order {
    /// The order of an operand by the strides of its image, channel, depth, row and column; none if neither channels
    /// nor columns lie side by side.
    pub fn of([image, channel, _, row, column]: [isize; 5], width: usize) -> Option<Order> {
        let rising = image >= 0 && row >= 0 && (column >= 1 || width == 1);
        match (channel, column) {
            (1, _) if rising => Some(Order::Channels),
            (_, 1) => Some(Order::Rows),
            _ if width == 1 => Some(Order::Rows),
            _ => None,
        }
    }
}

/// Some rows of some channels, as the kernel reads them.
pub(super) struct Planes<'a, A> {
    /// From the first row of the first image on.
    pub data: &'a [A],
    pub pitches: Pitches,
}

impl<'a, A> Planes<'a, A> {
    /// The same without its first rows.
    pub fn skipping(&self, rows: usize) -> Planes<'a, A> {
        Planes { data: &self.data[rows * self.pitches.row..], pitches: self.pitches }
    }

    /// The same from a channel on.
    pub fn at_channel(&self, channel: usize) -> Planes<'a, A> {
        Planes { data: &self.data[channel..], pitches: self.pitches }
    }
}

/// An operand, and which of its rows are read.
pub(super) struct Source<'a, A> {
    pub operand: Operand<'a, A>,
    pub images: Range<usize>,
    pub rows: Range<usize>,
    pub width: usize,
}

impl<'a, A: Lane> Source<'a, A> {
    /// The rows where they lie, from a channel on whose neighbours lie beside it.
    pub fn in_place(&self, channel: usize) -> Planes<'a, A> {
        let [image, _, _, row, column] = self.operand.strides.map(isize::cast_unsigned);
        let start = self.operand.row([self.images.start, channel, 0, self.rows.start]).cast_unsigned();
        // The stride of a single image, row or column is never stepped and may be anything: too large to be multiplied.
        let pitch = |count: usize, stride: usize| if count == 1 { 0 } else { stride };
        let pitches = Pitches {
            plane: pitch(self.images.len(), image),
            row: pitch(self.rows.len(), row),
            column: pitch(self.width, column),
        };
        Planes { data: &self.operand.data[start..], pitches }
    }

    /// The rows packed, a vector of channels a position, `plane` elements an image. Lanes beyond the last channel
    /// repeat it.
    pub fn packed<'o>(
        &self,
        isa: Isa,
        channels: &Range<usize>,
        lanes: usize,
        plane: usize,
        out: &'o mut [A],
    ) -> Planes<'o, A> {
        let (operand, width) = (&self.operand, self.width);
        let row = width * lanes;
        let rows_lie_together = operand.strides[3] == width.cast_signed() || self.rows.len() == 1;
        let columns_lie_together = operand.strides[4] == 1 || width == 1;
        let channels_lie_together = operand.strides[1] == 1 && channels.len() == lanes;
        for (image, out) in self.images.clone().zip(out.chunks_mut(plane)) {
            let start = |row: usize, c: usize| operand.row([image, (channels.start + c).min(channels.end - 1), 0, row]);
            let transpose = |row: usize, len: usize, out: &mut [A]| {
                let first = start(row, 0).cast_unsigned();
                let (source, pitch, channels) = (operand.data, operand.strides[1], channels.len());
                isa.run(TransposeChannels { source, first, pitch, channels, len, out });
            };
            if rows_lie_together && columns_lie_together {
                transpose(self.rows.start, self.rows.len() * width, out);
                continue;
            }
            for (y, out) in self.rows.clone().zip(out.chunks_exact_mut(row)) {
                if columns_lie_together {
                    transpose(y, width, out);
                    continue;
                }
                if channels_lie_together {
                    let source = &operand.data[start(y, 0).cast_unsigned()..];
                    isa.run(CopyChannels { source, pitch: operand.strides[4].cast_unsigned(), out });
                    continue;
                }
                for (x, out) in out.chunks_exact_mut(lanes).enumerate() {
                    for (c, out) in out.iter_mut().enumerate().take(channels.len()) {
                        let at = start(y, c) + x.cast_signed() * operand.strides[4];
                        *out = operand.data[at.cast_unsigned()];
                    }
                }
            }
        }
        Planes { data: out, pitches: Pitches { plane, row, column: lanes } }
    }
}
