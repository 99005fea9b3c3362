//! The operand of the [planar](super::planar) kernel that is read number by number: its planes where they lie, or a copy of
//! them between the zeros of the padding; either way by the pitches of its dimensions.

use super::cut::Window;
use super::planar_plan::copied_len;
use crate::element::Element;
use crate::partition::for_each_chunk;
use crate::shape::ConvShape;
use crate::simd::Lane;
use crate::tensor::View;

/// The operand that is read in place, or its copy, with the pitches of its dimensions.
#[derive(Clone, Copy)]
pub(super) struct Planes<'a, A> {
    pub data: &'a [A],
    /// Where the window's first image, channel, output and tap meet.
    pub origin: usize,
    pub image: usize,
    pub channel: usize,
    /// From one output to the next, along each axis; and from one tap to the next.
    pub outputs: [usize; 3],
    pub taps: [usize; 3],
}

impl<'a, A: Lane> Planes<'a, A> {
    /// The input where it lies; it has no padding.
    pub fn of_input<T: Element<Acc = A>>(shape: &ConvShape, input: &View<'a, T>, window: &Window) -> Planes<'a, A> {
        let axes = shape.axes();
        let first = [0, 1, 2].map(|i| window.axes[i].outputs.start * axes[i].stride);
        let steps = [0, 1, 2].map(|i| axes[i].stride);
        let taps = [0, 1, 2].map(|i| axes[i].dilation);
        Planes::of(input, [window.images.start, 0, first[0], first[1], first[2]], steps, taps)
    }

    /// Delta where it lies.
    pub fn of_delta<T: Element<Acc = A>>(delta: &View<'a, T>, window: &Window) -> Planes<'a, A> {
        let [depth, height, width] = window.axes.each_ref().map(|axis| axis.outputs.start);
        Planes::of(delta, [window.images.start, 0, depth, height, width], [1; 3], [0; 3])
    }

    fn of<T: Element<Acc = A>>(
        view: &View<'a, T>,
        first: [usize; 5],
        steps: [usize; 3],
        taps: [usize; 3],
    ) -> Planes<'a, A> {
        let [image, channel, pitches @ ..] = view.strides5().map(|stride| stride.unsigned_abs());
        Planes {
            data: T::as_acc(view.data()).unwrap_or_default(),
            origin: view.index(first),
            image,
            channel,
            outputs: [0, 1, 2].map(|i| steps[i] * pitches[i]),
            taps: [0, 1, 2].map(|i| taps[i] * pitches[i]),
        }
    }

    /// A copy of the window's input, `[image][channel][depth][height][width]`, with the zeros of its padding.
    pub fn copy<T: Element<Acc = A>>(
        shape: &ConvShape,
        input: &View<'_, T>,
        window: &Window,
        work: f64,
        copy: &'a mut [A],
    ) -> Planes<'a, A> {
        let axes = shape.axes();
        let lens = [0, 1, 2].map(|i| copied_len(&axes[i], window.axes[i].outputs.len()));
        let first = [0, 1, 2].map(|i| axes[i].input_position(window.axes[i].outputs.start, 0));
        let channels = shape.in_channels();
        let channel_len = lens.iter().product();
        let copied = &mut copy[..window.images.len() * channels * channel_len];
        for_each_chunk(copied, channel_len, work, |index, out| {
            let (image, channel) = (window.images.start + index / channels, index % channels);
            for (line, out) in out.chunks_exact_mut(lens[2]).enumerate() {
                let (depth, row) =
                    ((line / lens[1]).cast_signed() + first[0], (line % lens[1]).cast_signed() + first[1]);
                copy_line(input, [image, channel], [depth, row, first[2]], out);
            }
        });
        let pitches = [lens[1] * lens[2], lens[2], 1];
        Planes {
            data: copy,
            origin: 0,
            image: channels * channel_len,
            channel: channel_len,
            outputs: [0, 1, 2].map(|i| axes[i].stride * pitches[i]),
            taps: [0, 1, 2].map(|i| axes[i].dilation * pitches[i]),
        }
    }
}

/// Copies what there is of a line that begins at a position of an image's channel, with zeros where there is nothing.
fn copy_line<T: Element>(input: &View<'_, T>, [image, channel]: [usize; 2], first: [isize; 3], out: &mut [T::Acc]) {
    let [.., depths, rows, columns] = input.dims5();
    let inside = |at: isize, len: usize| usize::try_from(at).ok().filter(|&at| at < len);
    let (Some(depth), Some(row)) = (inside(first[0], depths), inside(first[1], rows)) else {
        return out.fill(T::Acc::default());
    };
    let zeros = first[2].min(0).unsigned_abs().min(out.len());
    let begin = first[2].max(0).unsigned_abs();
    let count = columns.saturating_sub(begin).min(out.len() - zeros);
    out[..zeros].fill(T::Acc::default());
    out[zeros + count..].fill(T::Acc::default());
    if count == 0 {
        return;
    }
    let out = &mut out[zeros..][..count];
    let start = input.index([image, channel, depth, row, begin]);
    let step = input.strides5()[4];
    match T::as_acc(input.data()).filter(|_| step == 1) {
        Some(data) => out.copy_from_slice(&data[start..][..count]),
        None => {
            for (x, out) in out.iter_mut().enumerate() {
                *out = input.data()[start.wrapping_add_signed(x.cast_signed() * step)].to_acc();
            }
        }
    }
}
