//! Fourier transforms of a few points, on vectors of as many columns.
//!
//! ```text
//! y[q] = sum over p  x[p] * exp(-2 pi i p q / R)
//! ```
//!
//! Odd lengths are split into the even and the odd part about the first point, which real factors suffice for.

use crate::simd::Lane;
use pulp::Simd;
use std::f64::consts::FRAC_1_SQRT_2;

/// Vectors of real and imaginary parts.
#[derive(Clone, Copy)]
pub(super) struct Complex<V> {
    pub re: V,
    pub im: V,
}

/// A transform of `R` points.
pub(super) trait Butterfly<const R: usize> {
    /// Transforms the points.
    fn apply<T: Lane, S: Simd>(simd: S, points: [Complex<T::Vector<S>>; R]) -> [Complex<T::Vector<S>>; R];
}

pub(super) struct Two;
pub(super) struct Three;
pub(super) struct Four;
pub(super) struct Five;
pub(super) struct Eight;

#[inline(always)]
fn add<T: Lane, S: Simd>(simd: S, a: Complex<T::Vector<S>>, b: Complex<T::Vector<S>>) -> Complex<T::Vector<S>> {
    Complex { re: T::add(simd, a.re, b.re), im: T::add(simd, a.im, b.im) }
}

#[inline(always)]
fn subtract<T: Lane, S: Simd>(simd: S, a: Complex<T::Vector<S>>, b: Complex<T::Vector<S>>) -> Complex<T::Vector<S>> {
    Complex { re: T::subtract(simd, a.re, b.re), im: T::subtract(simd, a.im, b.im) }
}

/// `a - i b`, and `a + i b`.
#[inline(always)]
fn turned<T: Lane, S: Simd>(simd: S, a: Complex<T::Vector<S>>, b: Complex<T::Vector<S>>) -> [Complex<T::Vector<S>>; 2] {
    [
        Complex { re: T::add(simd, a.re, b.im), im: T::subtract(simd, a.im, b.re) },
        Complex { re: T::subtract(simd, a.re, b.im), im: T::add(simd, a.im, b.re) },
    ]
}

/// `factor * a + b`.
#[inline(always)]
fn scaled_sum<T: Lane, S: Simd>(
    simd: S,
    factor: f64,
    a: Complex<T::Vector<S>>,
    b: Complex<T::Vector<S>>,
) -> Complex<T::Vector<S>> {
    let factor = T::splat(simd, T::constant(factor));
    Complex { re: T::mul_add(simd, factor, a.re, b.re), im: T::mul_add(simd, factor, a.im, b.im) }
}

/// `factor * a`.
#[inline(always)]
fn scaled<T: Lane, S: Simd>(simd: S, factor: f64, a: Complex<T::Vector<S>>) -> Complex<T::Vector<S>> {
    let factor = T::splat(simd, T::constant(factor));
    Complex { re: T::multiply(simd, factor, a.re), im: T::multiply(simd, factor, a.im) }
}

impl Butterfly<2> for Two {
    #[inline(always)]
    fn apply<T: Lane, S: Simd>(simd: S, [a, b]: [Complex<T::Vector<S>>; 2]) -> [Complex<T::Vector<S>>; 2] {
        [add::<T, S>(simd, a, b), subtract::<T, S>(simd, a, b)]
    }
}

/// The sine of a sixth of a turn.
const SINE_OF_SIXTH: f64 = 0.866_025_403_784_438_6;

impl Butterfly<3> for Three {
    #[inline(always)]
    fn apply<T: Lane, S: Simd>(simd: S, [a, b, c]: [Complex<T::Vector<S>>; 3]) -> [Complex<T::Vector<S>>; 3] {
        let even = add::<T, S>(simd, b, c);
        let odd = scaled::<T, S>(simd, SINE_OF_SIXTH, subtract::<T, S>(simd, b, c));
        let middle = scaled_sum::<T, S>(simd, -0.5, even, a);
        let [second, third] = turned::<T, S>(simd, middle, odd);
        [add::<T, S>(simd, a, even), second, third]
    }
}

impl Butterfly<4> for Four {
    #[inline(always)]
    fn apply<T: Lane, S: Simd>(simd: S, [a, b, c, d]: [Complex<T::Vector<S>>; 4]) -> [Complex<T::Vector<S>>; 4] {
        let [even, odd] = Two::apply::<T, S>(simd, [a, c]);
        let [other_even, other_odd] = Two::apply::<T, S>(simd, [b, d]);
        let [first, third] = Two::apply::<T, S>(simd, [even, other_even]);
        let [second, fourth] = turned::<T, S>(simd, odd, other_odd);
        [first, second, third, fourth]
    }
}

/// Cosines and sines of a fifth of a turn and of two.
const COSINES_OF_FIFTHS: [f64; 2] = [0.309_016_994_374_947_4, -0.809_016_994_374_947_5];
const SINES_OF_FIFTHS: [f64; 2] = [0.951_056_516_295_153_5, 0.587_785_252_292_473_1];

impl Butterfly<5> for Five {
    #[inline(always)]
    fn apply<T: Lane, S: Simd>(simd: S, [a, b, c, d, e]: [Complex<T::Vector<S>>; 5]) -> [Complex<T::Vector<S>>; 5] {
        let [near, far] = [add::<T, S>(simd, b, e), add::<T, S>(simd, c, d)];
        let [near_odd, far_odd] = [subtract::<T, S>(simd, b, e), subtract::<T, S>(simd, c, d)];
        let ([cosine, cosine2], [sine, sine2]) = (COSINES_OF_FIFTHS, SINES_OF_FIFTHS);
        let first = scaled_sum::<T, S>(simd, cosine2, far, scaled_sum::<T, S>(simd, cosine, near, a));
        let second = scaled_sum::<T, S>(simd, cosine, far, scaled_sum::<T, S>(simd, cosine2, near, a));
        let first_odd = scaled_sum::<T, S>(simd, sine2, far_odd, scaled::<T, S>(simd, sine, near_odd));
        let second_odd = scaled_sum::<T, S>(simd, -sine, far_odd, scaled::<T, S>(simd, sine2, near_odd));
        let [y1, y4] = turned::<T, S>(simd, first, first_odd);
        let [y2, y3] = turned::<T, S>(simd, second, second_odd);
        [add::<T, S>(simd, a, add::<T, S>(simd, near, far)), y1, y2, y3, y4]
    }
}

impl Butterfly<8> for Eight {
    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        [a, b, c, d, e, f, g, h]: [Complex<T::Vector<S>>; 8],
    ) -> [Complex<T::Vector<S>>; 8] {
        let [a0, a1, a2, a3] = Four::apply::<T, S>(simd, [a, c, e, g]);
        let [b0, b1, b2, b3] = Four::apply::<T, S>(simd, [b, d, f, h]);
        // By an eighth of a turn, and by three: (1 - i) / sqrt(2), and (-1 - i) / sqrt(2).
        let [difference, sum] = [T::subtract(simd, b1.im, b1.re), T::add(simd, b1.re, b1.im)];
        let b1 = scaled::<T, S>(simd, FRAC_1_SQRT_2, Complex { re: sum, im: difference });
        let [difference, sum] = [T::subtract(simd, b3.im, b3.re), T::add(simd, b3.re, b3.im)];
        let b3 = scaled::<T, S>(simd, FRAC_1_SQRT_2, Complex { re: difference, im: T::negate(simd, sum) });
        let [y0, y4] = Two::apply::<T, S>(simd, [a0, b0]);
        let [y1, y5] = Two::apply::<T, S>(simd, [a1, b1]);
        let [y2, y6] = turned::<T, S>(simd, a2, b2);
        let [y3, y7] = Two::apply::<T, S>(simd, [a3, b3]);
        [y0, y1, y2, y3, y4, y5, y6, y7]
    }
}
