//! The outer-product microkernel: channels in lanes.
//!
//! ```text
//! sums[n][v] += sum over positions  delta[position][v] * input[position'][n]        v a vector, n a number
//! ```
//!
//! `delta` is a packed panel of `V` vectors (output channels) a position, `input` one of `N` numbers (input channels).
//! A tap of the kernel only shifts where the input panel is read, so nothing is unfolded: the positions are walked in
//! up to three nested levels, and each level steps through both panels by its own pitch.
//!
//! ```text
//! for plane, for row:                     slices of both panels, bounds checked once a row
//!     for column:                         V loads, N broadcasts, V*N multiply-adds, nothing else
//! ```
//!
//! On AVX-512 the inner loop of 2 x 8 is 2 loads, 8 broadcasts and 16 multiply-adds with all sums in registers. The
//! check of each step's input chunk is hoisted: `as_chunks` yields arrays, `chunks_exact` one invariant length.

use super::tile::{Tile, expect_registers};
use super::walk::Walk;
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};

/// Whether the kernel of a tile keeps its sums in registers, beside its vectors and one broadcast number.
///
/// With 16 registers 2x6, 3x3 and 1x13 do and 2x7, 3x4 and 1x14 run at half their rate (AVX2 on Zen 5, rustc 1.95): one
/// register stays with the compiler. With 32, all tiles do.
pub(crate) fn fits(Tile { v, n }: Tile, registers: Registers) -> bool {
    v * n + v + 1 < registers.count
}

/// Cycles of one position, on a core that starts two multiply-adds and about two loads a cycle.
///
/// - `v * n / 2`: the multiply-adds;
/// - `0.57 * (v + n)`: the loads; 1x16 measured 9.8 cycles where its multiply-adds need 8, 1x8 measured 5.0 for 4;
/// - 4: a sum takes its next term only after the latency of a multiply-add;
/// - 0.4 beside the greatest of these, for the loop: 2x4 measured 4.8 for 4, 2x8 8.3 for 8.
pub(crate) fn cycles(Tile { v, n }: Tile) -> f64 {
    (0.5 * (v * n) as f64).max(0.57 * (v + n) as f64).max(4.0) + 0.4
}

/// One call of the kernel. The `V` vectors of sum `n` begin at element `n * pitch` of `sums`. The input panel reaches
/// `numbers_column` elements from the last column on.
pub(crate) struct OuterTile<'a, T, const V: usize, const N: usize> {
    pub vectors: &'a [T],
    pub numbers: &'a [T],
    pub walk: Walk,
    pub sums: &'a mut [T],
    pub pitch: usize,
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for OuterTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        // Two instances of the loops rather than a choice inside them, which would spill the sums at every row.
        let column = self.walk.numbers_column;
        let sums = if column == N {
            self.sum_up(simd, |numbers| numbers.as_chunks::<N>().0.iter())
        } else {
            self.sum_up(simd, |numbers| numbers.chunks_exact(column).map_while(|numbers| numbers.first_chunk::<N>()))
        };
        // Constant bounds throughout: a loop of unknown length would index the sums, and so keep them in memory.
        for (n, sums) in sums.iter().enumerate() {
            let total = &mut T::as_vectors_mut::<S>(&mut self.sums[n * self.pitch..]).0[..V];
            for v in 0..V {
                total[v] = T::add(simd, total[v], sums[v]);
            }
        }
    }
}

impl<'a, T: Lane, const V: usize, const N: usize> OuterTile<'a, T, V, N> {
    /// The sums over the walk; `columns` gives the numbers of one column after the other, from a row's first one on.
    #[inline(always)]
    fn sum_up<S: Simd, I: Iterator<Item = &'a [T; N]>>(
        &self,
        simd: S,
        columns: impl Fn(&'a [T]) -> I,
    ) -> [[T::Vector<S>; V]; N] {
        let walk = self.walk;
        let width = V * T::lanes::<S>();
        let mut sums = [[T::splat(simd, T::default()); V]; N];
        for plane in 0..walk.planes {
            for row in 0..walk.rows {
                let vectors = &self.vectors[plane * walk.vectors_plane + row * walk.vectors_row..];
                let vectors = T::as_vectors::<S>(&vectors[..walk.columns * width]).0.as_chunks::<V>().0;
                let numbers = &self.numbers[plane * walk.numbers_plane + row * walk.numbers_row..];
                for (vectors, numbers) in vectors.iter().zip(columns(numbers)) {
                    multiply_add(simd, vectors, numbers, &mut sums);
                }
            }
        }
        sums
    }
}

/// Adds the outer product of `V` vectors and `N` numbers.
#[inline(always)]
pub(crate) fn multiply_add<T: Lane, S: Simd, const V: usize, const N: usize>(
    simd: S,
    vectors: &[T::Vector<S>; V],
    numbers: &[T; N],
    sums: &mut [[T::Vector<S>; V]; N],
) {
    let vectors = *vectors;
    for (sum, &number) in sums.iter_mut().zip(numbers) {
        let number = T::splat(simd, number);
        for v in 0..V {
            sum[v] = T::mul_add(simd, vectors[v], number, sum[v]);
        }
    }
}
