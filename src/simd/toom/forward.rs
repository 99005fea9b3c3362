//! The maps of the forward pass: a kernel of three taps moved over a tile of `r + 2` inputs gives `r` outputs.
//!
//! ```text
//! x = A^T ((G w) * (B^T i))            G = V of three columns, A = V of as many as there are outputs, B = V^-1
//! ```
//!
//! The points are those of the weight gradient, and so `B^T` is its. Results of the one sum are the kernel of the other: these
//! `G` and `A` are that pass's `A` and `G`. Mapped least often are here the weights, once for all tiles, and the factors `N_i`
//! stand with them again: the numbers of `A` and `B` are exact.

use super::{AT_FAR, AT_NEAR, AT_ZERO, COEFFICIENTS, FAR, FAR2, Lane, Linear, NEAR, NEAR2};
use pulp::Simd;

/// `G` with the factors `N_i`, for tiles of four outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightsOfFour;

impl Linear<3, 6> for WeightsOfFour {
    const COEFFICIENTS: [f64; COEFFICIENTS] =
        [AT_ZERO, AT_NEAR, AT_NEAR * NEAR, AT_NEAR * NEAR2, AT_FAR, AT_FAR * FAR, AT_FAR * FAR2, 0.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        coefficients: &[T::Vector<S>; COEFFICIENTS],
        [w0, w1, w2]: [T::Vector<S>; 3],
    ) -> [T::Vector<S>; 6] {
        let [zero, near, near_1, near_2, far, far_1, far_2, _] = *coefficients;
        let even = |a, b| T::mul_add(simd, a, w0, T::multiply(simd, b, w2));
        let [near_even, near_odd] = [even(near, near_2), T::multiply(simd, near_1, w1)];
        let [far_even, far_odd] = [even(far, far_2), T::multiply(simd, far_1, w1)];
        [
            T::multiply(simd, zero, w0),
            T::add(simd, near_even, near_odd),
            T::subtract(simd, near_even, near_odd),
            T::add(simd, far_even, far_odd),
            T::subtract(simd, far_even, far_odd),
            w2,
        ]
    }
}

/// `A^T` for tiles of four outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputOfFour;

impl Linear<6, 4> for OutputOfFour {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [NEAR, FAR, NEAR2, FAR2, NEAR * NEAR2, FAR * FAR2, 0.0, 0.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        coefficients: &[T::Vector<S>; COEFFICIENTS],
        [m0, m1, m2, m3, m4, m5]: [T::Vector<S>; 6],
    ) -> [T::Vector<S>; 4] {
        let [near, far, near2, far2, near3, far3, ..] = *coefficients;
        let [near_even, far_even] = [T::add(simd, m1, m2), T::add(simd, m3, m4)];
        let [near_odd, far_odd] = [T::subtract(simd, m1, m2), T::subtract(simd, m3, m4)];
        [
            T::add(simd, m0, T::add(simd, near_even, far_even)),
            T::mul_add(simd, near, near_odd, T::multiply(simd, far, far_odd)),
            T::mul_add(simd, near2, near_even, T::multiply(simd, far2, far_even)),
            T::mul_add(simd, near3, near_odd, T::mul_add(simd, far3, far_odd, m5)),
        ]
    }
}

/// `G` with the factors `N_i`, which are -1, 1/2, 1/2 and 1, for tiles of two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WeightsOfTwo;

impl Linear<3, 4> for WeightsOfTwo {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        [half, ..]: &[T::Vector<S>; COEFFICIENTS],
        [w0, w1, w2]: [T::Vector<S>; 3],
    ) -> [T::Vector<S>; 4] {
        let even = T::multiply(simd, *half, T::add(simd, w0, w2));
        let odd = T::multiply(simd, *half, w1);
        [T::negate(simd, w0), T::add(simd, even, odd), T::subtract(simd, even, odd), w2]
    }
}

/// `A^T` for tiles of two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputOfTwo;

impl Linear<4, 2> for OutputOfTwo {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [0.0; COEFFICIENTS];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        _: &[T::Vector<S>; COEFFICIENTS],
        [m0, m1, m2, m3]: [T::Vector<S>; 4],
    ) -> [T::Vector<S>; 2] {
        [T::add(simd, m0, T::add(simd, m1, m2)), T::add(simd, T::subtract(simd, m1, m2), m3)]
    }
}
