//! The shifting microkernel of the forward pass: output positions in lanes, weights broadcast.
//!
//! ```text
//! sums[n][v] = start + sum over channels, taps  input[channel][position + shift of the tap][v] * weights[channel][tap][n]
//! ```
//!
//! Planes of the input are padded, so that all outputs meet a tap at the same distance, whatever their row: positions are
//! counted through all rows, those between two rows included, whose sums mean nothing.
//!
//! ```text
//! for channel, for tap:                       V loads, N broadcasts, V*N multiply-adds
//! ```
//!
//! For few output channels, where lanes of channels would be idle.

use super::correlate::Start;
use super::slide::holds;
use super::tile::{Tile, expect_registers};
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};

/// Largest `n` there is a kernel for.
pub(crate) const MAX_N: usize = 3;

/// The vectors there are kernels for.
const VECTORS: [usize; 4] = [8, 4, 2, 1];

/// Whether the kernel keeps its sums in registers, beside the numbers of a tap and a vector.
pub(crate) fn fits(Tile { v, n }: Tile, registers: Registers) -> bool {
    v * n + n + 1 < registers.count
}

/// The most vectors that fit the registers and are no more than `most`, if `most` is not zero.
pub(crate) fn max_v(n: usize, most: usize, registers: Registers) -> usize {
    VECTORS.into_iter().find(|&v| v <= most && fits(Tile { v, n }, registers)).unwrap_or(1)
}

/// Evaluates `$body` with the constants `V` and `N` set to the sizes of a tile of this kernel.
macro_rules! for_shift_tile {
    ($tile:expr, $body:expr) => {
        $crate::simd::tile::for_tile!(@arms $tile, $body, 1: 1 2 3; 2: 1 2 3; 4: 1 2 3; 8: 1 2 3;)
    };
}
pub(crate) use for_shift_tile;

/// One call of the kernel. The `V` vectors of sum `n` begin at element `n * pitch` of `sums`.
pub(crate) struct ShiftTile<'a, T, const V: usize, const N: usize> {
    /// From the first position on, as the first tap meets it if it is not shifted.
    pub input: &'a [T],
    /// Elements of the input from a channel to the next.
    pub channel: usize,
    pub channels: usize,
    /// How far each tap is shifted.
    pub shifts: &'a [usize],
    /// `N` for each tap, and elements from a channel to the next.
    pub weights: &'a [T],
    pub weights_channel: usize,
    /// Vectors there are none of.
    pub start: Start<'a, T>,
    pub sums: &'a mut [T],
    pub pitch: usize,
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for ShiftTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, |tile, registers| tile.v == 1 || fits(tile, registers));
        let ShiftTile { input, channel, channels, shifts, weights, weights_channel, start, sums: held, pitch } = self;
        let len = V * T::lanes::<S>();
        let mut sums = [[T::splat(simd, T::default()); V]; N];
        if let Start::Numbers(start) = start {
            let start = &start[..N];
            for n in 0..N {
                sums[n] = [T::splat(simd, start[n]); V];
            }
        } else {
            for n in 0..N {
                let held = &T::as_vectors::<S>(&held[n * pitch..]).0[..V];
                for (sum, &held) in sums[n].iter_mut().zip(held) {
                    *sum = held;
                }
            }
        }
        for c in 0..channels {
            let input = &input[c * channel..];
            let weights = weights[c * weights_channel..].as_chunks::<N>().0;
            for (&shift, weights) in shifts.iter().zip(weights) {
                // Holds always; and tells the compiler that the loads lie inside.
                if !holds(input.len(), shift, len) {
                    break;
                }
                let vectors = &T::as_vectors::<S>(&input[shift..][..len]).0[..V];
                let mut numbers = [T::splat(simd, T::default()); N];
                for n in 0..N {
                    numbers[n] = T::splat(simd, weights[n]);
                }
                for v in 0..V {
                    for n in 0..N {
                        sums[n][v] = T::mul_add(simd, vectors[v], numbers[n], sums[n][v]);
                    }
                }
            }
        }
        for n in 0..N {
            let held = &mut T::as_vectors_mut::<S>(&mut held[n * pitch..]).0[..V];
            for (held, sum) in held.iter_mut().zip(sums[n]) {
                *held = sum;
            }
        }
    }
}
