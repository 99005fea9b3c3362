//! Vectors of channels: copies and transposes that put them side by side, and a walk that only reads.

use super::Lane;
use super::transpose::{RUN, SQUARE, has_squares, transpose_vectors};
use pulp::{Simd, WithSimd};

/// Packs a vector of channels that lie side by side, at each of some positions.
pub(crate) struct CopyChannels<'a, T> {
    /// From the first channel of the first position on.
    pub source: &'a [T],
    /// Elements of the source from a position to the next.
    pub pitch: usize,
    /// A vector a position.
    pub out: &'a mut [T],
}

impl<T: Lane> WithSimd for CopyChannels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (x, out) in T::as_vectors_mut::<S>(self.out).0.iter_mut().enumerate() {
            *out = T::as_vectors::<S>(&self.source[x * self.pitch..][..T::lanes::<S>()]).0[0];
        }
    }
}

/// Packs channels whose positions lie side by side: the vector of channels at each of `len` positions.
///
/// Squares of as many channels as lanes are transposed in registers, where the instruction set can. Elsewhere four
/// channels at a time, a vector of positions of each, are interleaved to runs of four channels, as
/// [`Transpose`](super::transpose::Transpose) does; here runs lie a vector apart, and so nothing is checked for each.
pub(crate) struct TransposeChannels<'a, T> {
    pub source: &'a [T],
    /// Where the positions of the first channel begin.
    pub first: usize,
    /// Elements from a channel to the next.
    pub pitch: isize,
    /// Channels, one a lane; the last one's lane repeats in those beyond it.
    pub channels: usize,
    pub len: usize,
    /// A vector a position.
    pub out: &'a mut [T],
}

/// Positions packed for all channels before the next ones are begun: each is written in as many steps as a vector has
/// runs, meanwhile in the L1 cache.
const STRIP: usize = 128;

impl<T: Lane> WithSimd for TransposeChannels<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TransposeChannels { source, first, pitch, channels, len, out } = self;
        let lanes = T::lanes::<S>();
        let start = |c: usize| first.wrapping_add_signed(c.min(channels - 1).cast_signed().wrapping_mul(pitch));
        let channel = |c: usize| &source[start(c)..][..len];
        if lanes < RUN || len < lanes {
            for c in 0..lanes {
                for (out, &number) in out.chunks_exact_mut(lanes).zip(channel(c)) {
                    out[c] = number;
                }
            }
            return;
        }
        if has_squares::<T, S>(simd) {
            let mut rows = [[source; RUN]; RUN];
            for c in 0..SQUARE {
                rows[c / RUN][c % RUN] = channel(c);
            }
            let out = &mut T::as_vectors_mut::<S>(out).0[..len];
            for first in (0..len).step_by(SQUARE) {
                // The last square ends with the positions, and begins before the others have ended if need be.
                let first = first.min(len - SQUARE);
                let columns =
                    transpose_vectors::<T, S>(simd, |i, j| T::as_vectors::<S>(&rows[i][j][first..][..SQUARE]).0[0]);
                let out = &mut out[first..][..SQUARE];
                for position in 0..SQUARE {
                    out[position] = columns[position % RUN][position / RUN];
                }
            }
            return;
        }
        let runs_of_vector = lanes / RUN;
        let out = out[..len * lanes].as_chunks_mut::<RUN>().0;
        for strip in (0..len).step_by(STRIP) {
            // The last vector of a strip ends with it, and begins before it if need be.
            let end = len.min(strip + STRIP);
            for run in 0..runs_of_vector {
                let [a, b, c, d] =
                    [channel(run * RUN), channel(run * RUN + 1), channel(run * RUN + 2), channel(run * RUN + 3)];
                for first in (strip..end).step_by(lanes) {
                    let first = first.min(end - lanes);
                    let vector = |channel: &[T]| T::as_vectors::<S>(&channel[first..][..lanes]).0[0];
                    let vectors = T::interleave(simd, [vector(a), vector(b), vector(c), vector(d)]);
                    let runs = T::as_runs(&vectors);
                    let out = &mut out[first * runs_of_vector..][..lanes * runs_of_vector];
                    for position in 0..lanes {
                        out[position * runs_of_vector + run] = runs[T::run_of_lane(position, lanes)];
                    }
                }
            }
        }
    }
}

/// Packs channels of several groups that lie side by side: a lane a group, a vector for each of the first channels of a group, at
/// each of some positions.
///
/// Runs of four channels, one of each group, are interleaved to vectors; channels left over, and vectors whose quarters the
/// instruction set does not interleave, are packed number by number.
pub(crate) struct DealGroups<'a, T> {
    /// From the first channel of the first group of the first position on.
    pub source: &'a [T],
    /// Elements of the source from a position to the next, and from a group to the next.
    pub pitch: usize,
    pub apart: usize,
    /// Groups, one a lane; the last one's lane repeats in those beyond it.
    pub groups: usize,
    /// Channels of each group.
    pub channels: usize,
    /// Some vectors a position, of which one a channel is written.
    pub out: &'a mut [T],
    pub width: usize,
}

impl<T: Lane> WithSimd for DealGroups<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let DealGroups { source, pitch, apart, groups, channels, out, width } = self;
        let lanes = T::lanes::<S>();
        let quarters = lanes / RUN;
        // Known when the kernel is compiled.
        let interleaves =
            quarters > 0 && (0..lanes).all(|lane| T::run_of_lane(lane, lanes) == lane % RUN * quarters + lane / RUN);
        let whole = if interleaves { channels / RUN * RUN } else { 0 };
        let start = |lane: usize| lane.min(groups - 1) * apart;
        for (x, out) in out.chunks_exact_mut(width).enumerate() {
            let source = &source[x * pitch..][..(groups - 1) * apart + channels];
            for first in (0..whole).step_by(RUN) {
                // Of four groups that follow each other, the runs lie in the same quarter of one vector each.
                let mut runs = [[T::default(); RUN]; SQUARE];
                for lane in 0..lanes {
                    let Some(run) = source[start(lane) + first..].first_chunk::<RUN>() else { continue };
                    runs[lane % RUN * quarters + lane / RUN] = *run;
                }
                let rows = T::as_vectors::<S>(runs.as_flattened()).0;
                let vectors = T::interleave(simd, [rows[0], rows[1], rows[2], rows[3]]);
                out[first * lanes..][..RUN * lanes].copy_from_slice(T::as_runs(&vectors).as_flattened());
            }
            for c in whole..channels {
                for lane in 0..lanes {
                    out[c * lanes + lane] = source[start(lane) + c];
                }
            }
        }
    }
}

/// Copies lines of equal length, a vector at a time: calls that copy a few vectors each would take longer than these.
///
/// `put` stores as many numbers as there is room for, as that of [`Transpose`](super::transpose::Transpose) does.
pub(crate) struct CopyLines<'a, T, O, Put> {
    pub source: &'a [T],
    /// Where the first line begins, and elements from a line to the next.
    pub first: usize,
    pub pitch: isize,
    pub lines: usize,
    pub len: usize,
    pub out: &'a mut [O],
    /// The same of where they go.
    pub out_first: usize,
    pub out_pitch: isize,
    pub put: Put,
}

impl<T: Lane, O, Put: Fn(&mut [O], &[T])> WithSimd for CopyLines<'_, T, O, Put> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let CopyLines { source, first, pitch, lines, len, out, out_first, out_pitch, put } = self;
        let lanes = T::lanes::<S>();
        for line in 0..lines {
            let at = |first: usize, pitch: isize| first.wrapping_add_signed(pitch.wrapping_mul(line.cast_signed()));
            let source = source[at(first, pitch)..][..len].chunks_exact(lanes);
            let mut out = out[at(out_first, out_pitch)..][..len].chunks_exact_mut(lanes);
            let rest = source.remainder();
            for (out, source) in (&mut out).zip(source) {
                put(&mut out[..lanes], &source[..lanes]);
            }
            if !rest.is_empty() {
                put(out.into_remainder(), rest);
            }
        }
    }
}

/// Copies every `step`-th number of lines.
pub(crate) struct CopyEvery<'a, T> {
    pub source: &'a [T],
    /// Where the first line begins, and elements from a line to the next.
    pub first: usize,
    pub pitch: isize,
    pub step: isize,
    pub lines: usize,
    pub len: usize,
    pub out: &'a mut [T],
    /// Elements from where a line goes to where the next does.
    pub out_pitch: usize,
}

impl<T: Lane> WithSimd for CopyEvery<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let CopyEvery { source, first, pitch, step, lines, len, out, out_pitch } = self;
        for (line, out) in out.chunks_mut(out_pitch).enumerate().take(lines) {
            let first = first.wrapping_add_signed(pitch.wrapping_mul(line.cast_signed()));
            let out = &mut out[..len];
            if step == 2 {
                // The stride of most networks by itself: the compiler turns it into shuffles.
                let (pairs, last) = source[first..][..2 * len - 1].as_chunks::<2>();
                for (out, pair) in out.iter_mut().zip(pairs) {
                    *out = pair[0];
                }
                if let (Some(out), Some(&last)) = (out.last_mut(), last.first()) {
                    *out = last;
                }
            } else {
                for (x, out) in out.iter_mut().enumerate() {
                    *out = source[first.wrapping_add_signed(step.wrapping_mul(x.cast_signed()))];
                }
            }
        }
    }
}

/// Reads lines and forgets them: brings them into the caches in their order. 115 GB/s from an L3 cache, where a kernel
/// that goes from position to position fetches 10 to 60; vectors that cross cache lines would halve what comes from
/// memory (Zen 5).
pub(crate) struct Touch<'a, T> {
    /// From the first line on.
    pub data: &'a [T],
    pub lines: usize,
    /// Elements from a line to the next.
    pub pitch: usize,
    pub len: usize,
}

impl<T: Lane> WithSimd for Touch<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // Additions that do not wait for each other.
        const CHAINS: usize = 4;
        let mut totals = [T::splat(simd, T::default()); CHAINS];
        for line in 0..self.lines {
            let line = &self.data[line * self.pitch..][..self.len];
            let unaligned = line.as_ptr().align_offset(size_of::<T::Vector<S>>()).min(line.len());
            let line = &line[unaligned..];
            let vectors = T::as_vectors::<S>(line).0.as_chunks::<CHAINS>();
            for chunk in vectors.0 {
                for i in 0..CHAINS {
                    totals[i] = T::add(simd, totals[i], chunk[i]);
                }
            }
            for &vector in vectors.1 {
                totals[0] = T::add(simd, totals[0], vector);
            }
        }
        for total in totals {
            std::hint::black_box(T::reduce_sum(simd, total));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Isa, Registers};
    use super::*;

    #[test]
    fn groups_are_dealt_to_lanes_whatever_their_number() {
        fn check<T: Lane + std::fmt::Debug>(number: impl Fn(usize) -> T) {
            for isa in Isa::available() {
                let Registers { lanes, .. } = isa.registers::<T>();
                for (channels, apart) in [(1, 1), (3, 4), (4, 4), (4, 9), (9, 10)] {
                    let (positions, pitch, width) = (3, lanes * apart + 2, (channels + 1) * lanes);
                    let source: Vec<T> = (0..positions * pitch).map(&number).collect();
                    for groups in [lanes, lanes.div_ceil(2)] {
                        let mut out = vec![number(0); positions * width];
                        isa.run(DealGroups { source: &source, pitch, apart, groups, channels, out: &mut out, width });
                        for (i, &dealt) in out.iter().enumerate() {
                            let (x, c, lane) = (i / width, i % width / lanes, i % lanes);
                            let at = x * pitch + lane.min(groups - 1) * apart + c;
                            let expected = if c < channels { source[at] } else { number(0) };
                            assert_eq!(dealt, expected, "{isa}: {i}, {channels} of {apart} channels, {groups} groups");
                        }
                    }
                }
            }
        }
        check(|i| i as f32);
        check(|i| i as f64);
    }

    #[test]
    fn lines_are_copied_whatever_their_length_and_step() {
        for isa in Isa::available() {
            let Registers { lanes, .. } = isa.registers::<f32>();
            for len in [1, 3, lanes, lanes + 1, 2 * lanes + 5] {
                let (first, pitch, lines, out_pitch) = (2, 3 * len + 1, 4, len + 2);
                let source: Vec<f32> = (0..first + lines * pitch).map(|i| i as f32).collect();
                let expected = |step: usize, i: usize| {
                    let (line, x) = (i / out_pitch, i % out_pitch);
                    if x < len { (first + line * pitch + x * step) as f32 } else { -1.0 }
                };
                let pitch = pitch.cast_signed();
                let fresh = || vec![-1.0; (lines - 1) * out_pitch + len];
                let mut out = fresh();
                let put = |out: &mut [f32], numbers: &[f32]| out.copy_from_slice(numbers);
                let (out_first, source) = (0, &source[..]);
                let to = out_pitch.cast_signed();
                isa.run(CopyLines { source, first, pitch, lines, len, out: &mut out, out_first, out_pitch: to, put });
                assert!(out.iter().enumerate().all(|(i, &number)| number == expected(1, i)), "{isa}: {len}, {out:?}");
                for step in [2usize, 3] {
                    let mut out = fresh();
                    let by = step.cast_signed();
                    isa.run(CopyEvery { source, first, pitch, step: by, lines, len, out: &mut out, out_pitch });
                    let all = out.iter().enumerate().all(|(i, &number)| number == expected(step, i));
                    assert!(all, "{isa}: every {step} of {len}, {out:?}");
                }
            }
        }
    }

    #[test]
    fn channels_are_packed_position_by_position_whatever_their_number() {
        for isa in Isa::available() {
            let Registers { lanes, .. } = isa.registers::<f32>();
            for len in [1, 7, lanes, lanes + 1, 49, STRIP + 5] {
                let begins = |c: usize| 3 + c * (len + 2);
                let source: Vec<f32> = (0..begins(lanes)).map(|i| i as f32).collect();
                for channels in [lanes, lanes.div_ceil(2)] {
                    let mut out = vec![-1.0; len * lanes];
                    let (first, pitch) = (begins(0), (len + 2).cast_signed());
                    isa.run(TransposeChannels { source: &source, first, pitch, channels, len, out: &mut out });
                    for (i, &number) in out.iter().enumerate() {
                        let expected = begins((i % lanes).min(channels - 1)) + i / lanes;
                        assert_eq!(number, expected as f32, "{isa}: {i} of {len} positions, {channels} channels");
                    }
                }
            }
        }
    }
}
