//! Two backends on every problem, for users who hunt a wrong number in production.
//!
//! Both results lie within their bounds of the exact sum, so they lie within the sum of the bounds of each other:
//!
//! ```text
//! |first - second| <= u * (c1 * s1 + c2 * s2)        s: sum of the magnitudes of terms, or norms of channels
//! ```
//!
//! The magnitudes are the result of the operands without their signs, and the second backend computes it; where it sums nothing
//! but the terms, what it errs by is a small part of it. The [`norms`] are those that [`ErrorScale::Norms`] defines.

mod norms;
mod operands;

use crate::backend::{Backend, ErrorScale};
use crate::cost::Cost;
use crate::element::Element;
use crate::error::{Error, Unsupported};
use crate::op::Op;
use crate::problem::Problem;
use crate::shape::{ConvShape, saturating_product};
use crate::tensor::ViewMut;
use operands::{Operands, filled, into_result, positions5};

/// A backend that computes each problem twice and gives an error where the results disagree beyond their bounds; it takes more
/// than three times as long as both. A call of [`run`](Backend::run), which has no way to tell an error, is the first backend's
/// alone.
///
/// The second backend should be one whose errors scale with products, such as `im2col` or `naive`.
///
/// ```
/// use convgrad::{Backend, ConvShape, Update, Verify, View, ViewMut};
/// let checked = Verify::new(convgrad::by_name::<f32>("direct")?, convgrad::by_name("im2col")?);
/// let shape = ConvShape::conv2d(1, 1, [3, 3], 1, [2, 2]).build()?;
/// let (input, delta, mut gradient) = ([1.0; 9], [1.0; 4], [0.0; 4]);
/// checked.weight_gradient(
///     &shape,
///     View::nchw(&input, &shape.input_dims())?,
///     View::nchw(&delta, &shape.output_dims())?,
///     ViewMut::nchw(&mut gradient, &shape.weights_dims())?,
///     Update::overwrite(),
/// )?;
/// assert_eq!(gradient, [4.0; 4]);
/// # Ok::<(), convgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verify<A, B> {
    first: A,
    second: B,
}

impl<A, B> Verify<A, B> {
    /// Gives the results of `first` where `second` agrees.
    pub fn new(first: A, second: B) -> Verify<A, B> {
        Verify { first, second }
    }
}

impl<T: Element, A: Backend<T>, B: Backend<T>> Backend<T> for Verify<A, B> {
    fn name(&self) -> &'static str {
        "verify"
    }

    fn description(&self) -> String {
        format!("{}, checked by {}", self.first.name(), self.second.name())
    }

    fn supports(&self, op: Op, shape: &ConvShape) -> Result<(), Unsupported> {
        self.first.supports(op, shape)?;
        self.second.supports(op, shape)
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        self.first.scratch_len(op, shape).max(self.second.scratch_len(op, shape))
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let (first, second) = (self.first.cost(op, shape), self.second.cost(op, shape));
        // The second computes the magnitudes as well.
        Cost {
            flops: first.flops + 2.0 * second.flops,
            bytes: first.bytes + 2.0 * second.bytes,
            loops: first.loops + 2.0 * second.loops,
            tasks: first.tasks.min(second.tasks),
            kernel: "",
        }
    }

    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        self.first.error_bound(op, shape)
    }

    fn error_scale(&self, op: Op, shape: &ConvShape) -> ErrorScale {
        self.first.error_scale(op, shape)
    }

    fn typical_error(&self, op: Op, shape: &ConvShape) -> f64 {
        self.first.typical_error(op, shape)
    }

    fn is_reproducible(&self) -> bool {
        self.first.is_reproducible()
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        self.first.run(problem, scratch);
    }

    /// # Errors
    /// Besides those of the trait, [`Error::Disagreement`] and [`Error::OutOfMemory`] for the copies it takes; nothing is written
    /// then.
    fn execute(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) -> Result<(), Error> {
        let (op, shape) = (problem.op(), *problem.shape());
        Backend::<T>::supports(self, op, &shape)?;
        let needed = Backend::<T>::scratch_len(self, op, &shape);
        if scratch.len() < needed {
            return Err(Error::ScratchTooShort { given: scratch.len(), needed });
        }
        let operands = Operands::of(&problem);
        let sums = self.agreed(&operands, scratch)?;
        let (mut result, update) = into_result(problem);
        for (position, sum) in positions5(result.dims5()).zip(sums) {
            update.apply(result.at_mut(position), sum.to_acc());
        }
        Ok(())
    }

    fn execute_within(&self, problem: Problem<'_, T>, limit: usize) -> Result<(), Error> {
        let len = Backend::<T>::scratch_len(self, problem.op(), problem.shape());
        let needed = len.saturating_mul(size_of::<T::Acc>());
        if needed > limit {
            return Err(Error::ScratchLimit { backend: "verify", needed, limit });
        }
        self.execute(problem, &mut filled(len, T::Acc::default())?)
    }
}

impl<A, B> Verify<A, B> {
    /// The first backend's result, in the order of its dimensions, if the second's agrees.
    fn agreed<T: Element>(&self, operands: &Operands<'_, T>, scratch: &mut [T::Acc]) -> Result<Vec<T>, Error>
    where
        A: Backend<T>,
        B: Backend<T>,
    {
        let (op, shape) = (operands.op(), operands.shape);
        let dims = operands.result_dims();
        let mut compute = |backend: &dyn Backend<T>, operands: Operands<'_, T>| -> Result<Vec<T>, Error> {
            let mut result = filled(saturating_product(dims.iter().copied()), T::default())?;
            backend.execute(operands.problem(ViewMut::nchw(&mut result, &dims)?)?, scratch)?;
            Ok(result)
        };
        let first = compute(&self.first, *operands)?;
        let second = compute(&self.second, *operands)?;
        let magnitudes = operands.without_signs(|operands| compute(&self.second, operands))?;
        let norms = operands.norms()?;
        let bounds: [(f64, ErrorScale); 2] = [
            (self.first.error_bound(op, shape), self.first.error_scale(op, shape)),
            (self.second.error_bound(op, shape), self.second.error_scale(op, shape)),
        ];
        for (entry, ((a, b), magnitude)) in first.iter().zip(&second).zip(&magnitudes).enumerate() {
            let scale = |scale| match scale {
                ErrorScale::Products => magnitude.to_f64(),
                ErrorScale::Norms => norms[entry],
            };
            let allowed = T::UNIT_ROUNDOFF * bounds.map(|(bound, kind)| bound * scale(kind)).iter().sum::<f64>();
            let values = [a.to_f64(), b.to_f64()];
            let [a, b] = values;
            // What overflowed or is not a number cannot be compared, but should be the same kind in both.
            let agree =
                if a.is_finite() && b.is_finite() { (a - b).abs() <= allowed } else { a.is_finite() == b.is_finite() };
            if !agree {
                let backends = [self.first.name(), self.second.name()];
                return Err(Error::Disagreement { backends, entry, values, allowed });
            }
        }
        Ok(first)
    }
}
