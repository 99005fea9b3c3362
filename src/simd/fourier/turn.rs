//! Numbers into blocks of columns and from there to blocks of rows.

use super::{Row, WIDTH};
use crate::simd::Lane;
use crate::simd::transpose::{SQUARE, has_squares, transpose_block, transpose_vectors};
use pulp::{Simd, WithSimd};

/// Which half of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Real,
    Imaginary,
}

impl Part {
    /// Both.
    pub const ALL: [Part; 2] = [Part::Real, Part::Imaginary];

    /// This half of a row.
    #[inline(always)]
    pub fn of<T>(self, row: &Row<T>) -> &[T] {
        let (real, imaginary) = row.split_at(WIDTH);
        if self == Part::Real { real } else { imaginary }
    }

    /// This half of a row, to be written.
    #[inline(always)]
    pub fn of_mut<T>(self, row: &mut Row<T>) -> &mut [T] {
        let (real, imaginary) = row.split_at_mut(WIDTH);
        if self == Part::Real { real } else { imaginary }
    }
}

/// Copies [`WIDTH`] numbers to a half of each row: those from `start` on, and so on at every `stride`.
pub(crate) struct CopyColumns<'a, T> {
    pub numbers: &'a [T],
    pub start: usize,
    pub stride: isize,
    pub part: Part,
    pub rows: &'a mut [Row<T>],
}

impl<T: Lane> WithSimd for CopyColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let CopyColumns { numbers, mut start, stride, part, rows } = self;
        for row in rows {
            part.of_mut(row).copy_from_slice(&numbers[start..][..WIDTH]);
            start = start.wrapping_add_signed(stride);
        }
    }
}

/// Turns rows into columns, by squares: column `x` of the rows `row(i)`, `i` from `WIDTH b` on, is row `WIDTH b + x` of `out`.
pub(crate) struct Turn<'o, T, Rows> {
    pub row: Rows,
    pub out: &'o mut [Row<T>],
}

impl<'i, T: Lane, Rows: Fn(usize) -> &'i Row<T>> WithSimd for Turn<'_, T, Rows> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Turn { row, out } = self;
        let (squares, _) = out.as_chunks_mut::<WIDTH>();
        for (b, square) in squares.iter_mut().enumerate() {
            let mut rows = [row(b * WIDTH); WIDTH];
            for (r, at) in rows.iter_mut().enumerate() {
                *at = row(b * WIDTH + r);
            }
            for part in Part::ALL {
                if SQUARE == WIDTH && has_squares::<T, S>(simd) {
                    let vector = |i: usize, j: usize| T::as_vectors::<S>(part.of(rows[4 * i + j])).0[0];
                    let columns = transpose_vectors::<T, S>(simd, vector);
                    for x in 0..WIDTH {
                        T::as_vectors_mut::<S>(part.of_mut(&mut square[x])).0[0] = columns[x % 4][x / 4];
                    }
                } else {
                    let first = if part == Part::Real { 0 } else { WIDTH };
                    let out = &mut square.as_flattened_mut()[first..];
                    let put = |out: &mut [T], numbers: &[T]| out.copy_from_slice(numbers);
                    transpose_block(simd, |r| part.of(rows[r]), WIDTH, out, 2 * WIDTH, &put);
                }
            }
        }
    }
}
