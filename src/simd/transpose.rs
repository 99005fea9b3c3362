//! Rows to columns: how panels are packed from planes, and how sums get back into weights.
//!
//! ```text
//! for each row r and column x:    put(out[x * pitch + r], rows(r)[x])
//! ```
//!
//! Deviations from the plain loop, whose single stores alone cost a cycle an element:
//! 1. Four rows at a time, a vector of columns of each: pulp's interleaving turns four vectors into runs of four
//!    numbers, one run a column, each written by one store. 0.3 cycles an element where the plain loop takes 1.1
//!    (Zen 5, AVX-512, f32).
//! 2. The columns come out in an order that is pulp's and the instruction set's; [`Lane::run_of_lane`] tells it.
//! 3. Rows and columns left over, and vectors of fewer than four lanes, take the plain loop.

use super::Lane;
use pulp::{Simd, WithSimd};
use std::slice;

/// A transposition: `rows(r)`, for `r < count`, have equal lengths, and `out` a run of `pitch` elements for each
/// column, of which the last may be shorter but holds `count`. `put` stores as many numbers as there is room for.
///
/// It is given slices, for only a copy of a slice is sure to become a move of a vector: a run stored number by number, though
/// unrolled, stayed that many moves, and took four times as long (rustc 1.95).
pub(crate) struct Transpose<'o, O, Rows, Put> {
    pub rows: Rows,
    pub count: usize,
    pub out: &'o mut [O],
    pub pitch: usize,
    /// Columns done for all rows before the next ones are begun: as many as stay in the L1 cache.
    pub block: usize,
    pub put: Put,
}

/// Rows interleaved at a time.
pub(super) const RUN: usize = 4;

impl<'i, L, O, Rows, Put> WithSimd for Transpose<'_, O, Rows, Put>
where
    L: Lane,
    Rows: Fn(usize) -> &'i [L],
    Put: Fn(&mut [O], &[L]),
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Transpose { rows, count, out, pitch, block, put } = self;
        let len = if count > 0 { rows(0).len() } else { 0 };
        for (start, out) in (0..len).step_by(block).zip(out.chunks_mut(block * pitch)) {
            let end = len.min(start + block);
            transpose_block(simd, |r| &rows(r)[start..end], count, out, pitch, &put);
        }
    }
}

/// Transposes some columns.
#[inline(always)]
pub(super) fn transpose_block<'i, L: Lane, O, S: Simd>(
    simd: S,
    rows: impl Fn(usize) -> &'i [L],
    count: usize,
    out: &mut [O],
    pitch: usize,
    put: &impl Fn(&mut [O], &[L]),
) {
    let lanes = L::lanes::<S>();
    let mut first = 0;
    while first + SQUARE <= count {
        let [mut a, mut b, mut c, mut d] = [[rows(first); RUN]; RUN];
        for r in 0..RUN {
            a[r] = rows(first + r);
            b[r] = rows(first + RUN + r);
            c[r] = rows(first + 2 * RUN + r);
            d[r] = rows(first + 3 * RUN + r);
        }
        if !transpose_square(simd, [a, b, c, d], &mut out[first..], pitch, put) {
            break;
        }
        first += SQUARE;
    }
    while lanes >= RUN && first + RUN <= count {
        // Arrays are written out: `map` and `from_fn` are not always inlined, and lose the instruction set then.
        let rows = [rows(first), rows(first + 1), rows(first + 2), rows(first + 3)];
        let [a, b, c, d] = [
            L::as_vectors::<S>(rows[0]),
            L::as_vectors::<S>(rows[1]),
            L::as_vectors::<S>(rows[2]),
            L::as_vectors::<S>(rows[3]),
        ];
        let whole = a.0.len() * lanes * pitch;
        let vectors = a.0.iter().zip(b.0).zip(c.0.iter().zip(d.0));
        for (((&a, &b), (&c, &d)), out) in vectors.zip(out.chunks_mut(lanes * pitch)) {
            let vectors = L::interleave(simd, [a, b, c, d]);
            let runs = L::as_runs(&vectors);
            // A constant count, so that the loop is unrolled and the runs are stored from their registers.
            for column in 0..lanes {
                let Some(run) = out[column * pitch + first..].first_chunk_mut::<RUN>() else { continue };
                put(run, &runs[L::run_of_lane(column, lanes)]);
            }
        }
        let rest = out.get_mut(whole..).unwrap_or_default();
        let numbers = a.1.iter().zip(b.1).zip(c.1.iter().zip(d.1));
        for (((&a, &b), (&c, &d)), out) in numbers.zip(rest.chunks_mut(pitch)) {
            let Some(run) = out[first..].first_chunk_mut::<RUN>() else { continue };
            put(run, &[a, b, c, d]);
        }
        first += RUN;
    }
    for r in first..count {
        for (out, &number) in out.chunks_mut(pitch).zip(rows(r)) {
            put(slice::from_mut(&mut out[r]), &[number]);
        }
    }
}

/// Rows transposed as a square of vectors of as many lanes.
pub(super) const SQUARE: usize = RUN * RUN;

/// Whether a square of [`SQUARE`] vectors can be transposed in registers.
#[inline(always)]
pub(super) fn has_squares<L: Lane, S: Simd>(simd: S) -> bool {
    let zero = L::splat(simd, L::default());
    L::lanes::<S>() == SQUARE && L::transpose_runs(simd, [zero; RUN]).is_some()
}

/// Transposes a square, where the instruction set [can](has_squares): row `4 i + j` is `row(i, j)`, and column `4 q + j` of
/// the result `[j][q]`.
#[inline(always)]
pub(super) fn transpose_vectors<L: Lane, S: Simd>(
    simd: S,
    row: impl Fn(usize, usize) -> L::Vector<S>,
) -> [[L::Vector<S>; RUN]; RUN] {
    let zero = L::splat(simd, L::default());
    // By the rows' runs, then by the columns: `runs[i][j]` holds, of rows `4 i..`, columns `j, 4 + j, ...`.
    let mut runs = [[zero; RUN]; RUN];
    for (i, runs) in runs.iter_mut().enumerate() {
        *runs = L::interleave(simd, [row(i, 0), row(i, 1), row(i, 2), row(i, 3)]);
    }
    let mut columns = [[zero; RUN]; RUN];
    for j in 0..RUN {
        if let Some(of_runs) = L::transpose_runs(simd, [runs[0][j], runs[1][j], runs[2][j], runs[3][j]]) {
            columns[j] = of_runs;
        }
    }
    columns
}

/// Transposes [`SQUARE`] rows of equal length, if the instruction set can; else does nothing and says so.
#[inline(always)]
fn transpose_square<L: Lane, O, S: Simd>(
    simd: S,
    rows: [[&[L]; RUN]; RUN],
    out: &mut [O],
    pitch: usize,
    put: &impl Fn(&mut [O], &[L]),
) -> bool {
    if !has_squares::<L, S>(simd) {
        return false;
    }
    let len = rows[0][0].len();
    let vectors = len / SQUARE;
    for (v, out) in (0..vectors).zip(out.chunks_mut(SQUARE * pitch)) {
        let columns = transpose_vectors::<L, S>(simd, |i, j| L::as_vectors::<S>(rows[i][j]).0[v]);
        for j in 0..RUN {
            for q in 0..RUN {
                let Some(run) = out[(RUN * q + j) * pitch..].first_chunk_mut::<SQUARE>() else { continue };
                put(run, L::as_runs(&columns[j])[q * RUN..][..RUN].as_flattened());
            }
        }
    }
    for x in vectors * SQUARE..len {
        for i in 0..SQUARE {
            put(slice::from_mut(&mut out[x * pitch + i]), &[rows[i / RUN][i % RUN][x]]);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    fn check<L: Lane + std::fmt::Debug>(number: impl Fn(usize) -> L) {
        for isa in Isa::available() {
            for (count, len) in [(1, 5), (4, 16), (6, 35), (8, 3), (11, 40), (32, 17)] {
                let pitch = count + 3;
                let rows: Vec<Vec<L>> =
                    (0..count).map(|r| (0..len).map(|x| number(1 + r * len + x)).collect()).collect();
                let mut out = vec![L::default(); pitch * (len - 1) + count];
                isa.run(Transpose {
                    rows: |r: usize| &rows[r][..],
                    count,
                    out: &mut out,
                    pitch,
                    block: 33,
                    put: |out: &mut [L], numbers: &[L]| out.copy_from_slice(numbers),
                });
                for (i, &value) in out.iter().enumerate() {
                    let (x, r) = (i / pitch, i % pitch);
                    let expected = if r < count { rows[r][x] } else { L::default() };
                    assert_eq!(value, expected, "{isa}: column {x}, row {r} of {count}");
                }
            }
        }
    }

    #[test]
    fn transposes_every_count_and_length() {
        check(|i| i as f32);
        check(|i| i as f64);
    }
}
