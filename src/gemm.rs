//! The safe front of matrixmultiply: the crate's only `unsafe`.
//!
//! matrixmultiply takes raw pointers, sizes and strides. Here they become [`Matrix`] and [`MatrixMut`]: a slice and a
//! shape whose every index is proven to lie in the slice, so that no call can touch anything else.

#![allow(unsafe_code)]

/// A matrix to be read: rows and columns with strides over a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// Largest index a matrix of these sizes touches; `None` when it has no elements.
///
/// # Panics
/// When the index does not fit `usize`.
fn last_index(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Option<usize> {
    let (last_row, last_column) = (rows.checked_sub(1)?, columns.checked_sub(1)?);
    let down = last_row.checked_mul(row_stride);
    let across = last_column.checked_mul(column_stride);
    Some(down.zip(across).and_then(|(d, a)| d.checked_add(a)).expect("a matrix reaches beyond the address space"))
}

impl<'a, T> Matrix<'a, T> {
    /// A view of `data` as a matrix.
    ///
    /// # Panics
    /// When an element lies outside `data`.
    pub fn new(data: &'a [T], [rows, columns]: [usize; 2], [row_stride, column_stride]: [usize; 2]) -> Self {
        if let Some(last) = last_index(rows, columns, row_stride, column_stride) {
            assert!(last < data.len(), "a matrix reaches to {last} of {} elements", data.len());
        }
        Matrix { data, rows, columns, row_stride, column_stride }
    }

    /// The same elements, rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Matrix {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
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
        if let Some(last) = last_index(rows, columns, row_stride, 1) {
            assert!(last < data.len(), "a matrix reaches to {last} of {} elements", data.len());
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
                let strides = [a.row_stride, a.column_stride, b.row_stride, b.column_stride, c.row_stride];
                let [a_row, a_column, b_row, b_column, c_row] = strides.map(usize::cast_signed);
                // SAFETY: matrixmultiply reads a[i*a_row + l*a_column], b[l*b_row + j*b_column] and writes
                // c[i*c_row + j] for i < m, l < k, j < n only.
                // - `Matrix::new` and `MatrixMut::new` proved the largest of these indices to lie in the slices, and
                //   the fields are private; the assertion above ties m, k, n to all three matrices.
                // - An index in a slice fits `isize`, so a stride that is stepped fits too; the stride of a dimension
                //   of length 1 is multiplied by 0 only.
                // - c's elements are distinct because `MatrixMut::new` proved that rows do not overlap; c is borrowed
                //   mutably, so a and b do not overlap it.
                unsafe {
                    $function(
                        a.rows,
                        a.columns,
                        b.columns,
                        1.0,
                        a.data.as_ptr(),
                        a_row,
                        a_column,
                        b.data.as_ptr(),
                        b_row,
                        b_column,
                        beta,
                        c.data.as_mut_ptr(),
                        c_row,
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
            Matrix::new(&a, [2, 3], [6, 2]),
            Matrix::new(&b, [2, 3], [3, 1]).transposed(),
            2.0,
            MatrixMut::new(&mut c, [2, 2], 3),
        );
        assert_eq!(c, [12.0, 30.0, 1.0, 30.0, 102.0]);
    }

    #[test]
    #[should_panic(expected = "reaches to 12")]
    fn refuses_a_matrix_beyond_its_slice() {
        Matrix::new(&[0.0f32; 12], [2, 3], [10, 1]);
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
            Matrix::new(&a, [2, 3], [3, 1]),
            Matrix::new(&a, [2, 3], [3, 1]),
            0.0,
            MatrixMut::new(&mut [0.0; 6], [2, 3], 3),
        );
    }
}
