//! The planar microkernel: channels of one operand in lanes, the other operand read where its planes lie.
//!
//! ```text
//! sums[n][v] += sum over positions  vectors[position][v] * numbers[starts[n] + position']     v a vector, n a number
//! ```
//!
//! `vectors` is a packed panel of `V` vectors a position. The numbers of a position lie anywhere: `starts` tells where each
//! of the `N` rows of the result begins, be it a channel, a tap, or one of both, and all are walked in step.
//!
//! ```text
//! for plane, for row:                     a slice for each n, bounds checked once a row
//!     for column:                         V loads, N broadcasts, V*N multiply-adds, one comparison
//! ```
//!
//! A broadcast is a load of four bytes: it crosses no cache line wherever it lies, and a stride of columns costs nothing.
//! So what the [outer](super::outer) kernel must have packed is here read in place.

use super::outer::{self, multiply_add};
use super::tile::{Tile, expect_registers};
use super::walk::Walk;
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};

/// Rows a tile may have: each keeps a pointer in a register, of which there are 16, and others are needed.
const MAX_ROWS: usize = 8;

/// Whether the kernel of a tile keeps its sums, and the pointers of its rows, in registers.
pub(crate) fn fits(tile: Tile, registers: Registers) -> bool {
    tile.n <= MAX_ROWS && outer::fits(tile, registers)
}

/// Cycles of one position: those of the [outer kernel](super::outer::cycles), and a little for each vector, so that of equal
/// tiles the one with fewer is taken. Vectors come from the L2 cache, numbers mostly from the L1: 4x4 took 12.1 ms for a
/// 7x7 layer of 3 to 64 channels, 2x8 10.0 (Zen 5, AVX-512).
pub(crate) fn cycles(tile: Tile) -> f64 {
    outer::cycles(tile) + 0.1 * tile.v as f64
}

/// One call of the kernel. The `V` vectors of sum `n` begin at element `n * pitch` of `sums`.
pub(crate) struct PlanarTile<'a, T, const V: usize, const N: usize> {
    pub vectors: &'a [T],
    pub numbers: &'a [T],
    pub starts: [usize; N],
    pub walk: Walk,
    pub sums: &'a mut [T],
    pub pitch: usize,
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for PlanarTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        let PlanarTile { vectors, numbers, starts, walk, sums: totals, pitch } = self;
        let width = V * T::lanes::<S>();
        let len = (walk.columns - 1) * walk.numbers_column + 1;
        let mut sums = [[T::splat(simd, T::default()); V]; N];
        for plane in 0..walk.planes {
            for row in 0..walk.rows {
                let vectors = &vectors[plane * walk.vectors_plane + row * walk.vectors_row..];
                let vectors = T::as_vectors::<S>(&vectors[..walk.columns * width]).0.as_chunks::<V>().0;
                let numbers = &numbers[plane * walk.numbers_plane + row * walk.numbers_row..];
                let mut rows = [&numbers[..0]; N];
                for n in 0..N {
                    rows[n] = &numbers[starts[n]..][..len];
                }
                let mut at = 0;
                for vectors in vectors {
                    // Holds always; and tells the compiler that all rows reach so far.
                    if at >= len {
                        break;
                    }
                    let mut numbers = [T::default(); N];
                    for n in 0..N {
                        numbers[n] = rows[n][at];
                    }
                    multiply_add(simd, vectors, &numbers, &mut sums);
                    at += walk.numbers_column;
                }
            }
        }
        // Constant bounds throughout: a loop of unknown length would index the sums, and so keep them in memory.
        for (n, sums) in sums.iter().enumerate() {
            let total = &mut T::as_vectors_mut::<S>(&mut totals[n * pitch..]).0[..V];
            for v in 0..V {
                total[v] = T::add(simd, total[v], sums[v]);
            }
        }
    }
}
