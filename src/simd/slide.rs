//! The sliding microkernel: rows slide past each other, positions of a row in lanes.
//!
//! ```text
//! sums[n][v] += delta[row - v] * input[row][n]       for each row; a vector of outputs, shifted n columns in the input
//! ```
//!
//! Of a kernel's taps, `V` rows by `N` columns are one tile. A row of delta meets `V` rows of the input one after the
//! other, so it is loaded once and handed down `V` registers; a vector of the input meets all of them.
//!
//! ```text
//! for plane:
//!     held = the V rows of delta before the first row of the input
//!     for row:                                           1 + N loads, V*N multiply-adds
//!         held = next row of delta, then all of held but the last
//!         for n:  sums[n] += held * input[row][n]
//! ```
//!
//! 1. Operands are read where they lie: nothing is packed. Masks, one for each shift, keep out of the lanes what is padding
//!    or belongs to the next row. Rows of delta that there are not, above the first and below the last, are zeros: the sum
//!    is the definition's as long as the rows of the input that meet them are finite.
//! 2. Shifts are single steps, so that the loads of a row lie in one slice of a length the compiler knows: one check a row.
//!    Rows below the last of delta have a loop of their own. Rows are counted, for a pitch may be zero and end nothing.
//!
//! On AVX-512 a mask is part of the load. The loop for 3 x 3 is 4 loads and 9 multiply-adds with all sums in registers,
//! beside the copies that hand rows down, which cost no execution unit.

use super::tile::{Tile, expect_registers};
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};
use std::ops::Range;

/// Largest `n` for `v` = 1, 2, .. 6. More rows are better than more columns, for a row held is not loaded again: 5x5 instead
/// of 4x4 and 3x5 took a fifth to a third off kernels of 5 to 31 on an image of 512 (Zen 5, AVX-512).
pub(crate) const MAX_N: [usize; 6] = [16, 8, 8, 6, 5, 4];

/// Evaluates `$body` with the constants `V` and `N` set to the sizes of a tile of this kernel.
macro_rules! for_slide_tile {
    ($tile:expr, $body:expr) => {
        $crate::simd::tile::for_tile!(@arms $tile, $body,
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; 2: 1 2 3 4 5 6 7 8; 3: 1 2 3 4 5 6 7 8; 4: 1 2 3 4 5 6;
            5: 1 2 3 4 5; 6: 1 2 3 4;)
    };
}
pub(crate) use for_slide_tile;

/// Whether the kernel of a tile keeps its sums in registers.
///
/// With 32 registers masks have registers of their own: 5x5 and 6x4, which need 31 with the rows held and one of the input,
/// do. With 16, a mask for each shift and one for the outputs need some, too; two of them may lie in memory, where they are
/// operands: 3x3 and 1x7. Without 3x3, the depthwise layer of 32 channels at 56x56 took half as long
/// again; more masks in memory brought kernels of 5 to 15 on an image nothing (AVX2 on Zen 5, rustc 1.95).
pub(crate) fn fits(Tile { v, n }: Tile, registers: Registers) -> bool {
    let masks = if registers.count >= 32 { 0 } else { n };
    v * n + v + masks < registers.count
}

/// Cycles of one row, on a core that starts two multiply-adds a cycle.
///
/// Rows begin anywhere, so that most loads of 64 bytes cross a cache line: with planes in the L1 cache 3x3 measured 6.0
/// cycles, 3x5 9.3, 4x4 9.2, 2x8 14.2, some 1.55 a load (Zen 5, AVX-512). Planes are mostly in the L2 cache: 1.8.
///
/// Tiles of unequal sizes count as those of their mean sizes `v` and `n`.
pub(crate) fn cycles(v: f64, n: f64) -> f64 {
    (0.5 * v * n + 1.2).max(1.8 * (n + 1.0)).max(4.0)
}

/// Rows a kernel call walks, and the pitches, in elements, with which it walks both operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slide {
    pub planes: usize,
    /// Rows of delta, and of the input, in a plane.
    pub delta_rows: usize,
    pub input_rows: usize,
    /// The row of delta that the first row of the input meets with `v` = 0; with `v` it meets the one `v` before. Those
    /// there are not count as zeros.
    pub first: usize,
    pub delta_plane: usize,
    pub delta_row: usize,
    pub input_plane: usize,
    pub input_row: usize,
}

/// One call of the kernel; `sums` holds `N * V` vectors.
pub(crate) struct SlideTile<'a, T, const V: usize, const N: usize> {
    /// From the first lane of the first row on.
    pub delta: &'a [T],
    /// From the first lane of the first row, shifted the least, on.
    pub input: &'a [T],
    /// Lanes that are outputs, and for each shift those that meet the input.
    pub outputs: Range<usize>,
    pub meets: [Range<usize>; N],
    pub walk: Slide,
    pub sums: &'a mut [T],
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for SlideTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        let sums = self.sum_up(simd);
        // Constant bounds throughout: a loop of unknown length would index the sums, and so keep them in memory.
        let totals = &mut T::as_vectors_mut::<S>(self.sums).0[..N * V];
        for n in 0..N {
            for v in 0..V {
                totals[n * V + v] = T::add(simd, totals[n * V + v], sums[n][v]);
            }
        }
    }
}

impl<T: Lane, const V: usize, const N: usize> SlideTile<'_, T, V, N> {
    /// The sums over the walk.
    #[inline(always)]
    fn sum_up<S: Simd>(&self, simd: S) -> [[T::Vector<S>; V]; N] {
        let lanes = T::lanes::<S>();
        let walk = self.walk;
        let outputs = T::mask(simd, self.outputs.clone());
        let meets: [T::Mask<S>; N] = std::array::from_fn(|n| T::mask(simd, self.meets[n].clone()));
        let zero = T::splat(simd, T::default());
        let line_len = N - 1 + lanes;
        // Rows of the input that meet one more row of delta. Those below them meet rows held only, and none if one is held.
        let meeting = walk.input_rows.min(walk.delta_rows.saturating_sub(walk.first));
        let input_rows = if V > 1 { walk.input_rows } else { meeting };
        let mut sums = [[zero; V]; N];
        for plane in 0..walk.planes {
            let delta = &self.delta[plane * walk.delta_plane..];
            let input = &self.input[plane * walk.input_plane..];
            let mut held = [zero; V];
            for (v, held) in held.iter_mut().enumerate().take(walk.first) {
                let row = walk.first - 1 - v;
                if row < walk.delta_rows {
                    *held = T::keep(simd, outputs, first_vector::<T, S>(&delta[row * walk.delta_row..]));
                }
            }
            // Places are stepped, not computed from rows. They wrap behind the last row, whose pitch may be anything.
            let (mut delta_at, mut at) = (walk.first.wrapping_mul(walk.delta_row), 0_usize);
            for _ in 0..meeting {
                // Holds always; and tells the compiler that the loads lie inside.
                if !(holds(delta.len(), delta_at, lanes) && holds(input.len(), at, line_len)) {
                    break;
                }
                hand_down(&mut held, T::keep(simd, outputs, first_vector::<T, S>(&delta[delta_at..])));
                add(simd, &held, &input[at..], &meets, &mut sums);
                delta_at = delta_at.wrapping_add(walk.delta_row);
                at = at.wrapping_add(walk.input_row);
            }
            for _ in meeting..input_rows {
                if !holds(input.len(), at, line_len) {
                    break;
                }
                hand_down(&mut held, zero);
                add(simd, &held, &input[at..], &meets, &mut sums);
                at = at.wrapping_add(walk.input_row);
            }
        }
        sums
    }
}

/// Hands the vectors held down by one, and takes the next.
#[inline(always)]
pub(super) fn hand_down<X: Copy, const V: usize>(held: &mut [X; V], next: X) {
    for v in (1..V).rev() {
        held[v] = held[v - 1];
    }
    held[0] = next;
}

/// Adds the products of one row of the input.
#[inline(always)]
fn add<T: Lane, S: Simd, const V: usize, const N: usize>(
    simd: S,
    held: &[T::Vector<S>; V],
    line: &[T],
    meets: &[T::Mask<S>; N],
    sums: &mut [[T::Vector<S>; V]; N],
) {
    for n in 0..N {
        let numbers = T::keep(simd, meets[n], first_vector::<T, S>(&line[n..]));
        for v in 0..V {
            sums[n][v] = T::mul_add(simd, held[v], numbers, sums[n][v]);
        }
    }
}

#[inline(always)]
pub(super) fn first_vector<T: Lane, S: Simd>(line: &[T]) -> T::Vector<S> {
    T::as_vectors::<S>(&line[..T::lanes::<S>()]).0[0]
}

/// Whether `len` elements from `at` on lie in a slice of `all`.
#[inline(always)]
pub(super) fn holds(all: usize, at: usize, len: usize) -> bool {
    at <= all && all - at >= len
}
