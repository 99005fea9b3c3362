//! Finished sums into the caller's gradient, each thread some output channels.

use crate::element::Element;
use crate::partition::{ELEMENT_FLOPS, for_each_part};
use crate::problem::Update;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::transpose::Transpose;
use crate::tensor::ViewMut;
use std::ops::Range;

/// Where the sums of the weights lie. Output channels come in runs whose sums, for one input channel and tap, are
/// neighbours in memory.
pub(crate) trait Sums<A>: Sync {
    /// The run a channel belongs to.
    fn neighbours(&self, channel: usize) -> Range<usize>;

    /// The sums of some channels of one run.
    fn rows(&self, channels: Range<usize>) -> SumRows<'_, A>;
}

/// The sums of some channels: row `w` has those of weight `w`, counted through input channels and taps.
pub(crate) struct SumRows<'a, A> {
    /// The first row and all that follows.
    pub data: &'a [A],
    /// Elements from a row to the next.
    pub pitch: usize,
    /// Channels in a row.
    pub channels: usize,
}

impl<'a, A> SumRows<'a, A> {
    fn row(&self, weight: usize) -> &'a [A] {
        &self.data[weight * self.pitch..][..self.channels]
    }
}

/// Channels written for all weights before the next ones. Each is a line of the L1 cache that is filled from run to run,
/// and the lines of channels a power of two apart share few of its sets: of 32 channels they were lost before they were
/// full, and a layer of 512 to 512 channels spent a fifth of its time here.
const BLOCK: usize = 16;

/// Writes all sums.
pub(crate) fn write<T: Element>(
    isa: Isa,
    shape: &ConvShape,
    sums: &impl Sums<T::Acc>,
    gradient: ViewMut<'_, T>,
    update: Update<T>,
) {
    let work = shape.weights_len() as f64 * ELEMENT_FLOPS;
    for_each_part(gradient, 0, 1, work, &|first, mut part| {
        let last = first + part.dims5()[0];
        let mut channel = first;
        while channel < last {
            let channels = channel..sums.neighbours(channel).end.min(last);
            channel = channels.end;
            let ics = 0..shape.group_in_channels();
            write_channels(isa, shape, sums.rows(channels.clone()), ics, channels.start - first, &mut part, update);
        }
    });
}

/// Writes the bias gradient, whose `total(oc)` is that of an output channel.
pub(crate) fn write_bias<T: Element>(total: impl Fn(usize) -> T::Acc, mut gradient: ViewMut<'_, T>, update: Update<T>) {
    for oc in 0..gradient.dims5()[0] {
        update.apply(gradient.at_mut([oc, 0, 0, 0, 0]), total(oc));
    }
}

/// Writes the sums of neighbours with some input channels, whose rows are the first of `sums`. The first of the neighbours
/// is channel `position` of this part of the gradient.
pub(crate) fn write_channels<T: Element>(
    isa: Isa,
    shape: &ConvShape,
    sums: SumRows<'_, T::Acc>,
    ics: Range<usize>,
    position: usize,
    part: &mut ViewMut<'_, T>,
    update: Update<T>,
) {
    let taps = shape.taps();
    let [_, lens @ ..] = part.dims5();
    let [all, _, height, width] = lens;
    let [channel_stride, inner @ ..] = part.strides5();
    let is_row = |contiguous: [usize; 4]| (0..4).all(|i| lens[i] == 1 || inner[i] == contiguous[i].cast_signed());
    let taps_inside = is_row([taps, height * width, width, 1]);
    let taps_outside = is_row([1, height * width * all, width * all, all]);
    if (taps_inside || taps_outside) && (channel_stride > 0 || sums.channels == 1) {
        let start = part.index([position, ics.start, 0, 0, 0]);
        // The stride of a single channel is never stepped and may be anything.
        let pitch = if sums.channels > 1 { channel_stride.unsigned_abs() } else { all * taps };
        let out = &mut part.data_mut()[start..];
        if taps_inside {
            transpose(isa, |weight| sums.row(weight), ics.len() * taps, out, pitch, update);
        } else if ics.len() == all {
            transpose(isa, |weight| sums.row(weight % all * taps + weight / all), all * taps, out, pitch, update);
        } else {
            for tap in 0..taps {
                transpose(isa, |ic| sums.row(ic * taps + tap), ics.len(), &mut out[tap * all..], pitch, update);
            }
        }
        return;
    }
    for (row, ic) in ics.enumerate() {
        for (tap, [kd, kh, kw]) in shape.tap_positions().enumerate() {
            for (c, &sum) in sums.row(row * taps + tap).iter().enumerate() {
                update.apply(part.at_mut([position + c, ic, kd, kh, kw]), sum);
            }
        }
    }
}

/// Writes each channel's `count` weights one after the other, from the row of sums each weight has.
pub(crate) fn transpose<'a, T: Element>(
    isa: Isa,
    rows: impl Fn(usize) -> &'a [T::Acc],
    count: usize,
    out: &mut [T],
    pitch: usize,
    update: Update<T>,
) {
    // The common case by itself, where storing is a copy.
    if update == Update::overwrite() {
        let put = |out: &mut [T], sums: &[T::Acc]| T::round(sums, out);
        isa.run(Transpose { rows, count, out, pitch, block: BLOCK, put });
    } else {
        let put = |out: &mut [T], sums: &[T::Acc]| {
            for (out, &sum) in out.iter_mut().zip(sums) {
                update.apply(out, sum);
            }
        };
        isa.run(Transpose { rows, count, out, pitch, block: BLOCK, put });
    }
}

/// Writes the sums of a kernel of one tap, whose `row(oc)` has those of an output channel with each input channel of its
/// group.
pub(crate) fn write_rows<'a, T: Element>(
    shape: &ConvShape,
    row: impl Fn(usize) -> &'a [T::Acc] + Sync,
    gradient: ViewMut<'_, T>,
    update: Update<T>,
) {
    let work = shape.weights_len() as f64 * ELEMENT_FLOPS;
    for_each_part(gradient, 0, 1, work, &|first, mut part| {
        let [ocs, ics, ..] = part.dims5();
        for oc in 0..ocs {
            let sums = row(first + oc);
            if part.strides5()[1] == 1 {
                let start = part.index([oc, 0, 0, 0, 0]);
                for (out, &sum) in part.data_mut()[start..][..ics].iter_mut().zip(sums) {
                    update.apply(out, sum);
                }
            } else {
                for (ic, &sum) in (0..ics).zip(sums) {
                    update.apply(part.at_mut([oc, ic, 0, 0, 0]), sum);
                }
            }
        }
    });
}
