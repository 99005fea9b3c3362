//! The depthwise microkernel: channels in lanes, each convolved with itself.
//!
//! ```text
//! sums[n][v] += delta[row][x - v] * input[row * stride + n * dilation][x]      for each x; a lane a channel
//! ```
//!
//! Channels lie side by side in both operands. Of a kernel's taps, `V` columns by `N` rows are one tile. It is the
//! [sliding kernel](super::slide) turned by a quarter: an output meets `V` columns of the input one after the other, so its
//! vector is loaded once and handed down `V` registers.
//!
//! ```text
//! for plane, for row:
//!     held = the V outputs before the first column of the input
//!     for column:                                        1 + N loads, V*N multiply-adds
//!         held = next output, then all of held but the last
//!         for n:  sums[n] += held * input[row of n][column]
//! ```
//!
//! 1. Lanes never meet: there are no masks, and nothing to add up at the end.
//! 2. Outputs there are not, beyond both ends of a row, are zeros: the sum is the definition's as long as the columns of the
//!    input that meet them are finite. That all rows of taps lie in the input is the caller's part.
//! 3. Few loads matter because vectors of channels begin anywhere: one that crosses a cache line takes a cycle and a half.
//!    With a load for each tap the layer of 16 channels at 56x56 took 11.6 cycles an output (Zen 5, AVX-512).

use super::slide::{first_vector, hand_down, holds};
use super::tile::{Tile, expect_registers};
use super::transpose::{RUN, SQUARE, has_squares, transpose_vectors};
use super::{Lane, Registers, slide};
use pulp::{Simd, WithSimd};

pub(crate) use slide::{MAX_N, cycles, for_slide_tile};

/// Whether the kernel of a tile keeps its sums in registers, beside the outputs held and one vector of the input.
///
/// With 16 registers 2x6, 3x4 and 5x2 do, 2x7, 3x5 and 4x3 store sums at every step. With 32 all tiles do (rustc 1.95).
pub(crate) fn fits(Tile { v, n }: Tile, registers: Registers) -> bool {
    v * n + v < registers.count
}

/// Elements from a plane, a row, a column to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pitches {
    pub plane: usize,
    pub row: usize,
    pub column: usize,
}

/// Positions a kernel call walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    pub planes: usize,
    pub rows: usize,
    /// Outputs of a row, and columns of the input.
    pub outputs: usize,
    pub columns: usize,
    /// The output that the first column of the input meets with `v` = 0; with `v` it meets the one `v` before. Those there
    /// are not count as zeros.
    pub first: usize,
    /// From an output, and from what it meets, to the next.
    pub delta: Pitches,
    pub input: Pitches,
    /// Elements of the input from a row of taps to the next.
    pub tap_row: usize,
}

/// One call of the kernel.
pub(crate) struct DepthwiseTile<'a, T, const V: usize, const N: usize> {
    /// From the first output on.
    pub delta: &'a [T],
    /// From the first column that the first row meets with the tile's first row of taps on.
    pub input: &'a [T],
    pub walk: Walk,
    /// Where `N` rows of sums lie, and in each the `V` vectors: so many elements from one to the next.
    pub sums: &'a mut [T],
    pub sums_pitches: [usize; 2],
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for DepthwiseTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        let sums = self.sum_up(simd);
        let [row, column] = self.sums_pitches;
        // Constant bounds: a loop of unknown length would index the sums, and so keep them in memory.
        for (n, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let total = T::as_vectors_mut::<S>(&mut self.sums[n * row + v * column..][..T::lanes::<S>()]).0;
                total[0] = T::add(simd, total[0], sum);
            }
        }
    }
}

impl<T: Lane, const V: usize, const N: usize> DepthwiseTile<'_, T, V, N> {
    /// The sums over the walk.
    #[inline(always)]
    fn sum_up<S: Simd>(&self, simd: S) -> [[T::Vector<S>; V]; N] {
        let walk = self.walk;
        let lanes = T::lanes::<S>();
        let zero = T::splat(simd, T::default());
        // Columns that meet one more output. Those behind them meet outputs held only, and none if one is held.
        let meeting = walk.columns.min(walk.outputs.saturating_sub(walk.first));
        let columns = if V > 1 { walk.columns } else { meeting };
        let line_len = (walk.columns - 1) * walk.input.column + lanes;
        let mut sums = [[zero; V]; N];
        for plane in 0..walk.planes {
            for row in 0..walk.rows {
                let delta = &self.delta[plane * walk.delta.plane + row * walk.delta.row..];
                let input = &self.input[plane * walk.input.plane + row * walk.input.row..];
                // Of one length, so that one comparison a column serves all of them.
                let mut lines: [&[T]; N] = [&[]; N];
                for n in 0..N {
                    lines[n] = &input[n * walk.tap_row..][..line_len];
                }
                let mut held = [zero; V];
                for (v, held) in held.iter_mut().enumerate().take(walk.first) {
                    let output = walk.first - 1 - v;
                    if output < walk.outputs {
                        *held = first_vector::<T, S>(&delta[output * walk.delta.column..]);
                    }
                }
                let (mut delta_at, mut at) = (walk.first * walk.delta.column, 0);
                for _ in 0..meeting {
                    // Holds always; and tells the compiler that the loads lie inside.
                    if !(holds(delta.len(), delta_at, lanes) && holds(line_len, at, lanes)) {
                        break;
                    }
                    hand_down(&mut held, first_vector::<T, S>(&delta[delta_at..]));
                    add(simd, &held, &lines, at, &mut sums);
                    delta_at += walk.delta.column;
                    at += walk.input.column;
                }
                for _ in meeting..columns {
                    if !holds(line_len, at, lanes) {
                        break;
                    }
                    hand_down(&mut held, zero);
                    add(simd, &held, &lines, at, &mut sums);
                    at += walk.input.column;
                }
            }
        }
        sums
    }
}

/// Adds the products of one column of the input.
#[inline(always)]
fn add<T: Lane, S: Simd, const V: usize, const N: usize>(
    simd: S,
    held: &[T::Vector<S>; V],
    lines: &[&[T]; N],
    at: usize,
    sums: &mut [[T::Vector<S>; V]; N],
) {
    for n in 0..N {
        let input = first_vector::<T, S>(&lines[n][at..]);
        for v in 0..V {
            sums[n][v] = T::mul_add(simd, held[v], input, sums[n][v]);
        }
    }
}

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
/// Squares of as many channels as lanes are transposed in registers, where the instruction set can. Elsewhere four channels
/// at a time, a vector of positions of each, are interleaved to runs of four channels, as
/// [`Transpose`](super::transpose::Transpose) does; here runs lie a vector apart, and so nothing is checked for each.
pub(crate) struct TransposeChannels<'a, T, Start> {
    pub source: &'a [T],
    /// Where the positions of a channel begin, for each lane.
    pub start: Start,
    pub len: usize,
    /// A vector a position.
    pub out: &'a mut [T],
}

/// Positions packed for all channels before the next ones are begun: each is written in as many steps as a vector has runs,
/// meanwhile in the L1 cache.
const STRIP: usize = 128;

impl<T: Lane, Start: Fn(usize) -> usize> WithSimd for TransposeChannels<'_, T, Start> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TransposeChannels { source, start, len, out } = self;
        let lanes = T::lanes::<S>();
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

/// Reads lines and forgets them: brings them into the caches in their order. 115 GB/s from an L3 cache, where a kernel that
/// goes from position to position fetches 10 to 60 (Zen 5).
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
    fn channels_are_packed_position_by_position_whatever_their_number() {
        for isa in Isa::available() {
            let Registers { lanes, .. } = isa.registers::<f32>();
            for len in [1, 7, lanes, lanes + 1, 49, STRIP + 5] {
                let channel = |c: usize| 3 + c * (len + 2);
                let source: Vec<f32> = (0..channel(lanes)).map(|i| i as f32).collect();
                let mut out = vec![-1.0; len * lanes];
                isa.run(TransposeChannels { source: &source, start: channel, len, out: &mut out });
                for (i, &number) in out.iter().enumerate() {
                    assert_eq!(number, (channel(i % lanes) + i / lanes) as f32, "{isa}: {i} of {len} positions");
                }
            }
        }
    }
}
