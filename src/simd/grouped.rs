//! The grouped microkernel: groups in lanes, each convolved with itself.
//!
//! ```text
//! sums[n][v] += sum over positions  delta[position][v] * input[position'][n]        v and n vectors; a lane a group
//! ```
//!
//! It is the [outer kernel](super::outer) for groups of few channels, which would leave its lanes idle: lanes hold one channel
//! of each of several groups, and the numbers that kernel broadcasts are vectors as well. The walk is the same.
//!
//! ```text
//! for plane, for row:                     slices of both panels, bounds checked once a row
//!     for column:                         V + N loads, V*N multiply-adds, nothing else
//! ```

use super::tile::{Tile, expect_registers};
use super::walk::Walk;
use super::{Lane, outer};
use pulp::{Simd, WithSimd};

pub(crate) use super::outer::fits;

/// Cycles of one position: those of the [outer kernel](super::outer::cycles), and a little for each load of a whole vector, so
/// that of equal tiles the one with fewer is taken.
pub(crate) fn cycles(tile: Tile) -> f64 {
    outer::cycles(tile) + 0.1 * (tile.v + tile.n) as f64
}

/// One call of the kernel. The `V` vectors of sum `n` begin at element `n * pitch` of `sums`. The input panel reaches
/// `numbers_column` elements from the last column on, which are whole vectors.
pub(crate) struct GroupedTile<'a, T, const V: usize, const N: usize> {
    pub delta: &'a [T],
    pub input: &'a [T],
    /// Delta is the operand with vectors, the input the one with numbers.
    pub walk: Walk,
    pub sums: &'a mut [T],
    pub pitch: usize,
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for GroupedTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        // Two instances of the loops rather than a choice inside them, which would spill the sums at every row.
        let column = self.walk.numbers_column / T::lanes::<S>();
        let sums = if column == N {
            self.sum_up(simd, |input| input.as_chunks::<N>().0.iter())
        } else {
            self.sum_up(simd, |input| input.chunks_exact(column).map_while(|input| input.first_chunk::<N>()))
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

impl<'a, T: Lane, const V: usize, const N: usize> GroupedTile<'a, T, V, N> {
    /// The sums over the walk; `columns` gives the input's vectors of one column after the other, from a row's first one on.
    #[inline(always)]
    fn sum_up<S: Simd, I: Iterator<Item = &'a [T::Vector<S>; N]>>(
        &self,
        simd: S,
        columns: impl Fn(&'a [T::Vector<S>]) -> I,
    ) -> [[T::Vector<S>; V]; N]
    where
        T::Vector<S>: 'a,
    {
        let walk = self.walk;
        let width = V * T::lanes::<S>();
        let mut sums = [[T::splat(simd, T::default()); V]; N];
        for plane in 0..walk.planes {
            for row in 0..walk.rows {
                let delta = &self.delta[plane * walk.vectors_plane + row * walk.vectors_row..];
                let delta = T::as_vectors::<S>(&delta[..walk.columns * width]).0.as_chunks::<V>().0;
                let input = &self.input[plane * walk.numbers_plane + row * walk.numbers_row..];
                let input = T::as_vectors::<S>(input).0;
                for (delta, input) in delta.iter().zip(columns(input)) {
                    let delta = *delta;
                    for n in 0..N {
                        for v in 0..V {
                            sums[n][v] = T::mul_add(simd, delta[v], input[n], sums[n][v]);
                        }
                    }
                }
            }
        }
        sums
    }
}
