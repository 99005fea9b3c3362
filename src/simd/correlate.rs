//! The microkernel of the forward pass: vectors of one operand times numbers of the other, each sum begun and finished in a
//! register.
//!
//! ```text
//! sums[n][v] = start + sum over steps  vectors[step][v] * numbers[n][step]       v a vector, n a number
//! ```
//!
//! It has output channels in lanes, where vectors are weights and numbers an input with its channels side by side; or output
//! positions, where vectors are an input and numbers weights. Steps are walked in runs of constant distances, a run for each
//! block of channels and tap:
//!
//! ```text
//! for block, for depth, for row, for column of taps:         slices of both operands, bounds checked once a run
//!     for step of the run:                                   V loads, N broadcasts, V*N multiply-adds
//! ```
//!
//! 1. The distance between the numbers of neighbouring sums is known to the compiler where it matters: constant, they are
//!    addressed from one pointer, so that all registers may hold sums. Else each takes a pointer, of which there are 16.
//! 2. A long sum may be cut: the next call [starts](Start) from the sums of the one before.

use super::outer::{self, multiply_add};
use super::tile::{Tile, expect_registers};
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};

/// Channels of an input panel that lie side by side.
pub(crate) const CHANNELS: usize = 16;

/// Numbers in a tile whose distance is not constant: each keeps a pointer in a register.
pub(crate) const MAX_POINTERS: usize = 7;

/// Largest `n` there is a kernel for.
pub(crate) const MAX_N: usize = 14;

/// Whether the kernel of a tile keeps its sums in registers.
pub(crate) fn fits(tile: Tile, registers: Registers) -> bool {
    outer::fits(tile, registers)
}

/// The largest `n` with so many vectors that fits the registers.
pub(crate) fn max_n(v: usize, registers: Registers) -> usize {
    (1..=MAX_N).rev().find(|&n| fits(Tile { v, n }, registers)).unwrap_or(1)
}

/// Evaluates `$body` with the constants `V` and `N` set to the sizes of a tile of one or two vectors.
macro_rules! for_correlate_tile {
    ($tile:expr, $body:expr) => {
        $crate::simd::tile::for_tile!(@arms $tile, $body,
            1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14; 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14;)
    };
}
pub(crate) use for_correlate_tile;

/// Runs along an axis, and elements from one to the next in both operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Level {
    pub count: usize,
    pub vectors: usize,
    pub numbers: usize,
}

impl Level {
    /// No axis at all.
    pub const ONE: Level = Level { count: 1, vectors: 0, numbers: 0 };
}

/// How the numbers of a run lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// The `N` numbers of a step side by side, steps one after the other.
    BySteps,
    /// The steps of a run side by side, and so many elements from one number of a step to the next.
    Apart(usize),
}

/// What sums start from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Start<'a, T> {
    /// The same `V` vectors for each `n`.
    Vectors(&'a [T]),
    /// A number for each `n`.
    Numbers(&'a [T]),
    /// What `sums` holds.
    Sums,
}

/// One call of the kernel. `sums` has `V` vectors for each `n`.
pub(crate) struct CorrelateTile<'a, T, const V: usize, const N: usize> {
    pub vectors: &'a [T],
    pub numbers: &'a [T],
    pub levels: [Level; 4],
    /// Steps of a run, of `V` vectors each.
    pub steps: usize,
    pub lie: Numbers,
    pub start: Start<'a, T>,
    pub sums: &'a mut [T],
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for CorrelateTile<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        // Instances of the loops rather than a choice inside them, which would spill the sums at every run.
        match self.lie {
            Numbers::BySteps => self.sum_up(simd, |simd, vectors, numbers, steps, sums| {
                let numbers = numbers[..steps * N].as_chunks::<N>().0;
                for (vectors, numbers) in vectors.iter().zip(numbers) {
                    multiply_add(simd, vectors, numbers, sums);
                }
            }),
            Numbers::Apart(CHANNELS) => self.sum_up(simd, |simd, vectors, numbers, steps, sums| {
                add_run::<T, S, V, N>(simd, vectors, numbers, CHANNELS, steps, sums);
            }),
            Numbers::Apart(pitch) => {
                assert!(N <= MAX_POINTERS, "no plan takes a tile of more numbers than pointers");
                self.sum_up(simd, |simd, vectors, numbers, steps, sums| {
                    add_run::<T, S, V, N>(simd, vectors, numbers, pitch, steps, sums);
                })
            }
        }
    }
}

impl<T: Lane, const V: usize, const N: usize> CorrelateTile<'_, T, V, N> {
    #[inline(always)]
    fn sum_up<S: Simd>(
        &mut self,
        simd: S,
        add: impl Fn(S, &[[T::Vector<S>; V]], &[T], usize, &mut [[T::Vector<S>; V]; N]),
    ) {
        let width = V * T::lanes::<S>();
        let [blocks, depths, rows, columns] = self.levels;
        let held = &mut T::as_vectors_mut::<S>(&mut self.sums[..N * width]).0.as_chunks_mut::<V>().0[..N];
        let mut sums = [[T::splat(simd, T::default()); V]; N];
        match self.start {
            Start::Vectors(start) => {
                let start = T::as_vectors::<S>(&start[..width]).0;
                for sums in &mut sums {
                    for (sum, &start) in sums.iter_mut().zip(start) {
                        *sum = start;
                    }
                }
            }
            Start::Numbers(start) => {
                for (sums, &start) in sums.iter_mut().zip(&start[..N]) {
                    *sums = [T::splat(simd, start); V];
                }
            }
            Start::Sums => {
                for (sums, &held) in sums.iter_mut().zip(&*held) {
                    *sums = held;
                }
            }
        }
        for block in 0..blocks.count {
            for depth in 0..depths.count {
                for row in 0..rows.count {
                    for column in 0..columns.count {
                        let at = |of: fn(&Level) -> usize| {
                            block * of(&blocks) + depth * of(&depths) + row * of(&rows) + column * of(&columns)
                        };
                        let vectors = &self.vectors[at(|level| level.vectors)..][..self.steps * width];
                        let vectors = T::as_vectors::<S>(vectors).0.as_chunks::<V>().0;
                        add(simd, vectors, &self.numbers[at(|level| level.numbers)..], self.steps, &mut sums);
                    }
                }
            }
        }
        for (held, sums) in held.iter_mut().zip(sums) {
            *held = sums;
        }
    }
}

/// Adds the products of one run, whose steps lie side by side in the numbers.
#[inline(always)]
fn add_run<T: Lane, S: Simd, const V: usize, const N: usize>(
    simd: S,
    vectors: &[[T::Vector<S>; V]],
    numbers: &[T],
    pitch: usize,
    steps: usize,
    sums: &mut [[T::Vector<S>; V]; N],
) {
    let numbers = &numbers[..(N - 1) * pitch + steps];
    let mut lines = [numbers; N];
    for n in 0..N {
        lines[n] = &numbers[n * pitch..][..steps];
    }
    for (step, vectors) in vectors.iter().enumerate() {
        // Holds always; and tells the compiler that all lines reach so far.
        if step >= steps {
            break;
        }
        let mut numbers = [T::default(); N];
        for n in 0..N {
            numbers[n] = lines[n][step];
        }
        multiply_add(simd, vectors, &numbers, sums);
    }
}
