//! The safe front of the gemm crate, whose one function takes pointers and strides.

use gemm::Parallelism;

/// A matrix in a slice that is proven to hold it.
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, each beginning `stride` after the last.
    pub fn by_rows(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Matrix<'a> {
        Matrix::new(data, [rows, columns], [stride, 1])
    }

    /// Columns one after the other, each beginning `stride` after the last.
    pub fn by_columns(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Matrix<'a> {
        Matrix::new(data, [rows, columns], [1, stride])
    }

    fn new(data: &'a [f32], [rows, columns]: [usize; 2], [row_stride, column_stride]: [usize; 2]) -> Matrix<'a> {
        assert!(rows > 0 && columns > 0, "the matrix is empty");
        let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
        assert!(last < data.len(), "the matrix ends at {last}, its slice at {}", data.len());
        Matrix { data, rows, columns, row_stride, column_stride }
    }
}

/// `c = a * b`, or `c += a * b`, for a contiguous `c` stored by rows, on all threads of the current pool.
pub fn accumulate_product(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], add: bool) {
    assert_eq!(a.columns, b.rows, "the matrices do not fit each other");
    assert_eq!(c.len(), a.rows * b.columns, "the product has another size");
    let threads = rayon::current_num_threads();
    let parallelism = if threads == 1 { Parallelism::None } else { Parallelism::Rayon(threads) };
    let stride = |stride: usize| stride.cast_signed();
    // SAFETY: each matrix lies in its slice, as `Matrix::new` and the assertion on the length of `c` prove; `c` is
    // borrowed mutably and so overlaps neither of the others.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            c.as_mut_ptr(),
            1,
            stride(b.columns),
            add,
            a.data.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}
