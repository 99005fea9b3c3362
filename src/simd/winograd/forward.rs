//! The kernels of Winograd's forward pass: output channels in lanes, tiles as broadcast numbers.
//!
//! ```text
//! TransformedWeights   out[i,j][channel][v] = G weights[channel][..][v] G^T
//! SumChannels          sums[point][tile][v] = sum over channels  numbers[point][tile][channel] * vectors[point][channel][v]
//! Outputs              out[position][v] = A^T sums[..][tile][v] A + bias[v]
//! ```
//!
//! In the sums a tile's numbers lie channel by channel, as the transform writes them, so `N` tiles are `N` rows that are read
//! side by side. All are of [`WIDTH`] channels: with that known to the compiler, they are constant distances from one address.

use super::{TAPS, in_all_lanes, on_both_axes};
use crate::simd::Lane;
use crate::simd::outer::{fits, multiply_add};
use crate::simd::tile::{Tile, expect_registers};
use crate::simd::toom::{COEFFICIENTS, Linear};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;

/// Input channels that lie side by side in a transformed tile. So many positions of a row of six by 56 fit a task's workspace,
/// and the sums of a register tile are interrupted seldom enough.
pub(crate) const WIDTH: usize = 32;

/// Input channels whose products are summed in registers before they are added to the sum of all.
pub(crate) const PARTIAL: usize = 2 * WIDTH;

/// Transforms the kernels of some pairs of channels.
pub(crate) struct TransformedWeights<'a, L, T, const O: usize> {
    pub coefficients: [T; COEFFICIENTS],
    /// `[channel][tap][width]`
    pub weights: &'a [T],
    /// Whether the last tap comes first.
    pub is_reversed: bool,
    pub width: usize,
    /// From the first channel on: `[point][channel][width]`, `pitch` channels a point.
    pub out: &'a mut [T],
    pub pitch: usize,
    pub map: PhantomData<L>,
}

impl<L: Linear<TAPS, O>, T: Lane, const O: usize> WithSimd for TransformedWeights<'_, L, T, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let TransformedWeights { coefficients, weights, is_reversed, width, out, pitch, .. } = self;
        let coefficients = in_all_lanes(simd, coefficients);
        let vectors = width / T::lanes::<S>();
        let out = T::as_vectors_mut::<S>(out).0;
        let kernels = T::as_vectors::<S>(weights).0.chunks_exact(TAPS * TAPS * vectors);
        for (channel, kernel) in kernels.enumerate() {
            for v in 0..vectors {
                let out = &mut out[channel * vectors + v..];
                let load = |i: usize, j: usize| {
                    let tap = i * TAPS + j;
                    kernel[if is_reversed { TAPS * TAPS - 1 - tap } else { tap } * vectors + v]
                };
                on_both_axes::<L, T, S, TAPS, O>(simd, &coefficients, load, |i, points| {
                    for (j, point) in points.into_iter().enumerate() {
                        out[(i * O + j) * pitch * vectors] = point;
                    }
                });
            }
        }
    }
}

/// Sums products over all input channels, for some tiles at all points.
pub(crate) struct SumChannels<'a, T, const V: usize, const N: usize> {
    /// `[point][channel][V vectors]`, `vectors_pitch` channels a point, of which the first `channels` count.
    pub vectors: &'a [T],
    pub vectors_pitch: usize,
    pub channels: usize,
    /// From the first tile on: `[block of channels][point][tile][WIDTH]`, `numbers_block` elements a block.
    pub numbers: &'a [T],
    pub numbers_block: usize,
    /// From the first tile on: `[point][tile][V vectors]`.
    pub sums: &'a mut [T],
    /// Tiles a point, of numbers and of sums.
    pub numbers_pitch: usize,
    pub sums_pitch: usize,
    /// So many times `N` tiles.
    pub groups: usize,
    pub points: usize,
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for SumChannels<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        let SumChannels { vectors, vectors_pitch, channels, numbers, numbers_block, sums, .. } = self;
        let vectors = T::as_vectors::<S>(vectors).0.as_chunks::<V>().0;
        let numbers = numbers.as_chunks::<WIDTH>().0;
        let totals = T::as_vectors_mut::<S>(sums).0.as_chunks_mut::<V>().0;
        let numbers_block = numbers_block / WIDTH;
        for point in 0..self.points {
            let vectors = &vectors[point * vectors_pitch..][..channels];
            for group in 0..self.groups {
                let first = point * self.numbers_pitch + group * N;
                let totals = &mut totals[point * self.sums_pitch + group * N..][..N];
                for (part, vectors) in vectors.chunks(PARTIAL).enumerate() {
                    let mut sums = [[T::splat(simd, T::default()); V]; N];
                    for (block, vectors) in vectors.chunks(WIDTH).enumerate() {
                        let block = part * (PARTIAL / WIDTH) + block;
                        let Some(tiles) = numbers[block * numbers_block + first..].first_chunk::<N>() else { continue };
                        for (channel, vectors) in vectors.iter().enumerate().take(WIDTH) {
                            let mut numbers = [T::default(); N];
                            for n in 0..N {
                                numbers[n] = tiles[n][channel];
                            }
                            multiply_add(simd, vectors, &numbers, &mut sums);
                        }
                    }
                    // Constant bounds, so that the sums stay in registers.
                    if part == 0 {
                        for n in 0..N {
                            for v in 0..V {
                                totals[n][v] = sums[n][v];
                            }
                        }
                    } else {
                        for n in 0..N {
                            for v in 0..V {
                                totals[n][v] = T::add(simd, totals[n][v], sums[n][v]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Turns the sums of all points into the outputs of a rectangle of tiles.
pub(crate) struct Outputs<'a, L, T, const I: usize, const O: usize> {
    pub coefficients: [T; COEFFICIENTS],
    /// From the first tile on: `[point][tile][width]`, `pitch` tiles a point; row after row of `columns` tiles.
    pub sums: &'a [T],
    pub pitch: usize,
    pub columns: usize,
    /// One for each channel of the width.
    pub bias: &'a [T],
    /// `[row][column][width]`; what tiles have beyond is left out.
    pub out: &'a mut [T],
    pub positions: [usize; 2],
    pub map: PhantomData<L>,
}

impl<L: Linear<I, O>, T: Lane, const I: usize, const O: usize> WithSimd for Outputs<'_, L, T, I, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Outputs { coefficients, sums, pitch, columns, bias, out, positions: [height, width], .. } = self;
        let coefficients = in_all_lanes(simd, coefficients);
        let bias = T::as_vectors::<S>(bias).0;
        let vectors = bias.len();
        let sums = T::as_vectors::<S>(sums).0;
        let out = T::as_vectors_mut::<S>(out).0;
        for y in (0..height).step_by(O) {
            let rows = O.min(height - y);
            for x in (0..width).step_by(O) {
                let across = O.min(width - x);
                let tile = y / O * columns + x / O;
                for (v, bias) in bias.iter().enumerate() {
                    let sums = &sums[tile * vectors + v..];
                    let out = &mut out[(y * width + x) * vectors + v..];
                    let load = |i: usize, j: usize| sums[(i * I + j) * pitch * vectors];
                    on_both_axes::<L, T, S, I, O>(simd, &coefficients, load, |i, outputs| {
                        if i < rows {
                            for (j, &output) in outputs.iter().enumerate().take(across) {
                                out[(i * width + j) * vectors] = T::add(simd, output, *bias);
                            }
                        }
                    });
                }
            }
        }
    }
}
