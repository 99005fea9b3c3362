//! The number types of operands, and the type their products are summed in.

use crate::gemm::Gemm;
use crate::simd::Lane;
use std::fmt::{Debug, Display};
use std::ops::{Add, Mul};

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A type of operand elements: `f32` or `f64`.
///
/// Sums are formed in [`Acc`](Element::Acc), which is also the type of scratch, so that narrower types can join.
pub trait Element: private::Sealed + Copy + Default + PartialEq + Debug + Display + Send + Sync + 'static {
    /// The type products are summed in.
    type Acc: Element<Acc = Self::Acc> + Lane + Gemm + Add<Output = Self::Acc> + Mul<Output = Self::Acc>;

    /// The type's name, as in `f32`.
    const NAME: &'static str;

    /// `u`: half the distance from 1 to the next number, so that rounding errs by at most `u` relative.
    const UNIT_ROUNDOFF: f64;

    /// The value in the accumulator's type, exactly.
    fn to_acc(self) -> Self::Acc;

    /// The same slice as sums, where the type is the one its products are summed in.
    fn as_acc(slice: &[Self]) -> Option<&[Self::Acc]>;

    /// The nearest value to a sum.
    fn from_acc(sum: Self::Acc) -> Self;

    /// Writes the nearest value to each of as many sums.
    ///
    /// # Panics
    /// When the slices differ in length.
    fn round(sums: &[Self::Acc], values: &mut [Self]);

    /// The value as `f64`, exactly.
    fn to_f64(self) -> f64;

    /// The nearest value to an `f64`.
    fn from_f64(value: f64) -> Self;
}

macro_rules! float {
    ($t:ty, $name:literal, $roundoff:expr) => {
        impl Element for $t {
            type Acc = $t;
            const NAME: &'static str = $name;
            const UNIT_ROUNDOFF: f64 = $roundoff;

            #[inline(always)]
            fn to_acc(self) -> $t {
                self
            }

            #[inline(always)]
            fn as_acc(slice: &[$t]) -> Option<&[$t]> {
                Some(slice)
            }

            #[inline(always)]
            fn from_acc(sum: $t) -> $t {
                sum
            }

            #[inline(always)]
            fn round(sums: &[$t], values: &mut [$t]) {
                values.copy_from_slice(sums);
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn from_f64(value: f64) -> $t {
                value as $t
            }
        }
    };
}

float!(f32, "f32", f32::EPSILON as f64 / 2.0);
float!(f64, "f64", f64::EPSILON / 2.0);
