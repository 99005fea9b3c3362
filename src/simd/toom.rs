//! The linear maps of Winograd's convolution along one axis, on vectors of channels.
//!
//! They come from a product of polynomials. To multiply two of them it is enough to know their values at as many points as
//! the product has coefficients: evaluate both, multiply value by value, interpolate (Toom and Cook; the point "infinity"
//! stands for the leading coefficient). Multiplying by a fixed polynomial `delta` is a linear map of the other one, `w`:
//!
//! ```text
//! c = V^-1 diag(V delta) V w           V row i = 1 p_i p_i^2 ..; at infinity 0 .. 0 1
//! ```
//!
//! and its transpose is a correlation, `y[k] = sum_j delta[j] * x[j + k]`:
//!
//! ```text
//! y = A^T ((G delta) * (B^T x))        G = V of as many columns as delta has numbers, A = V of as many as y, B = V^-1
//! ```
//!
//! The gradient of three taps is such a correlation in which *delta plays the kernel*: a tile of `r` outputs is moved over
//! `r + 2` inputs, and there are three sums. That takes `r + 2` points, so `r + 2` products where the definition needs
//! `3 r`: with `r` = 4 half as many along an axis, a quarter over two axes.
//!
//! Row `i` of `B^T` are the coefficients of the Lagrange polynomial of `p_i`, `N_i * prod_j (x - p_j)` over all other finite
//! points, with `N_i = 1 / prod_j (p_i - p_j)`. Here the `N_i` stand in `A` instead, which is applied once to each sum of
//! products and not to each tile: then all numbers in `B` and `G` are exact in `f32`, and values at 0 and infinity are
//! copies. Values at `p` and `-p` share their even and their odd part.

pub(crate) mod forward;

use super::Lane;
use pulp::Simd;

/// Most numbers a map is made of.
pub(crate) const COEFFICIENTS: usize = 8;

/// A linear map from `I` vectors to `O`.
pub(crate) trait Linear<const I: usize, const O: usize>: Copy + Send + Sync {
    /// The numbers it is made of.
    const COEFFICIENTS: [f64; COEFFICIENTS];

    /// Applies the map, given its coefficients in all lanes.
    fn apply<T: Lane, S: Simd>(
        simd: S,
        coefficients: &[T::Vector<S>; COEFFICIENTS],
        vectors: [T::Vector<S>; I],
    ) -> [T::Vector<S>; O];
}

/// Points of tiles of four outputs: 0, `±NEAR`, `±FAR` and infinity.
///
/// They halve the errors of 0, ±1, ±2: the norm that [`Four::AMPLIFICATION`] bounds is 8.34 instead of 17.5. A binary
/// fraction keeps the maps of both operands free of rounded coefficients.
const NEAR: f64 = 0.625;
const FAR: f64 = 1.5;

const NEAR2: f64 = NEAR * NEAR;
const FAR2: f64 = FAR * FAR;

/// Factors `N_i` of the points 0, `±NEAR`, `±FAR`.
const AT_ZERO: f64 = 1.0 / (NEAR2 * FAR2);
const AT_NEAR: f64 = 1.0 / (2.0 * NEAR2 * (NEAR2 - FAR2));
const AT_FAR: f64 = 1.0 / (2.0 * FAR2 * (FAR2 - NEAR2));

/// `B^T` for tiles of four outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputOfFour;

impl Linear<6, 6> for InputOfFour {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [NEAR2 * FAR2, -(NEAR2 + FAR2), -NEAR2, -FAR2, NEAR, -NEAR, FAR, -FAR];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        coefficients: &[T::Vector<S>; COEFFICIENTS],
        [d0, d1, d2, d3, d4, d5]: [T::Vector<S>; 6],
    ) -> [T::Vector<S>; 6] {
        let [product, sum, near2, far2, near, minus_near, far, minus_far] = *coefficients;
        let add = |a, b, c| T::mul_add(simd, a, b, c);
        let [near_even, near_odd] = [add(far2, d2, d4), add(far2, d1, d3)];
        let [far_even, far_odd] = [add(near2, d2, d4), add(near2, d1, d3)];
        [
            add(product, d0, add(sum, d2, d4)),
            add(near, near_odd, near_even),
            add(minus_near, near_odd, near_even),
            add(far, far_odd, far_even),
            add(minus_far, far_odd, far_even),
            add(product, d1, add(sum, d3, d5)),
        ]
    }
}

/// `G` for tiles of four outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeltaOfFour;

impl Linear<4, 6> for DeltaOfFour {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [NEAR2, FAR2, NEAR, -NEAR, FAR, -FAR, 0.0, 0.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        coefficients: &[T::Vector<S>; COEFFICIENTS],
        [d0, d1, d2, d3]: [T::Vector<S>; 4],
    ) -> [T::Vector<S>; 6] {
        let [near2, far2, near, minus_near, far, minus_far, ..] = *coefficients;
        let add = |a, b, c| T::mul_add(simd, a, b, c);
        let [near_even, near_odd] = [add(near2, d2, d0), add(near2, d3, d1)];
        let [far_even, far_odd] = [add(far2, d2, d0), add(far2, d3, d1)];
        [
            d0,
            add(near, near_odd, near_even),
            add(minus_near, near_odd, near_even),
            add(far, far_odd, far_even),
            add(minus_far, far_odd, far_even),
            d3,
        ]
    }
}

/// `A^T` with the factors `N_i`, for tiles of four outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GradientOfFour;

impl Linear<6, 3> for GradientOfFour {
    const COEFFICIENTS: [f64; COEFFICIENTS] =
        [AT_ZERO, AT_NEAR, AT_FAR, AT_NEAR * NEAR, AT_FAR * FAR, AT_NEAR * NEAR2, AT_FAR * FAR2, -1.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        coefficients: &[T::Vector<S>; COEFFICIENTS],
        [m0, m1, m2, m3, m4, m5]: [T::Vector<S>; 6],
    ) -> [T::Vector<S>; 3] {
        let [zero, near, far, near_1, far_1, near_2, far_2, minus_one] = *coefficients;
        let add = |a, b, c| T::mul_add(simd, a, b, c);
        let nothing = T::splat(simd, T::default());
        let [near_sum, far_sum] = [T::add(simd, m1, m2), T::add(simd, m3, m4)];
        let [near_difference, far_difference] = [add(minus_one, m2, m1), add(minus_one, m4, m3)];
        [
            add(near, near_sum, add(far, far_sum, add(zero, m0, nothing))),
            add(near_1, near_difference, add(far_1, far_difference, nothing)),
            add(near_2, near_sum, add(far_2, far_sum, m5)),
        ]
    }
}

/// `B^T` for tiles of two outputs, at the points 0, ±1 and infinity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputOfTwo;

impl Linear<4, 4> for InputOfTwo {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        [minus_one, ..]: &[T::Vector<S>; COEFFICIENTS],
        [d0, d1, d2, d3]: [T::Vector<S>; 4],
    ) -> [T::Vector<S>; 4] {
        let subtract = |a, b| T::mul_add(simd, *minus_one, b, a);
        [subtract(d2, d0), T::add(simd, d1, d2), subtract(d2, d1), subtract(d3, d1)]
    }
}

/// `G` for tiles of two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeltaOfTwo;

impl Linear<2, 4> for DeltaOfTwo {
    const COEFFICIENTS: [f64; COEFFICIENTS] = InputOfTwo::COEFFICIENTS;

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        [minus_one, ..]: &[T::Vector<S>; COEFFICIENTS],
        [d0, d1]: [T::Vector<S>; 2],
    ) -> [T::Vector<S>; 4] {
        [d0, T::add(simd, d0, d1), T::mul_add(simd, *minus_one, d1, d0), d1]
    }
}

/// `A^T` with the factors `N_i`, which are -1, 1/2, 1/2 and 1, for tiles of two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GradientOfTwo;

impl Linear<4, 3> for GradientOfTwo {
    const COEFFICIENTS: [f64; COEFFICIENTS] = [-1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];

    #[inline(always)]
    fn apply<T: Lane, S: Simd>(
        simd: S,
        [minus_one, half, ..]: &[T::Vector<S>; COEFFICIENTS],
        [m0, m1, m2, m3]: [T::Vector<S>; 4],
    ) -> [T::Vector<S>; 3] {
        let nothing = T::splat(simd, T::default());
        let sum = T::mul_add(simd, *half, T::add(simd, m1, m2), nothing);
        let difference = T::mul_add(simd, *half, T::mul_add(simd, *minus_one, m2, m1), nothing);
        [T::mul_add(simd, *minus_one, m0, sum), difference, T::add(simd, sum, m3)]
    }
}

/// What is common to the maps of a tile size.
pub(crate) trait Scheme {
    /// Outputs of a tile along an axis.
    const OUTPUTS: usize;

    /// Points, and inputs of a tile, along an axis.
    const POINTS: usize = Self::OUTPUTS + 2;

    /// Bounds the 2-norm of `|G|^T diag(|A^T| row k) |B^T|` for each `k`: how much larger than the error of an inner
    /// product that of a tile's sum may be, along one axis.
    const AMPLIFICATION: f64;

    /// The same of the forward pass.
    const FORWARD_AMPLIFICATION: f64;
}

/// Tiles of four outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Four;

impl Scheme for Four {
    const OUTPUTS: usize = 4;
    const AMPLIFICATION: f64 = 8.34;
    const FORWARD_AMPLIFICATION: f64 = 8.1;
}

/// Tiles of two outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Two;

impl Scheme for Two {
    const OUTPUTS: usize = 2;
    const AMPLIFICATION: f64 = 2.76;
    const FORWARD_AMPLIFICATION: f64 = 3.06;
}

#[cfg(test)]
mod tests;
