//! The register tiles a microkernel exists for, and how well each keeps the multipliers busy.
//!
//! A tile multiplies `V` vectors with `N` others and keeps all `V * N` sums in registers. Its sizes are compile-time
//! constants, so that the sums become registers; [`for_tile`](crate::simd::for_tile) turns run-time sizes into them.

use super::{Lane, Registers};
use pulp::Simd;

/// Largest `n` for `v` = 1, 2, 3, 4: sixteen sums or just below.
///
/// With 20 sums or more the compiler keeps them in memory and stores each at every step: 2x12, 3x8 and 4x6 run at a
/// quarter of the rate of 2x8, which reaches the peak (Zen 5, AVX-512, rustc 1.95).
pub(crate) const MAX_N: [usize; 4] = [16, 8, 5, 4];

/// Sums that keep the multipliers busy: each takes its next term after the four cycles of a multiply-add, of which a core
/// starts two a cycle. A tile of fewer takes no less time.
const MIN_SUMS: usize = 8;

/// Sizes of a register tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Vectors of one operand, 1 to 4.
    pub v: usize,
    /// Vectors, or broadcast numbers, of the other operand.
    pub n: usize,
}

impl Tile {
    /// All tiles there are kernels for.
    pub fn all() -> impl Iterator<Item = Tile> {
        (1..=4).flat_map(|v| (1..=MAX_N[v - 1]).map(move |n| Tile { v, n }))
    }

    /// The smallest tiles, of equal size, that the rows of this one can be dealt to and that do not take longer for it.
    pub fn smallest_share(self) -> Tile {
        let rows = (1..=self.n).find(|rows| self.n.is_multiple_of(*rows) && self.v * rows >= MIN_SUMS);
        Tile { n: rows.unwrap_or(self.n), ..self }
    }
}

/// Holds that a tile fits the registers, which is known to the compiler: where it does not, no kernel is made of it.
///
/// # Panics
/// When it does not fit, and so no plan takes it.
#[inline(always)]
pub(crate) fn expect_registers<T: Lane, S: Simd>(tile: Tile, fits: fn(Tile, Registers) -> bool) {
    let registers = Registers { lanes: T::lanes::<S>(), count: S::REGISTER_COUNT };
    assert!(fits(tile, registers), "no plan takes a tile of more sums than registers");
}

/// Evaluates `$body` with the constants `V` and `N` set to the sizes of a [`Tile`].
///
/// # Panics
/// When there is no kernel of these sizes, that is, it is not one of [`Tile::all`].
macro_rules! for_tile {
    ($tile:expr, $body:expr) => {
        $crate::simd::tile::for_tile!(@arms $tile, $body,
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; 2: 1 2 3 4 5 6 7 8; 3: 1 2 3 4 5; 4: 1 2 3 4;)
    };
    (@arms $tile:expr, $body:expr, $($v:literal: $($n:literal)+;)+) => {
        match ($tile.v, $tile.n) {
            $($(($v, $n) => {
                const V: usize = $v;
                const N: usize = $n;
                $body
            })+)+
            (v, n) => unreachable!("there is no kernel for a tile of {v} x {n}"),
        }
    };
}
pub(crate) use for_tile;
