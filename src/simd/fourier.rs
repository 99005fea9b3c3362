//! Fourier transforms down the columns of a block: each lane is a transform of its own.
//!
//! ```text
//! z[f] = sum over i  z[i] * w^(i f)          w = exp(-2 pi i / n), in place, for each of WIDTH columns
//! ```
//!
//! The length is split into radices `n = r1 r2 ..`. A pass takes the rows `j, j + m, j + 2m, ..` of a transform, `m = n / r`,
//! through a transform of `r` points, multiplies the `q`-th result by `w^(j q)` and leaves it in row `j + q m`; what is left
//! are `r` transforms of `m` rows each, which the next pass takes (Gentleman and Sande, 1966). Deviations from textbooks:
//!
//! 1. Results stay where they arise: frequency `f` in row [`Stages::row`]`(f)`. Products of two spectra are taken row by row, so
//!    their order does not matter to them.
//! 2. Real and imaginary parts lie in rows of their own, so that nothing is ever shuffled within a vector.
//! 3. There is no inverse: the transform of a conjugate is the conjugate of the inverse transform, up to the factor `n`, and
//!    its real part is the same.
//! 4. The last pass has no factors, as all of them are 1.

mod butterfly;
mod turn;

use super::{Lane, Registers};
use butterfly::{Butterfly, Complex, Eight, Five, Four, Three, Two};
use pulp::{Simd, WithSimd};

pub(crate) use turn::{CopyColumns, Part, Turn};

/// Columns transformed side by side: a cache line of `f32`, whatever the lanes.
pub(crate) const WIDTH: usize = 16;

/// Real, then imaginary parts of one row of a block.
pub(crate) type Row<T> = [T; 2 * WIDTH];

/// Passes of the longest transform there is a plan for.
const MAX_STAGES: usize = 10;

/// How a transform is split into passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stages {
    radices: [u8; MAX_STAGES],
    count: usize,
    length: usize,
}

impl Stages {
    /// Passes for a length whose only prime factors are 2, 3 and 5.
    ///
    /// Where a transform of eight points fits the registers with its temporaries, passes are as few as they can be: each
    /// loads and stores all rows, which takes longer than its arithmetic.
    ///
    /// # Panics
    /// For other lengths, which no plan takes, and for those beyond 2^20.
    pub fn new(length: usize, registers: Registers) -> Stages {
        let twos = length.trailing_zeros() as usize;
        let eights = match (registers.count >= 32, twos % 3) {
            _ if twos == 1 => 0,
            (true, 0) => twos / 3,
            (true, 1) => (twos - 4) / 3,
            (true, _) => (twos - 2) / 3,
            (false, _) => 0,
        };
        let rest = twos - 3 * eights;
        let mut stages = Stages { radices: [1; MAX_STAGES], count: 0, length };
        let mut odd = length >> twos;
        let mut push = |radix: u8, times: usize| {
            stages.radices[stages.count..stages.count + times].fill(radix);
            stages.count += times;
        };
        push(8, eights);
        push(4, rest / 2);
        push(2, rest % 2);
        for radix in [3u8, 5] {
            while odd.is_multiple_of(usize::from(radix)) {
                push(radix, 1);
                odd /= usize::from(radix);
            }
        }
        assert_eq!(odd, 1, "no plan takes a length with other factors than 2, 3 and 5");
        stages
    }

    /// Points of a transform.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The radix of each pass.
    pub fn radices(&self) -> impl Iterator<Item = usize> + '_ {
        self.radices[..self.count].iter().map(|&radix| usize::from(radix))
    }

    /// The row in which a frequency is left.
    pub fn row(&self, frequency: usize) -> usize {
        let (mut row, mut rest, mut length) = (0, frequency, self.length);
        for radix in self.radices() {
            length /= radix;
            row += rest % radix * length;
            rest /= radix;
        }
        row
    }

    /// The rows of all frequencies, in the order of frequencies.
    pub fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        // The digits of the frequency, counted up one by one: to divide for each row takes longer than to transform it.
        let (mut digits, mut row) = ([0; MAX_STAGES], 0);
        (0..self.length).map(move |_| {
            let now = row;
            let mut place = self.length;
            for (digit, radix) in digits.iter_mut().zip(self.radices()) {
                place /= radix;
                (*digit, row) = (*digit + 1, row + place);
                if *digit < radix {
                    break;
                }
                (*digit, row) = (0, row - radix * place);
            }
            now
        })
    }

    /// By how many units of roundoff a computed result may be off, over the sum of the magnitudes of the points.
    ///
    /// A butterfly's result is a sum of all its points with factors of modulus 1, split into real ones whose moduli add up to
    /// at most 1.4; [`roundings`] are those of the longest chain, times that. A factor errs by its own rounding (less than 4.3
    /// for `f64`, whose sines and angles are rounded too, 1 for `f32`) and a complex product by `2 sqrt(2)`.
    pub fn error(&self) -> f64 {
        self.errors(|_| 1.0)
    }

    /// The same in 2-norms, of all frequencies over all points and `sqrt(n)`: the moduli of a butterfly of `R` points have the
    /// norm `R`, the transform itself `sqrt(R)` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 24.1).
    pub fn norm_error(&self) -> f64 {
        self.errors(|radix| (radix as f64).sqrt())
    }

    fn errors(&self, growth: impl Fn(usize) -> f64) -> f64 {
        let passes = self.radices().map(|radix| roundings(radix) * growth(radix) + FACTOR_ROUNDINGS);
        passes.sum::<f64>()
    }

    /// Numbers of the [table of factors](Self::write_factors).
    pub fn factors_len(&self) -> usize {
        let mut rows = self.length;
        let mut len = 0;
        for radix in self.radices() {
            len += 2 * rows;
            rows /= radix;
        }
        len
    }

    /// Writes `w^(j q)` of each pass, `[pass][j][q]`, real and imaginary part: each the nearest number to a value that errs by
    /// less than 2.5 units of roundoff of `f64`.
    pub fn write_factors<T: Copy>(&self, factors: &mut [T], round: impl Fn(f64) -> T) {
        let mut rows = self.length;
        let mut out = factors.iter_mut();
        for radix in self.radices() {
            for (j, q) in (0..rows / radix).flat_map(|j| (0..radix).map(move |q| (j, q))) {
                let (re, im) = root(j * q, rows);
                for part in [re, im] {
                    if let Some(out) = out.next() {
                        *out = round(part);
                    }
                }
            }
            rows /= radix;
        }
    }
}

/// See [`Stages::error`].
fn roundings(radix: usize) -> f64 {
    match radix {
        2 => 1.0,
        3 => 6.0,
        4 => 2.0,
        5 => 9.0,
        _ => 8.0,
    }
}

/// Errors of a product with a factor, in units of roundoff.
const FACTOR_ROUNDINGS: f64 = 8.0;

/// `exp(-2 pi i k / n)`, from an angle of at most an eighth of a turn: rounding moves that least.
fn root(k: usize, n: usize) -> (f64, f64) {
    // In eighths of a turn: which one, and how far from its even end.
    let (k, n) = (k % n, n);
    let eighth = 8 * k / n;
    let quarter = eighth.div_ceil(2);
    let steps = (4 * k) as f64 - (quarter * n) as f64;
    let (sin, cos) = (std::f64::consts::FRAC_PI_2 * (steps / n as f64)).sin_cos();
    match quarter % 4 {
        0 => (cos, -sin),
        1 => (-sin, -cos),
        2 => (-cos, sin),
        _ => (sin, cos),
    }
}

/// Transforms blocks of [`Stages::length`] rows each.
pub(crate) struct Transform<'a, T> {
    pub stages: &'a Stages,
    pub factors: &'a [T],
    pub rows: &'a mut [Row<T>],
}

impl<T: Lane> WithSimd for Transform<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Transform { stages, mut factors, rows } = self;
        let mut length = stages.length;
        for radix in stages.radices() {
            let of_pass;
            (of_pass, factors) = factors.split_at(2 * length);
            match radix {
                2 => pass::<T, S, Two, 2>(simd, length, of_pass, rows),
                3 => pass::<T, S, Three, 3>(simd, length, of_pass, rows),
                4 => pass::<T, S, Four, 4>(simd, length, of_pass, rows),
                5 => pass::<T, S, Five, 5>(simd, length, of_pass, rows),
                8 => pass::<T, S, Eight, 8>(simd, length, of_pass, rows),
                _ => unreachable!("no transform of {radix} points"),
            }
            length /= radix;
        }
    }
}

/// One pass over all transforms of `length` rows.
#[inline(always)]
fn pass<T: Lane, S: Simd, B: Butterfly<R>, const R: usize>(simd: S, length: usize, factors: &[T], rows: &mut [Row<T>]) {
    if length == R {
        let (transforms, _) = rows.as_chunks_mut::<R>();
        for rows in transforms {
            for v in 0..WIDTH / T::lanes::<S>() {
                let mut points = [zero::<T, S>(simd); R];
                for q in 0..R {
                    points[q] = load(&rows[q], v);
                }
                let points = B::apply::<T, S>(simd, points);
                for q in 0..R {
                    store(&mut rows[q], v, points[q]);
                }
            }
        }
        return;
    }
    let step = length / R;
    let (factors, _) = factors.as_chunks::<2>();
    let (factors, _) = factors.as_chunks::<R>();
    let factors = &factors[..step];
    for transform in rows.chunks_exact_mut(length) {
        // Slices of one length the compiler sees, so that the loop's own bound is the check of them all.
        let mut parts: [&mut [Row<T>]; R] = std::array::from_fn(|_| Default::default());
        let mut rest = transform;
        for part in &mut parts {
            let (first, others) = rest.split_at_mut(step);
            (*part, rest) = (first, others);
        }
        for j in 0..step {
            let factors = &factors[j];
            for v in 0..WIDTH / T::lanes::<S>() {
                let mut points = [zero::<T, S>(simd); R];
                for q in 0..R {
                    points[q] = load(&parts[q][j], v);
                }
                let points = B::apply::<T, S>(simd, points);
                store(&mut parts[0][j], v, points[0]);
                for q in 1..R {
                    let [re, im] = [T::splat(simd, factors[q][0]), T::splat(simd, factors[q][1])];
                    let point = points[q];
                    let product = Complex {
                        re: T::mul_add(simd, T::negate(simd, im), point.im, T::multiply(simd, re, point.re)),
                        im: T::mul_add(simd, im, point.re, T::multiply(simd, re, point.im)),
                    };
                    store(&mut parts[q][j], v, product);
                }
            }
        }
    }
}

#[inline(always)]
fn zero<T: Lane, S: Simd>(simd: S) -> Complex<T::Vector<S>> {
    let zero = T::splat(simd, T::default());
    Complex { re: zero, im: zero }
}

/// The `v`-th vector of a row.
#[inline(always)]
fn load<T: Lane, S: Simd>(row: &Row<T>, v: usize) -> Complex<T::Vector<S>> {
    let vectors = T::as_vectors::<S>(row).0;
    Complex { re: vectors[v], im: vectors[WIDTH / T::lanes::<S>() + v] }
}

#[inline(always)]
fn store<T: Lane, S: Simd>(row: &mut Row<T>, v: usize, number: Complex<T::Vector<S>>) {
    let vectors = T::as_vectors_mut::<S>(row).0;
    vectors[v] = number.re;
    vectors[WIDTH / T::lanes::<S>() + v] = number.im;
}

/// `sums[a][b] += delta[a] * conjugate(input[b])`, row by row; `sums` are `A * B` blocks one after the other.
pub(crate) struct MultiplyAdd<'a, T, const A: usize, const B: usize> {
    pub delta: [&'a [Row<T>]; A],
    pub input: [&'a [Row<T>]; B],
    pub sums: [[&'a mut [Row<T>]; B]; A],
}

impl<T: Lane, const A: usize, const B: usize> WithSimd for MultiplyAdd<'_, T, A, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let MultiplyAdd { mut delta, mut input, mut sums } = self;
        let len = delta[0].len();
        for (delta, sums) in delta.iter_mut().zip(&mut sums) {
            *delta = &delta[..len];
            for sums in sums {
                *sums = &mut std::mem::take(sums)[..len];
            }
        }
        for input in &mut input {
            *input = &input[..len];
        }
        for row in 0..len {
            for v in 0..WIDTH / T::lanes::<S>() {
                let mut numbers = [zero::<T, S>(simd); B];
                for b in 0..B {
                    numbers[b] = load(&input[b][row], v);
                }
                for a in 0..A {
                    let number: Complex<T::Vector<S>> = load(&delta[a][row], v);
                    let minus = T::negate(simd, number.re);
                    for b in 0..B {
                        let sum: Complex<T::Vector<S>> = load(&sums[a][b][row], v);
                        let re = T::mul_add(simd, number.re, numbers[b].re, sum.re);
                        let im = T::mul_add(simd, number.im, numbers[b].re, sum.im);
                        let sum = Complex {
                            re: T::mul_add(simd, number.im, numbers[b].im, re),
                            im: T::mul_add(simd, minus, numbers[b].im, im),
                        };
                        store(&mut sums[a][b][row], v, sum);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
