//! The depthwise microkernel: channels in lanes, each convolved with itself.
//!
//! ```text
//! sums[n][v] += delta[row][x] * input[row * stride + n * dilation][x * STEP + v]      for each x; a lane a channel
//! ```
//!
//! Channels lie side by side in both operands. Of a kernel's taps, `V` columns by `N` rows are one tile. It is the
//! [sliding kernel](super::slide) turned by a quarter: an output meets columns of the input one after the other, so its
//! vector is loaded once and handed down registers. `R` rows of outputs and `B` vectors of channels go along together.
//!
//! ```text
//! for plane, for R rows:
//!     held = no outputs
//!     for step, for r:
//!         held[r] = next output of row r, then all of held[r] but the last
//!         for column c of the STEP columns of the input at this step, for row i of those that are met:
//!             for n, r with r * STEP + n = i, for v with v % STEP = c:
//!                 sums[n][v] += held[r][v / STEP] * input[i][c]
//! ```
//!
//! 1. Lanes never meet: there are no masks, and nothing to add up at the end.
//! 2. Outputs there are not, beyond both ends of a row, are zeros: the sum is the definition's as long as the columns
//!    of the input that meet them are finite. That all rows of taps lie in the input is the caller's part.
//! 3. Out of the L1 cache lines bound it, not multiply-adds. Rows of outputs that go along together share rows of the
//!    input: of 3x3, two of them load 3 vectors an output instead of 4. Vectors of channels that go along together
//!    fetch lines in pairs, into twice as many sets of the cache: positions a power of two apart share few of them, and
//!    as many lines can be on their way as these have places. 512 channels at 14x14 took 0.17 ms one by one, 0.15 in
//!    fours of rows, 0.12 by two rows and two vectors; 256 at 28x28 with stride 2, 0.18, 0.18, 0.12 (Zen 5, AVX-512,
//!    batch 8, all in the L3 cache).

use super::tile::Tile;
use super::{Lane, Registers};
use pulp::{Simd, WithSimd};
use std::ops::Range;

pub(crate) use super::slide::{MAX_N, cycles, for_slide_tile};

/// The constants of a kernel. There are all [slide tiles](for_slide_tile) with a step, rows and vectors of 1; of three
/// columns and up to three rows of taps also those with a step of 2, and with a step of 1 and two rows, of one or two
/// vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// `V` columns by `N` rows of taps.
    pub tile: Tile,
    /// Columns of the input from an output to the next.
    pub step: usize,
    /// Rows of outputs that go along together, and vectors of channels.
    pub rows: usize,
    pub vectors: usize,
}

impl Sizes {
    /// Columns of taps, and rows at most, of which there are kernels with another step than 1, several rows or vectors.
    pub const JOINED: usize = 3;

    /// Whether the kernel keeps its sums in registers, beside the outputs held and a vector of the input.
    pub fn fits(&self, registers: Registers) -> bool {
        let Sizes { tile: Tile { v, n }, step, rows, vectors } = *self;
        (v * n + v.div_ceil(step) * rows) * vectors < registers.count
    }
}

/// Evaluates `$body` with the constants `V`, `N`, `STEP`, `R` and `B` set to the sizes of a kernel.
///
/// # Panics
/// When there is no kernel of these sizes.
macro_rules! for_depthwise_tile {
    ($sizes:expr, $body:expr) => {
        $crate::simd::depthwise::for_depthwise_tile!(@arms $sizes, $body,
            (1, 1, 2) (1, 2, 1) (1, 2, 2) (2, 1, 1) (2, 1, 2);)
    };
    // Fewer rows of taps than the tile has are met at the edges of a plane, by one row of outputs at a time.
    (@arms $sizes:expr, $body:expr, $(($step:literal, $rows:literal, $vectors:literal))+;) => {
        match ($sizes.step, $sizes.rows, $sizes.vectors) {
            (1, 1, 1) => {
                const STEP: usize = 1;
                const R: usize = 1;
                const B: usize = 1;
                $crate::simd::depthwise::for_slide_tile!($sizes.tile, $body)
            }
            $(($step, $rows, $vectors) => {
                const STEP: usize = $step;
                const R: usize = $rows;
                const B: usize = $vectors;
                $crate::simd::tile::for_tile!(@arms $sizes.tile, $body, 3: 1 2 3;)
            })+
            (step, rows, vectors) => unreachable!("there is no kernel of step {step}, {rows} rows, {vectors} vectors"),
        }
    };
}
pub(crate) use for_depthwise_tile;

/// Elements from a plane, a row, a column to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pitches {
    pub plane: usize,
    pub row: usize,
    pub column: usize,
}

/// Positions a kernel call walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    pub planes: usize,
    /// Rows of outputs, a multiple of those that go along together.
    pub rows: usize,
    /// Outputs of a row, and columns of the input.
    pub outputs: usize,
    pub columns: usize,
    /// Columns missing before the first: output `x` and tap `v` meet in column `x * STEP + v - lead`. Outputs and
    /// columns there are not count as zeros.
    pub lead: usize,
    /// From an output to the next, and from a row or column of the input that is met to the next.
    pub delta: Pitches,
    pub input: Pitches,
    /// Elements of the input from what a row of outputs meets to what the next does.
    pub input_step: usize,
    /// Elements from a vector of channels to the next that goes along, in operands and sums.
    pub apart: usize,
}

/// One call of the kernel.
pub(crate) struct DepthwiseTile<
    'a,
    T,
    const V: usize,
    const N: usize,
    const STEP: usize,
    const R: usize,
    const B: usize,
> {
    /// From the first output on.
    pub delta: &'a [T],
    /// From the first column that the first row meets with the tile's first row of taps on.
    pub input: &'a [T],
    pub walk: Walk,
    /// Lanes that are added to the sums, for each vector.
    pub lanes: &'a [Range<usize>],
    /// Where `N` rows of sums lie, and in each `V` columns: so many elements from one to the next.
    pub sums: &'a mut [T],
    pub sums_pitches: [usize; 2],
}

impl<T: Lane, const V: usize, const N: usize, const STEP: usize, const R: usize, const B: usize> WithSimd
    for DepthwiseTile<'_, T, V, N, STEP, R, B>
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let sizes = Sizes { tile: Tile { v: V, n: N }, step: STEP, rows: R, vectors: B };
        // Known to the compiler: where sums do not fit, no kernel is made.
        assert!(sizes.fits(Registers { lanes: T::lanes::<S>(), count: S::REGISTER_COUNT }), "{sizes:?} does not fit");
        let sums = self.sum_up(simd);
        let [row, column] = self.sums_pitches;
        let mut counted = [T::mask(simd, 0..0); B];
        for (b, counted) in counted.iter_mut().enumerate() {
            *counted = T::mask(simd, self.lanes[b].clone());
        }
        // Constant bounds: a loop of unknown length would index the sums, and so keep them in memory.
        for (n, sums) in sums.iter().enumerate() {
            for (v, sums) in sums.iter().enumerate() {
                for (b, &sum) in sums.iter().enumerate() {
                    let at = n * row + v * column + b * self.walk.apart;
                    let total = T::as_vectors_mut::<S>(&mut self.sums[at..][..T::lanes::<S>()]).0;
                    total[0] = T::add(simd, total[0], T::keep(simd, counted[b], sum));
                }
            }
        }
    }
}

/// Most rows of the input that are met at a time, of all kernels there are.
const MAX_LINES: usize = MAX_N[0];

impl<T: Lane, const V: usize, const N: usize, const STEP: usize, const R: usize, const B: usize>
    DepthwiseTile<'_, T, V, N, STEP, R, B>
{
    /// The sums over the walk.
    #[inline(always)]
    fn sum_up<S: Simd>(&self, simd: S) -> [[[T::Vector<S>; B]; V]; N] {
        let walk = self.walk;
        let zero = [T::splat(simd, T::default()); B];
        let span = (B - 1) * walk.apart + T::lanes::<S>();
        let delta_len = (walk.outputs - 1) * walk.delta.column + span;
        let line_len = (walk.columns - 1) * walk.input.column + span;
        // Steps that meet one more output and all their columns, and where steps end.
        let whole = walk.lead.div_ceil(STEP)..walk.outputs.min((walk.columns + walk.lead) / STEP);
        let end = (walk.outputs + (V - 1) / STEP).min((walk.columns + walk.lead).div_ceil(STEP));
        let mut sums = [[zero; V]; N];
        for plane in 0..walk.planes {
            let delta = &self.delta[plane * walk.delta.plane..];
            let input = &self.input[plane * walk.input.plane..];
            for row in (0..walk.rows).step_by(R) {
                // Of one length, so that one comparison serves all rows.
                let mut outputs: [&[T]; R] = [&[]; R];
                for r in 0..R {
                    outputs[r] = &delta[(row + r) * walk.delta.row..][..delta_len];
                }
                let mut lines: [&[T]; MAX_LINES] = [&[]; MAX_LINES];
                for i in 0..(R - 1) * STEP + N {
                    lines[i] = &input[row * walk.input_step + i * walk.input.row..][..line_len];
                }
                let mut rows = Rows::<T, S, V, R, B> { outputs, lines, held: [[zero; V]; R], apart: walk.apart };
                for step in 0..whole.start.min(end) {
                    rows.edge::<N, STEP>(simd, &walk, [delta_len, line_len], step, &mut sums);
                }
                let mut delta_at = whole.start.wrapping_mul(walk.delta.column);
                let mut at = (whole.start * STEP).wrapping_sub(walk.lead).wrapping_mul(walk.input.column);
                for _ in whole.clone() {
                    // Said vector by vector, so that no load needs a check of its own.
                    if !rows.hold_all(delta_len, delta_at) {
                        break;
                    }
                    rows.hold(delta_at);
                    delta_at = delta_at.wrapping_add(walk.delta.column);
                    for c in 0..STEP {
                        if !rows.hold_all(line_len, at) {
                            break;
                        }
                        rows.add::<N, STEP>(simd, at, c, &mut sums);
                        at = at.wrapping_add(walk.input.column);
                    }
                }
                for step in whole.end.max(whole.start).min(end)..end {
                    rows.edge::<N, STEP>(simd, &walk, [delta_len, line_len], step, &mut sums);
                }
            }
        }
        sums
    }
}

/// Rows of outputs that go along together.
struct Rows<'a, T: Lane, S: Simd, const V: usize, const R: usize, const B: usize> {
    outputs: [&'a [T]; R],
    /// The rows of the input they meet.
    lines: [&'a [T]; MAX_LINES],
    /// The last outputs, the latest first.
    held: [[[T::Vector<S>; B]; V]; R],
    apart: usize,
}

impl<T: Lane, S: Simd, const V: usize, const R: usize, const B: usize> Rows<'_, T, S, V, R, B> {
    /// Whether slices of `len` hold the vectors from an element on.
    #[inline(always)]
    fn hold_all(&self, len: usize, at: usize) -> bool {
        let lanes = T::lanes::<S>();
        let mut all = true;
        for b in 0..B {
            let at = at.wrapping_add(b * self.apart);
            all &= at <= len && len - at >= lanes;
        }
        all
    }

    /// Loads the next outputs.
    #[inline(always)]
    fn hold(&mut self, at: usize) {
        for r in 0..R {
            let next = vectors::<T, S, B>(self.outputs[r], at, self.apart);
            hand_down(&mut self.held[r], next);
        }
    }

    /// Adds the products of one of the columns of a step.
    #[inline(always)]
    fn add<const N: usize, const STEP: usize>(
        &self,
        simd: S,
        at: usize,
        column: usize,
        sums: &mut [[[T::Vector<S>; B]; V]; N],
    ) {
        for i in 0..(R - 1) * STEP + N {
            let input = vectors::<T, S, B>(self.lines[i], at, self.apart);
            for (n, sums) in sums.iter_mut().enumerate() {
                for r in 0..R {
                    for (v, sums) in sums.iter_mut().enumerate() {
                        if r * STEP + n == i && v % STEP == column {
                            for b in 0..B {
                                sums[b] = T::mul_add(simd, self.held[r][v / STEP][b], input[b], sums[b]);
                            }
                        }
                    }
                }
            }
        }
    }

    /// A step at an end of the rows, some of whose columns or next outputs there are not.
    #[inline(always)]
    fn edge<const N: usize, const STEP: usize>(
        &mut self,
        simd: S,
        walk: &Walk,
        [delta_len, line_len]: [usize; 2],
        step: usize,
        sums: &mut [[[T::Vector<S>; B]; V]; N],
    ) {
        let at = step.wrapping_mul(walk.delta.column);
        // As in the steps between, what is said beside holds always.
        if step < walk.outputs && self.hold_all(delta_len, at) {
            self.hold(at);
        } else {
            for r in 0..R {
                hand_down(&mut self.held[r], [T::splat(simd, T::default()); B]);
            }
        }
        for c in 0..STEP {
            let column = (step * STEP + c).wrapping_sub(walk.lead);
            let at = column.wrapping_mul(walk.input.column);
            if column < walk.columns && self.hold_all(line_len, at) {
                self.add::<N, STEP>(simd, at, c, sums);
            }
        }
    }
}

/// Vectors so many elements apart, from an element on.
#[inline(always)]
fn vectors<T: Lane, S: Simd, const B: usize>(data: &[T], at: usize, apart: usize) -> [T::Vector<S>; B] {
    let mut vectors = [T::as_vectors::<S>(&data[at..][..T::lanes::<S>()]).0[0]; B];
    for b in 1..B {
        vectors[b] = T::as_vectors::<S>(&data[at + b * apart..][..T::lanes::<S>()]).0[0];
    }
    vectors
}

#[inline(always)]
fn hand_down<X: Copy, const V: usize>(held: &mut [X; V], next: X) {
    for v in (1..V).rev() {
        held[v] = held[v - 1];
    }
    held[0] = next;
}
