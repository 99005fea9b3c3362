//! What the tests judge by: layers in any memory order, the reference run in `f64`, and the bound a result must keep.
//!
//! Nothing here has a tolerance of its own. A result is compared to the last bit, or with the bound its backend
//! declares, entry by entry, in units of what that entry's own terms can make of rounding.

#![allow(dead_code, unused_imports, reason = "every test binary compiles this folder and uses its own part of it")]

mod layer;
mod operand;
mod random;
pub mod shapes;

pub use layer::{Layer, OPS, Truth, result_dims};
pub use operand::{Arrangement, Operand};
pub use random::Random;

use convgrad::{Auto, Backend, ConvShape, ErrorScale, Isa, Op, Registered};

/// Every backend of the registry on every instruction set of this processor, those that do not depend on the set once; and the
/// chooser among them.
///
/// A backend that uses the set says so in its description, which `agreement.rs` proves.
pub fn every_backend<T: Registered>() -> Vec<Box<dyn Backend<T>>> {
    let mut all: Vec<Box<dyn Backend<T>>> = Vec::new();
    for isa in Isa::available() {
        for backend in convgrad::backends_on::<T>(isa) {
            if all.iter().all(|b| (b.name(), b.description()) != (backend.name(), backend.description())) {
                all.push(backend);
            }
        }
    }
    all.push(Box::new(Auto::<T>::new()));
    all
}

/// Those of [`every_backend`] that compute an operation for a shape.
pub fn able_backends<T: Registered>(op: Op, shape: &ConvShape) -> impl Iterator<Item = Box<dyn Backend<T>>> + use<T> {
    let shape = *shape;
    every_backend::<T>().into_iter().filter(move |backend| backend.supports(op, &shape).is_ok())
}

/// Those of [`able_backends`] whose results of small whole numbers are exact, as [`ErrorScale::Products`] says.
pub fn exact_backends<T: Registered>(op: Op, shape: &ConvShape) -> impl Iterator<Item = Box<dyn Backend<T>>> + use<T> {
    let shape = *shape;
    able_backends::<T>(op, &shape).filter(move |backend| backend.error_scale(op, &shape) == ErrorScale::Products)
}
