//! The safe front of matrixmultiply: the crate's only `unsafe`.
//!
//! matrixmultiply takes raw pointers, sizes and strides. Here they become [`Matrix`] and [`MatrixMut`]: a slice and a
//! shape whose every index is proven to lie in the slice, so that no call can touch anything else.

#![allow(unsafe_code)]

use std::ops::Range;

/// A matrix to be read: rows and columns with strides over a slice. Strides may be 0 or negative.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    /// Index of the element in row 0, column 0.
    origin: usize,
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
}

impl<'a, T> Matrix<'a, T> {
    /// A view of `data` as a matrix whose first element is at index `origin`.
    ///
    /// # Panics
    /// When an element lies outside `data`.
    pub fn new(
        data: &'a [T],
        origin: usize,
        [rows, columns]: [usize; 2],
        [row_stride, column_stride]: [isize; 2],
    ) -> Self {
        if rows > 0 && columns > 0 {
            let down = (rows - 1) as i128 * row_stride as i128;
            let across = (columns - 1) as i128 * column_stride as i128;
            let lowest = (origin as i128).saturating_add(down.min(0)).saturating_add(across.min(0));
            let highest = (origin as i128).saturating_add(down.max(0)).saturating_add(across.max(0));
            let inside = lowest >= 0 && highest < data.len() as i128;
            assert!(inside, "a matrix reaches from {lowest} to {highest} of {} elements", data.len());
        }
        Matrix { data, origin, rows, columns, row_stride, column_stride }
    }

    /// The same elements, rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }

    /// A block of the matrix.
    ///
    /// # Panics
    /// When a row or a column lies outside the matrix, or there is none.
    pub fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        assert!(rows.start < rows.end && rows.end <= self.rows, "rows {rows:?} of {}", self.rows);
        assert!(columns.start < columns.end && columns.end <= self.columns, "columns {columns:?} of {}", self.columns);
        let offset = rows.start as isize * self.row_stride + columns.start as isize * self.column_stride;
        Matrix { origin: self.origin.wrapping_add_signed(offset), rows: rows.len(), columns: columns.len(), ..self }
    }
}

/// A row-major matrix to be written.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

impl<'a, T> MatrixMut<'a, T> {
    /// A view of `data` as a row-major matrix whose rows begin `row_stride` elements apart.
    ///
    /// # Panics
    /// When an element lies outside `data`, or rows overlap.
    pub fn new(data: &'a mut [T], [rows, columns]: [usize; 2], row_stride: usize) -> Self {
        assert!(rows <= 1 || columns <= row_stride, "rows of {columns} elements overlap at a stride of {row_stride}");
        if rows > 0 && columns > 0 {
            let last = (rows - 1).checked_mul(row_stride).and_then(|index| index.checked_add(columns - 1));
            let inside = last.is_some_and(|last| last < data.len());
            assert!(inside, "{rows} rows of {columns} elements, {row_stride} apart, in a slice of {}", data.len());
        }
        MatrixMut { data, rows, columns, row_stride }
    }
}

/// A number matrixmultiply multiplies matrices of.
pub trait Gemm: Copy {
    /// `c = a * b + beta * c`, on the calling thread; with `beta` 0, what `c` held does not matter.
    ///
    /// matrixmultiply allocates its packing buffer on each call, of at most `256 * (64 + 1024)` elements.
    ///
    /// # Panics
    /// When the sizes of the three matrices do not fit together.
    fn gemm(a: Matrix<'_, Self>, b: Matrix<'_, Self>, beta: Self, c: MatrixMut<'_, Self>);
}

macro_rules! gemm {
    ($t:ty, $function:path) => {
        impl Gemm for $t {
            fn gemm(a: Matrix<'_, $t>, b: Matrix<'_, $t>, beta: $t, c: MatrixMut<'_, $t>) {
                assert_eq!(
                    (a.rows, b.columns, a.columns),
                    (c.rows, c.columns, b.rows),
                    "sizes of a, b and c do not fit"
                );
                // SAFETY: matrixmultiply reads a[i*a_row + l*a_column], b[l*b_row + j*b_column], counted from the
                // origins, and writes c[i*c_row + j], for i < m, l < k, j < n only; without elements it reads none.
                // - `Matrix::new` and `MatrixMut::new` proved the smallest and the largest of these indices to lie in
                //   the slices, `block` and `transposed` keep that, and the fields are private; the assertion above
                //   ties m, k, n to all three matrices.
                // - An index in a slice fits `isize`, so a stride that is stepped fits too; the stride of a dimension
                //   of length 1 is multiplied by 0 only. `wrapping_add` asks nothing of the origin of an empty matrix.
                // - c's elements are distinct because `MatrixMut::new` proved that rows do not overlap; c is borrowed
                //   mutably, so a and b do not overlap it.
                unsafe {
                    $function(
                        a.rows,
                        a.columns,
                        b.columns,
                        1.0,
                        a.data.as_ptr().wrapping_add(a.origin),
                        a.row_stride,
                        a.column_stride,
                        b.data.as_ptr().wrapping_add(b.origin),
                        b.row_stride,
                        b.column_stride,
                        beta,
                        c.data.as_mut_ptr(),
                        c.row_stride.cast_signed(),
                        1,
                    );
                }
            }
        }
    };
}

gemm!(f32, matrixmultiply::sgemm);
gemm!(f64, matrixmultiply::dgemm);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_strided_matrices() {
        // a is 2x3 of every second element, b is 3x2 transposed, c has rows 3 apart.
        let a: Vec<f64> = (0..12).map(f64::from).collect();
        let b: Vec<f64> = (0..6).map(f64::from).collect();
        let mut c = vec![1.0; 5];
        f64::gemm(
            Matrix::new(&a, 0, [2, 3], [6, 2]),
            Matrix::new(&b, 0, [2, 3], [3, 1]).transposed(),
            2.0,
            MatrixMut::new(&mut c, [2, 2], 3),
        );
        assert_eq!(c, [12.0, 30.0, 1.0, 30.0, 102.0]);
    }

    #[test]
    fn multiplies_reversed_and_repeated_matrices() {
        // a is [[5, 4, 3], [2, 1, 0]], of which the last two columns are taken; b repeats one column.
        let a: Vec<f32> = (0..6).map(|i| i as f32).collect();
        let b = [1.0f32, 10.0];
        let mut c = [f32::NAN; 6];
        f32::gemm(
            Matrix::new(&a, 5, [2, 3], [-3, -1]).block(0..2, 1..3),
            Matrix::new(&b, 0, [2, 3], [1, 0]),
            0.0,
            MatrixMut::new(&mut c, [2, 3], 3),
        );
        assert_eq!(c, [34.0, 34.0, 34.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "to 12 of 12")]
    fn refuses_a_matrix_beyond_its_slice() {
        Matrix::new(&[0.0f32; 12], 0, [2, 3], [10, 1]);
    }

    #[test]
    #[should_panic(expected = "from -1 to")]
    fn refuses_a_matrix_before_its_slice() {
        Matrix::new(&[0.0f32; 12], 4, [2, 3], [-3, -1]);
    }

    #[test]
    #[should_panic(expected = "columns 1..4 of 3")]
    fn refuses_a_block_outside_its_matrix() {
        Matrix::new(&[0.0f32; 12], 0, [2, 3], [3, 1]).block(0..2, 1..4);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn refuses_overlapping_rows() {
        MatrixMut::new(&mut [0.0f32; 12], [2, 3], 2);
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn refuses_sizes_that_do_not_fit() {
        let a = [0.0f32; 6];
        f32::gemm(
            Matrix::new(&a, 0, [2, 3], [3, 1]),
            Matrix::new(&a, 0, [2, 3], [3, 1]),
            0.0,
            MatrixMut::new(&mut [0.0; 6], [2, 3], 3),
        );
    }
}
