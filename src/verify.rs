//! Two backends on every problem, for users who hunt a wrong number in production.
//!
//! Both results lie within their bounds of the exact sum, so they lie within the sum of the bounds of each other:
//!
//! ```text
//! |first - second| <= u * (c1 * s1 + c2 * s2)        s: sum of the magnitudes of terms, or norms of channels
//! ```
//!
//! The magnitudes are a gradient themselves, that of the operands without their signs, and the second backend computes it; where
//! it sums nothing but the terms, what it errs by is a small part of it.

use crate::backend::{Backend, Cost, ErrorScale};
use crate::element::Element;
use crate::error::{Error, Unsupported};
use crate::op::Op;
use crate::problem::{Problem, Update, WeightGradient};
use crate::shape::{ConvShape, positions, saturating_product};
use crate::tensor::{Layout, View, ViewMut};

/// A backend that computes each weight gradient twice and gives an error where the results disagree beyond their bounds; it takes
/// more than three times as long as both. Other operations are the first backend's alone, and so is a call of
/// [`run`](Backend::run), which has no way to tell an error.
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
        if op == Op::WeightGradient { self.second.supports(op, shape) } else { Ok(()) }
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        let first = self.first.scratch_len(op, shape);
        if op == Op::WeightGradient { first.max(self.second.scratch_len(op, shape)) } else { first }
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let first = self.first.cost(op, shape);
        if op != Op::WeightGradient {
            return first;
        }
        let second = self.second.cost(op, shape);
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
        match problem {
            Problem::WeightGradient(problem) => self.weight_gradient_twice(problem, scratch),
            other => self.first.execute(other, scratch),
        }
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
    fn weight_gradient_twice<T: Element>(
        &self,
        problem: WeightGradient<'_, T>,
        scratch: &mut [T::Acc],
    ) -> Result<(), Error>
    where
        A: Backend<T>,
        B: Backend<T>,
    {
        let WeightGradient { shape, input, delta, mut gradient, update } = problem;
        let dims = shape.weights_dims();
        let mut compute = |backend: &dyn Backend<T>, input: View<'_, T>, delta: View<'_, T>| -> Result<Vec<T>, Error> {
            let mut result = filled(shape.weights_len(), T::default())?;
            let view = ViewMut::nchw(&mut result, &dims)?;
            let problem = WeightGradient::new(shape, input, delta, view, Update::overwrite())?;
            backend.execute(Problem::WeightGradient(problem), scratch)?;
            Ok(result)
        };
        let first = compute(&self.first, input, delta)?;
        let second = compute(&self.second, input, delta)?;
        let [input_dims, delta_dims] = [shape.input_dims(), shape.output_dims()];
        let [input_magnitudes, delta_magnitudes] = [magnitudes(&input)?, magnitudes(&delta)?];
        let input_magnitudes = View::new(&input_magnitudes, &input_dims, Layout::Nchw)?;
        let delta_magnitudes = View::new(&delta_magnitudes, &delta_dims, Layout::Nchw)?;
        let products = compute(&self.second, input_magnitudes, delta_magnitudes)?;
        let [input_norms, delta_norms] = [norms(&input), norms(&delta)];
        let op = Op::WeightGradient;
        let bounds: [(f64, ErrorScale); 2] = [
            (self.first.error_bound(op, shape), self.first.error_scale(op, shape)),
            (self.second.error_bound(op, shape), self.second.error_scale(op, shape)),
        ];
        let of_entry = shape.group_in_channels() * shape.taps();
        for (index, ((a, b), magnitude)) in first.iter().zip(&second).zip(&products).enumerate() {
            let (oc, ic) = (index / of_entry, index % of_entry / shape.taps());
            let channel = oc / shape.group_out_channels() * shape.group_in_channels() + ic;
            let scale = |scale| match scale {
                ErrorScale::Products => magnitude.to_f64(),
                ErrorScale::Norms => delta_norms[oc] * input_norms[channel],
            };
            let allowed = T::UNIT_ROUNDOFF * bounds.map(|(bound, kind)| bound * scale(kind)).iter().sum::<f64>();
            let [a, b] = [a.to_f64(), b.to_f64()];
            // What overflowed or is not a number cannot be compared, but should be the same kind in both.
            let agree =
                if a.is_finite() && b.is_finite() { (a - b).abs() <= allowed } else { a.is_finite() == b.is_finite() };
            if !agree {
                let names = [self.first.name(), self.second.name()];
                return Err(Error::Disagreement { backends: names, entry: index, values: [a, b], allowed });
            }
        }
        for (position, sum) in positions5(gradient.dims5()).zip(first) {
            update.apply(gradient.at_mut(position), sum.to_acc());
        }
        Ok(())
    }
}

/// All positions of a view, the last dimension fastest.
fn positions5([a, b, depth, height, width]: [usize; 5]) -> impl Iterator<Item = [usize; 5]> {
    let spatial = move |a, b| positions([0..depth, 0..height, 0..width]).map(move |[d, h, w]| [a, b, d, h, w]);
    (0..a).flat_map(move |a| (0..b).flat_map(move |b| spatial(a, b)))
}

/// The elements without their signs, in the order of their dimensions.
fn magnitudes<T: Element>(view: &View<'_, T>) -> Result<Vec<T>, Error> {
    let mut magnitudes = filled(saturating_product(view.dims5()), T::default())?;
    for (magnitude, position) in magnitudes.iter_mut().zip(positions5(view.dims5())) {
        *magnitude = T::from_f64(view.at(position).to_f64().abs());
    }
    Ok(magnitudes)
}

/// The Euclidean norm of each channel.
fn norms<T: Element>(view: &View<'_, T>) -> Vec<f64> {
    let mut squares = vec![0.0; view.dims5()[1]];
    for position in positions5(view.dims5()) {
        squares[position[1]] += view.at(position).to_f64().powi(2);
    }
    squares.into_iter().map(f64::sqrt).collect()
}

fn filled<V: Copy>(len: usize, value: V) -> Result<Vec<V>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes: len.saturating_mul(size_of::<V>()) })?;
    values.resize(len, value);
    Ok(values)
}
