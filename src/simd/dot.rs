//! The dot-product microkernel: positions in lanes.
//!
//! ```text
//! sums[n][v] += delta[delta_offsets[v] + x] * input[input_offsets[n] + x]      lane by lane, for x in 0..length
//! ```
//!
//! Each of the `V` streams of delta meets each of the `N` streams of the input at the same position, so one load serves
//! `N` (or `V`) multiply-adds. Streams are flat: planes whose rows share one pitch, with zeros in delta where a row is
//! shorter than the pitch. What a stream stands for (an output channel, a shift by a row, a tap) is its caller's matter.
//! Lanes hold partial sums, which the caller adds up at the end.

use super::tile::{Tile, expect_registers};
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};

/// Whether the kernel of a tile keeps its sums in registers, beside the vectors of delta and one of the input.
///
/// With 32 registers all tiles do. With 16, 1x14, 2x6 and 3x4 do, which need all but one or none (rustc 1.95). Pointers of
/// streams beyond a dozen lie in memory and are read again at every step, which is little beside the loads themselves.
pub(crate) fn fits(Tile { v, n }: Tile, registers: Registers) -> bool {
    v * n + v < registers.count
}

/// Cycles of one step, on a core that starts two multiply-adds a cycle.
///
/// A stream is read at any offset, so a load mostly crosses a cache line and takes a cycle of its own: 1x9 measured 11.6
/// cycles, 2x7 9.7, 3x5 8.3, 4x4 8.9. See [`outer::cycles`](super::outer::cycles) for the rest.
pub(crate) fn cycles(Tile { v, n }: Tile) -> f64 {
    (0.5 * (v * n) as f64).max(1.08 * (v + n) as f64).max(4.0)
}

/// One call of the kernel; `sums` holds `N * V` vectors, `length` is a multiple of the lanes.
pub(crate) struct DotTile<'a, T, const V: usize, const N: usize> {
    pub delta: &'a [T],
    pub delta_offsets: [usize; V],
    pub input: &'a [T],
    pub input_offsets: [usize; N],
    pub length: usize,
    pub sums: &'a mut [T],
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for DotTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        let DotTile { delta, delta_offsets, input, input_offsets, length, sums: totals } = self;
        let steps = length / T::lanes::<S>();
        // Slices of one length the compiler sees, so that the loop's own bound is the check of them all. Closures over
        // arrays would hide it: `map` and `from_fn` are not always inlined.
        let mut delta_streams: [&[T::Vector<S>]; V] = [&[]; V];
        for v in 0..V {
            delta_streams[v] = &T::as_vectors::<S>(&delta[delta_offsets[v]..]).0[..steps];
        }
        let mut input_streams: [&[T::Vector<S>]; N] = [&[]; N];
        for n in 0..N {
            input_streams[n] = &T::as_vectors::<S>(&input[input_offsets[n]..]).0[..steps];
        }
        let zero = T::splat(simd, T::default());
        let mut sums = [[zero; V]; N];
        for step in 0..steps {
            let mut delta = [zero; V];
            for v in 0..V {
                delta[v] = delta_streams[v][step];
            }
            for n in 0..N {
                let input = input_streams[n][step];
                for v in 0..V {
                    sums[n][v] = T::mul_add(simd, delta[v], input, sums[n][v]);
                }
            }
        }
        // Constant bounds throughout: a loop of unknown length would index the sums, and so keep them in memory.
        let totals = &mut T::as_vectors_mut::<S>(totals).0[..N * V];
        for n in 0..N {
            for v in 0..V {
                totals[n * V + v] = T::add(simd, totals[n * V + v], sums[n][v]);
            }
        }
    }
}

/// Adds up the lanes of each vector of `lane_sums` and leaves the totals, one after the other, at its beginning.
pub(crate) struct LaneTotals<'a, T> {
    pub lane_sums: &'a mut [T],
}

impl<T: Lane> WithSimd for LaneTotals<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = T::lanes::<S>();
        for i in 0..self.lane_sums.len() / lanes {
            // The i-th total lies at or before the i-th vector, which is not needed afterwards.
            let vector = T::as_vectors::<S>(&self.lane_sums[i * lanes..][..lanes]).0[0];
            self.lane_sums[i] = T::reduce_sum(simd, vector);
        }
    }
}
