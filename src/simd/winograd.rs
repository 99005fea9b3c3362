//! The kernels of Winograd's weight gradient: channels in lanes. The transform of the input is the [forward] pass's, too.
//!
//! ```text
//! Transformed    out[i,j][tile] = M tile M^T, for the tiles of a band of positions      M is B^T, or G
//! Products       sums[p][n][v] = sum over tiles  delta[p][tile][v] * input[p][tile][n]  v a vector, n a number
//! Gradient       gradient[n][k,l][v] (+)= A^T sums[..][n][v] A
//! ```
//!
//! A tile's numbers lie a vector of channels each, so both passes of a map (down its columns, then along its rows) are
//! plain arithmetic on vectors; between them the tile lies on the stack, in the L1 cache.

pub(crate) mod forward;

use super::Lane;
use super::outer::{fits, multiply_add};
use super::tile::{Tile, expect_registers};
use super::toom::{COEFFICIENTS, Linear};
use pulp::{Simd, WithSimd};
use std::marker::PhantomData;
use std::ops::Range;

/// The taps of the kernel along an axis.
pub(crate) const TAPS: usize = 3;

/// Applies a map to the columns of a tile, then to its rows, which `store` is given one after the other.
///
/// The columns are stored whole and the rows never, or else the compiler clears the places of both before.
#[inline(always)]
fn on_both_axes<L: Linear<I, O>, T: Lane, S: Simd, const I: usize, const O: usize>(
    simd: S,
    coefficients: &[T::Vector<S>; COEFFICIENTS],
    load: impl Fn(usize, usize) -> T::Vector<S>,
    mut store: impl FnMut(usize, [T::Vector<S>; O]),
) {
    let zero = T::splat(simd, T::default());
    let mut columns = [[zero; O]; I];
    for (j, transformed) in columns.iter_mut().enumerate() {
        let mut column = [zero; I];
        for (i, vector) in column.iter_mut().enumerate() {
            *vector = load(i, j);
        }
        *transformed = L::apply::<T, S>(simd, coefficients, column);
    }
    for i in 0..O {
        let mut row = [zero; I];
        for (vector, column) in row.iter_mut().zip(&columns) {
            *vector = column[i];
        }
        store(i, L::apply::<T, S>(simd, coefficients, row));
    }
}

#[inline(always)]
fn in_all_lanes<T: Lane, S: Simd>(simd: S, coefficients: [T; COEFFICIENTS]) -> [T::Vector<S>; COEFFICIENTS] {
    let mut vectors = [T::splat(simd, T::default()); COEFFICIENTS];
    for (vector, number) in vectors.iter_mut().zip(coefficients) {
        *vector = T::splat(simd, number);
    }
    vectors
}

/// Where the tiles of a band lie in its positions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    /// Rows and columns of positions.
    pub positions: [usize; 2],
    /// The first position of the first tile, which may lie before the band.
    pub first: [isize; 2],
    /// Rows and columns of tiles.
    pub tiles: [usize; 2],
    /// Positions from a tile to the next, along either axis.
    pub step: usize,
}

/// Transforms the tiles of a band. Positions outside of it are zeros.
pub(crate) struct Transformed<'a, L, T, const I: usize, const O: usize> {
    pub coefficients: [T; COEFFICIENTS],
    pub band: Band,
    /// `[position][width]`
    pub numbers: &'a [T],
    pub width: usize,
    /// `[point][tile][width]`, `pitch` tiles a point.
    pub out: &'a mut [T],
    pub pitch: usize,
    /// The band's first tile among them, and how many there are from a row of tiles to the next.
    pub first: usize,
    pub row: usize,
    pub map: PhantomData<L>,
}

impl<L: Linear<I, O>, T: Lane, const I: usize, const O: usize> WithSimd for Transformed<'_, L, T, I, O> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Transformed { coefficients, band, numbers, width, out, pitch, first, row, .. } = self;
        let coefficients = in_all_lanes(simd, coefficients);
        let zero = T::splat(simd, T::default());
        let vectors = width / T::lanes::<S>();
        let numbers = T::as_vectors::<S>(numbers).0;
        let out = T::as_vectors_mut::<S>(out).0;
        let [rows, columns] = band.positions;
        for i in 0..band.tiles[0] {
            let y = band.first[0] + (i * band.step).cast_signed();
            let valid_rows = inside(y, I, rows);
            for j in 0..band.tiles[1] {
                let x = band.first[1] + (j * band.step).cast_signed();
                let valid_columns = inside(x, I, columns);
                let is_whole = valid_rows.len() == I && valid_columns.len() == I;
                let corner = (y * columns.cast_signed() + x) * vectors.cast_signed();
                for v in 0..vectors {
                    let at = |i: usize, j: usize| {
                        corner.wrapping_add_unsigned((i * columns + j) * vectors + v).cast_unsigned()
                    };
                    let out = &mut out[(first + i * row + j) * vectors + v..];
                    let store = |i: usize, vectors_of_row: [T::Vector<S>; O]| {
                        for (j, vector) in vectors_of_row.into_iter().enumerate() {
                            out[(i * O + j) * pitch * vectors] = vector;
                        }
                    };
                    if is_whole {
                        on_both_axes::<L, T, S, I, O>(simd, &coefficients, |i, j| numbers[at(i, j)], store);
                    } else {
                        let load = |i: usize, j: usize| {
                            if valid_rows.contains(&i) && valid_columns.contains(&j) { numbers[at(i, j)] } else { zero }
                        };
                        on_both_axes::<L, T, S, I, O>(simd, &coefficients, load, store);
                    }
                }
            }
        }
    }
}

/// Of `len` positions from `first` on, those that lie in `0..end`.
#[inline(always)]
fn inside(first: isize, len: usize, end: usize) -> Range<usize> {
    let begin = (-first).clamp(0, len.cast_signed()).cast_unsigned();
    let end = (end.cast_signed() - first).clamp(begin.cast_signed(), len.cast_signed()).cast_unsigned();
    begin..end
}

/// Copies positions whose channels lie side by side.
pub(crate) struct CopyPositions<'a, T> {
    pub data: &'a [T],
    /// The first position, and elements to the next.
    pub start: usize,
    pub stride: isize,
    pub channels: usize,
    /// `[position][width]`; what is behind the channels stays as it is.
    pub out: &'a mut [T],
    pub width: usize,
}

impl<T: Lane> WithSimd for CopyPositions<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let CopyPositions { data, start, stride, channels, out, width } = self;
        for (x, out) in out.chunks_exact_mut(width).enumerate() {
            let at = start.wrapping_add_signed(x.cast_signed().wrapping_mul(stride));
            let (vectors, rest) = T::as_vectors::<S>(&data[at..][..channels]);
            let (copied, others) = out.split_at_mut(channels - rest.len());
            // The common cases by themselves: a loop of unknown length becomes a call, which takes longer than the copy.
            match (vectors, T::as_vectors_mut::<S>(copied).0) {
                ([a], [x]) => *x = *a,
                ([a, b], [x, y]) => (*x, *y) = (*a, *b),
                (vectors, copies) => copies.copy_from_slice(vectors),
            }
            others[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// Where the products of a kernel call lie: equally for all points, in chunks of tiles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products<'a, T> {
    /// From the first tile's vectors, and numbers, on.
    pub vectors: &'a [T],
    pub numbers: &'a [T],
    /// Elements from a chunk to the next.
    pub vectors_chunk: usize,
    pub numbers_chunk: usize,
    /// Elements from a tile's numbers to the next one's. The last one's are followed by as many elements.
    pub width: usize,
    /// Tiles of a point, in a chunk, with the gap behind them.
    pub pitch: usize,
    /// Tiles of a chunk, and of all chunks together.
    pub chunk: usize,
    pub tiles: usize,
    pub points: usize,
}

/// Tiles whose products are summed in registers before they are added to the sum of all.
///
/// A sum of many numbers errs with its length, and the sums of tiles more than those of the definition, because the maps
/// amplify: of 256 to 256 channels and 16, 32, 64 tiles in one sum, the largest error over the root mean square of the
/// gradient was 4.4e-6, 5.6e-6, 8.4e-6.
pub(crate) const PARTIAL: usize = 16;

/// Sums the products of all points: `sums` are `[point][n][v]`.
pub(crate) struct SumProducts<'a, T, const V: usize, const N: usize> {
    pub products: Products<'a, T>,
    pub sums: &'a mut [T],
}

impl<T: Lane, const V: usize, const N: usize> WithSimd for SumProducts<'_, T, V, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        expect_registers::<T, S>(Tile { v: V, n: N }, fits);
        let SumProducts { products, sums } = self;
        let Products { vectors, numbers, vectors_chunk, numbers_chunk, width, pitch, chunk, tiles, points } = products;
        let lanes = V * T::lanes::<S>();
        let totals = T::as_vectors_mut::<S>(sums).0.as_chunks_mut::<V>().0.as_chunks_mut::<N>().0;
        for (point, totals) in totals[..points].iter_mut().enumerate() {
            for (index, first) in (0..tiles).step_by(chunk).enumerate() {
                let count = chunk.min(tiles - first);
                let vectors = &vectors[index * vectors_chunk + point * pitch * lanes..][..count * lanes];
                let numbers = &numbers[index * numbers_chunk + point * pitch * width..][..count * width];
                let parts = vectors.chunks(PARTIAL * lanes).zip(numbers.chunks(PARTIAL * width));
                for (part, (vectors, numbers)) in parts.enumerate() {
                    let mut sums = [[T::splat(simd, T::default()); V]; N];
                    let vectors = T::as_vectors::<S>(vectors).0.as_chunks::<V>().0;
                    let numbers = numbers.chunks_exact(width).map_while(|numbers| numbers.first_chunk::<N>());
                    for (vectors, numbers) in vectors.iter().zip(numbers) {
                        multiply_add(simd, vectors, numbers, &mut sums);
                    }
                    // Constant bounds, so that the sums stay in registers.
                    if index == 0 && part == 0 {
                        for n in 0..N {
                            for v in 0..V {
                                totals[n][v] = sums[n][v];
                            }
                        }
                    } else {
                        for n in 0..N {
                            for v in 0..V {
                                totals[n][v] = T::add(simd, totals[n][v], sums[n][v]);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Turns the sums of all points, `[point][n][v]`, into the gradient of all taps, `[n][tap][v]`.
pub(crate) struct Gradient<'a, L, T, const I: usize, const V: usize, const N: usize> {
    pub coefficients: [T; COEFFICIENTS],
    pub sums: &'a [T],
    pub gradient: &'a mut [T],
    /// Whether the gradient is added to what is there.
    pub accumulate: bool,
    pub map: PhantomData<L>,
}

impl<L, T, const I: usize, const V: usize, const N: usize> WithSimd for Gradient<'_, L, T, I, V, N>
where
    L: Linear<I, TAPS>,
    T: Lane,
{
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Gradient { coefficients, sums, gradient, accumulate, .. } = self;
        let coefficients = in_all_lanes(simd, coefficients);
        let gradient = T::as_vectors_mut::<S>(gradient).0.as_chunks_mut::<V>().0;
        let gradient = gradient.as_chunks_mut::<TAPS>().0.as_chunks_mut::<TAPS>().0;
        // Arrays of constant sizes, so that no load is checked.
        let points = T::as_vectors::<S>(sums).0.as_chunks::<V>().0.as_chunks::<N>().0.as_chunks::<I>().0;
        let Some(points) = points.first_chunk::<I>() else { return };
        for (n, gradient) in gradient.iter_mut().enumerate().take(N) {
            for v in 0..V {
                let load = |i: usize, j: usize| points[i][j][n][v];
                on_both_axes::<L, T, S, I, TAPS>(simd, &coefficients, load, |i, taps| {
                    for (total, tap) in gradient[i].iter_mut().zip(taps) {
                        total[v] = if accumulate { T::add(simd, total[v], tap) } else { tap };
                    }
                });
            }
        }
    }
}
