//! The microkernel of a depthwise forward pass: channels in lanes, each multiplied by its own weight.
//!
//! ```text
//! sums[n] = start + sum over taps  weights[tap] * input[position n, shifted by the tap]       all of them vectors
//! ```
//!
//! ```text
//! for depth, for row of taps:         a slice of the input for each position, bounds checked once
//!     for column of taps:             1 + N loads, N multiply-adds
//! ```

use super::correlate::{Level, MAX_POINTERS};
use super::slide::{first_vector, holds};
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};

/// Positions of a tile: as many sums as keep the multipliers busy, and registers hold.
pub(crate) fn max_n(registers: Registers) -> usize {
    MAX_POINTERS.min(registers.count / 2 - 1)
}

/// Evaluates `$body` with the constant `N` set to a number of positions, at most [`MAX_POINTERS`].
macro_rules! for_multiply_tile {
    ($n:expr, $body:expr) => {
        $crate::simd::tile::for_tile!(@arms $crate::simd::tile::Tile { v: 1, n: $n }, {
            let _ = V;
            $body
        }, 1: 1 2 3 4 5 6 7;)
    };
}
pub(crate) use for_multiply_tile;

/// One call of the kernel. `sums` has a vector for each of the `N` positions.
pub(crate) struct MultiplyTile<'a, T, const N: usize> {
    /// A vector for each tap.
    pub vectors: &'a [T],
    /// From the first position on, as the first tap meets it.
    pub input: &'a [T],
    /// Depths, rows and columns of taps.
    pub levels: [Level; 3],
    /// Elements of the input from a position to the next.
    pub position: usize,
    /// A vector that sums start from.
    pub start: &'a [T],
    pub sums: &'a mut [T],
}

impl<T: Lane, const N: usize> WithSimd for MultiplyTile<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        let MultiplyTile { vectors, input, levels: [depths, rows, columns], position, start, sums: held } = self;
        let mut sums = [T::as_vectors::<S>(&start[..lanes]).0[0]; N];
        for depth in 0..depths.count {
            for row in 0..rows.count {
                let vectors = &vectors[depth * depths.vectors + row * rows.vectors..];
                let vectors = T::as_vectors::<S>(&vectors[..columns.count * lanes]).0;
                let input = &input[depth * depths.numbers + row * rows.numbers..];
                let len = (columns.count - 1) * columns.numbers + lanes;
                let mut lines = [input; N];
                for n in 0..N {
                    lines[n] = &input[n * position..][..len];
                }
                let mut at = 0;
                for &vector in vectors {
                    // Holds always; and tells the compiler that the loads lie inside.
                    if !holds(len, at, lanes) {
                        break;
                    }
                    for n in 0..N {
                        sums[n] = T::mul_add(simd, vector, first_vector::<T, S>(&lines[n][at..]), sums[n]);
                    }
                    at += columns.numbers;
                }
            }
        }
        let held = &mut T::as_vectors_mut::<S>(&mut held[..N * lanes]).0[..N];
        for (held, sum) in held.iter_mut().zip(sums) {
            *held = sum;
        }
    }
}
