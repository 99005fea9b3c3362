//! Sums of delta where a kernel has it at hand, for the bias gradient along with the weight gradient.
//!
//! ```text
//! PositionTotals     totals[channel] += sum over positions  vectors[position][channel]            channels in lanes
//! LineTotals         totals[lane] += sum over lines, vectors  line[vector][lane]                  positions in lanes
//! ```
//!
//! 1. Four sums of each vector take turns, for an addition waits for the one before it.
//! 2. The numbers behind the last whole vector of a line are one as well, filled with zeros.

use super::Lane;
use super::walk::Walk;
use pulp::{Simd, WithSimd};

/// Sums that take turns.
const TURNS: usize = 4;

/// One call for channels in lanes: as many vectors a position as there are totals.
pub(crate) struct PositionTotals<'a, T> {
    pub vectors: &'a [T],
    pub totals: &'a mut [T],
}

impl<T: Lane> WithSimd for PositionTotals<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = T::as_vectors::<S>(self.vectors).0;
        let totals = T::as_vectors_mut::<S>(self.totals).0;
        let count = totals.len();
        for (v, total) in totals.iter_mut().enumerate() {
            let mut sums = [T::splat(simd, T::default()); TURNS];
            for turn in vectors.chunks(TURNS * count) {
                for (sum, position) in sums.iter_mut().zip(turn.chunks(count)) {
                    *sum = T::add(simd, *sum, position[v]);
                }
            }
            let sum = T::add(simd, T::add(simd, sums[0], sums[1]), T::add(simd, sums[2], sums[3]));
            *total = T::add(simd, *total, sum);
        }
    }
}

/// One call for positions in lanes: the lines that a [`PlanarTile`](super::planar::PlanarTile) walks of one row, whose columns
/// lie side by side.
pub(crate) struct LineTotals<'a, T> {
    pub numbers: &'a [T],
    pub walk: Walk,
    pub totals: &'a mut [T],
}

impl<T: Lane> WithSimd for LineTotals<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let LineTotals { numbers, walk, totals } = self;
        let mut sums = [T::splat(simd, T::default()); TURNS];
        for plane in 0..walk.planes {
            for row in 0..walk.rows {
                let line = &numbers[plane * walk.numbers_plane + row * walk.numbers_row..][..walk.columns];
                let (vectors, rest) = T::as_vectors::<S>(line);
                let (turns, vectors) = vectors.as_chunks::<TURNS>();
                for turn in turns {
                    for t in 0..TURNS {
                        sums[t] = T::add(simd, sums[t], turn[t]);
                    }
                }
                for &vector in vectors {
                    sums[0] = T::add(simd, sums[0], vector);
                }
                sums[1] = T::add(simd, sums[1], T::partial(simd, rest));
            }
        }
        let sum = T::add(simd, T::add(simd, sums[0], sums[1]), T::add(simd, sums[2], sums[3]));
        let total = &mut T::as_vectors_mut::<S>(totals).0[0];
        *total = T::add(simd, *total, sum);
    }
}
