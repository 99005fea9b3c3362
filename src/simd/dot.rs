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

/// Whether the kernel of a tile keeps its sums in registers.
///
/// With 32 registers 3x5 (216 of 240 GFLOP/s) and all below 16 sums do, 4x4 and 2x8 fall to half. With 16 registers 3x4
/// (114 of 120) does; 2x6 and 4x3, of as many sums, do not (Zen 5, f32, rustc 1.95).
pub(crate) fn fits(Tile { v, n }: Tile, registers: Registers) -> bool {
    if registers.count >= 32 { v * n < 16 } else { v * n + v < 16 && v + n < 8 }
}

/// Cycles of one step, on a core that starts two multiply-adds a cycle.
///
/// A stream is read at any offset, so a load mostly crosses a cache line and takes a cycle of its own: 1x9 measured 11.6
/// cycles, 2x7 9.7, 3x5 8.3. See [`outer::cycles`](super::outer::cycles) for the rest.
pub(crate) fn cycles(Tile { v, n }: Tile) -> f64 {
    (0.5 * (v * n) as f64).max(1.04 * (v + n) as f64).max(4.0)
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
        let steps = self.length / T::lanes::<S>();
        // Slices of one known length, so that the checks of all streams fold into the loop's own bound.
        let stream = |data, offset: usize| &T::as_vectors::<S>(&(data as &[T])[offset..][..self.length]).0[..steps];
        let delta = self.delta_offsets.map(|offset| stream(self.delta, offset));
        let input = self.input_offsets.map(|offset| stream(self.input, offset));
        let mut sums = [[T::splat(simd, T::default()); V]; N];
        for step in 0..steps {
            let delta = delta.map(|stream| stream[step]);
            for (sum, stream) in sums.iter_mut().zip(&input) {
                let input = stream[step];
                for v in 0..V {
                    sum[v] = T::mul_add(simd, delta[v], input, sum[v]);
                }
            }
        }
        let totals = T::as_vectors_mut::<S>(self.sums).0.as_chunks_mut::<V>().0;
        for (total, sum) in totals.iter_mut().zip(&sums) {
            for v in 0..V {
                total[v] = T::add(simd, total[v], sum[v]);
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
