//! The trait every way of computing the sum stands behind.
//!
//! A backend says what it supports, how much scratch it wants, what a problem costs it and how exact it is; the
//! provided methods check the caller's operands once and hand them over as a [`Problem`]. Implementations never see an
//! unchecked operand, and callers never see an unchecked failure.

pub(crate) mod direct;
pub(crate) mod fft;
pub(crate) mod im2col;
pub(crate) mod naive;
pub(crate) mod winograd;

use crate::backward::{Backward, Gradients};
use crate::cost::Cost;
use crate::element::Element;
use crate::error::{Error, Unsupported};
use crate::op::Op;
use crate::problem::{BiasGradient, Forward, InputGradient, Problem, Update, WeightGradient};
use crate::shape::ConvShape;
use crate::tensor::{View, ViewMut};

/// What the error of an entry is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorScale {
    /// The sum of the magnitudes of its terms, `sum |a_i * b_i|`.
    ///
    /// The backend sums those terms and nothing else. So whole numbers come out exact where no sum of them is too large to
    /// be exact.
    Products,
    /// Euclidean norms of operands.
    ///
    /// - Of a weight's gradient `|delta[oc]| * |input[ic]|`: those, over batch and positions, of the two channels whose weight
    ///   it is.
    /// - Of an output `|w[oc]| * |input near it| + |b[oc]|`: that of its channel's weights by that of the inputs, in all channels
    ///   of the group, which it reads or which are at most three positions, along each axis, from one it reads.
    /// - Of an input's gradient `|w[ic]| * |delta near it|`: in the same way, delta where outputs read it, or an input at most
    ///   three positions, along each axis, from it.
    ///
    /// The backend multiplies sums of operands, in which terms of other entries cancel, up to rounding. An entry may be off
    /// by a little though all its own terms are zero, and whole numbers do not in general come out exact.
    Norms,
}

/// The root mean square error of a plain loop over `n` products is this times `sqrt(n)`, in units of roundoff times the root
/// mean square of the sum: 0.30 measured at 392, 1568 and 25088 terms drawn uniformly from -1 to 1.
pub(crate) const RANDOM_WALK: f64 = 0.3;

/// One way of computing the passes of a convolution layer; see the [crate] for how to hold and call one.
///
/// To write one, implement the required methods and add a line to the registry. `run` must give the same bits whatever
/// the number of threads of the rayon pool it is called in.
pub trait Backend<T: Element>: Send + Sync {
    /// The name by which users choose this backend.
    fn name(&self) -> &'static str;

    /// One line on how it computes, with the instruction set it uses here.
    fn description(&self) -> String;

    /// Whether it computes `op` for `shape`.
    ///
    /// # Errors
    /// [`Unsupported`], with a reason and what to do instead.
    fn supports(&self, op: Op, shape: &ConvShape) -> Result<(), Unsupported>;

    /// Elements of scratch [`run`](Self::run) needs; depends on nothing but the arguments.
    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize;

    /// What the problem costs this backend.
    fn cost(&self, op: Op, shape: &ConvShape) -> Cost;

    /// The constant `c` of this backend's error bound.
    ///
    /// For overwriting updates of scale 1, every entry of the result lies within `c * u * s` of the exact sum
    /// `sum a_i * b_i` it stands for: `u` is [`Element::UNIT_ROUNDOFF`] and `s` the [scale](Self::error_scale), for most
    /// backends `sum |a_i * b_i|`. It is assumed that nothing overflows or underflows on the way.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64;

    /// What the [error bound](Self::error_bound) is multiplied with.
    fn error_scale(&self, _op: Op, _shape: &ConvShape) -> ErrorScale {
        ErrorScale::Products
    }

    /// The error to expect of an entry, where the [bound](Self::error_bound) is what it cannot exceed: in the root mean square,
    /// in units of roundoff times the root mean square of the gradient, for operands that are independent random numbers of
    /// mean zero.
    ///
    /// A sum of `n` such products passes through partial sums that grow like `sqrt(k)`, each rounded by some fraction of `u`:
    /// their errors add up to `0.3 * sqrt(n)`. By default that is what it is, for the bound as the length of the
    /// sum; a backend whose errors scale with norms must tell its own, and is else taken to reach its bound.
    fn typical_error(&self, op: Op, shape: &ConvShape) -> f64 {
        let bound = self.error_bound(op, shape);
        match self.error_scale(op, shape) {
            ErrorScale::Products => RANDOM_WALK * bound.sqrt(),
            ErrorScale::Norms => bound,
        }
    }

    /// Whether the same call gives the same bits on every processor, and not just on those of this instruction set.
    fn is_reproducible(&self) -> bool {
        false
    }

    /// How it would go about a problem, in one line for people; nothing where the [description](Self::description) says
    /// it all.
    fn plan(&self, _op: Op, _shape: &ConvShape) -> Option<String> {
        None
    }

    /// Whether its weight gradient of a shape takes the bias gradient along, because it reads delta anyway.
    ///
    /// Only then does [`run`](Self::run) get weight gradients from which it must [take](WeightGradient::take_bias) where the
    /// bias gradient goes. What it writes there lies within the larger of the two [bounds](Self::error_bound).
    fn fuses_bias(&self, _shape: &ConvShape) -> bool {
        false
    }

    /// Computes a problem this backend [supports](Self::supports), with at least
    /// [`scratch_len`](Self::scratch_len) elements of scratch, whose content is arbitrary before and after.
    ///
    /// # Panics
    /// May panic when called against these conditions; [`execute`](Self::execute) checks them.
    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]);

    /// Computes a problem with the caller's scratch. On one thread nothing is allocated then, but for the packing buffer
    /// that matrixmultiply takes for `im2col` and returns: at most `256 * (64 + 1024)` elements.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::ScratchTooShort`]; nothing is written then.
    fn execute(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) -> Result<(), Error> {
        self.supports(problem.op(), problem.shape())?;
        let needed = self.scratch_len(problem.op(), problem.shape());
        if scratch.len() < needed {
            return Err(Error::ScratchTooShort { given: scratch.len(), needed });
        }
        self.run(problem, scratch);
        Ok(())
    }

    /// Computes a problem with scratch allocated for this call, unless that takes more than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Unsupported`], [`Error::ScratchLimit`] or [`Error::OutOfMemory`]; nothing is written then.
    fn execute_within(&self, problem: Problem<'_, T>, limit: usize) -> Result<(), Error> {
        self.supports(problem.op(), problem.shape())?;
        let len = self.scratch_len(problem.op(), problem.shape());
        let bytes = len.saturating_mul(size_of::<T::Acc>());
        if bytes > limit {
            return Err(Error::ScratchLimit { backend: self.name(), needed: bytes, limit });
        }
        self.run(problem, &mut allocate::<T>(len)?);
        Ok(())
    }

    /// `gradient = scale * dE/dw`, or `+=`: the gradient of the layer's error with respect to its weights.
    ///
    /// Dimensions are [`ConvShape::input_dims`], [`ConvShape::output_dims`] for `delta = dE/dx`, and
    /// [`ConvShape::weights_dims`]. Scratch is allocated for this call; [`execute`](Self::execute) takes the caller's.
    ///
    /// # Errors
    /// [`Error::Dims`] and those of [`execute_within`](Self::execute_within); nothing is written then.
    fn weight_gradient(
        &self,
        shape: &ConvShape,
        input: View<'_, T>,
        delta: View<'_, T>,
        gradient: ViewMut<'_, T>,
        update: Update<T>,
    ) -> Result<(), Error> {
        let problem = WeightGradient::new(shape, input, delta, gradient, update)?;
        self.execute_within(Problem::WeightGradient(problem), usize::MAX)
    }

    /// `gradient = scale * dE/db`, or `+=`: delta summed over batch and positions, one value per output channel.
    ///
    /// # Errors
    /// As [`weight_gradient`](Self::weight_gradient).
    fn bias_gradient(
        &self,
        shape: &ConvShape,
        delta: View<'_, T>,
        gradient: ViewMut<'_, T>,
        update: Update<T>,
    ) -> Result<(), Error> {
        let problem = BiasGradient::new(shape, delta, gradient, update)?;
        self.execute_within(Problem::BiasGradient(problem), usize::MAX)
    }

    /// `output = weights * input + bias`: the layer itself.
    ///
    /// # Errors
    /// As [`weight_gradient`](Self::weight_gradient), and [`Error::Length`] for the bias.
    fn forward(
        &self,
        shape: &ConvShape,
        input: View<'_, T>,
        weights: View<'_, T>,
        bias: Option<&[T]>,
        output: ViewMut<'_, T>,
    ) -> Result<(), Error> {
        let problem = Forward::new(shape, input, weights, bias, output)?;
        self.execute_within(Problem::Forward(problem), usize::MAX)
    }

    /// `gradient = scale * dE/do`, or `+=`: the gradient of the error with respect to the layer's input, which is the error that
    /// arrives at the layer before.
    ///
    /// Dimensions are [`ConvShape::weights_dims`], [`ConvShape::output_dims`] for `delta`, [`ConvShape::input_dims`].
    ///
    /// # Errors
    /// As [`weight_gradient`](Self::weight_gradient).
    fn input_gradient(
        &self,
        shape: &ConvShape,
        weights: View<'_, T>,
        delta: View<'_, T>,
        gradient: ViewMut<'_, T>,
        update: Update<T>,
    ) -> Result<(), Error> {
        let problem = InputGradient::new(shape, weights, delta, gradient, update)?;
        self.execute_within(Problem::InputGradient(problem), usize::MAX)
    }

    /// Computes the gradients of a layer's weights, bias and input, or those of them that are wanted, with the caller's scratch;
    /// [`backward_scratch_len`](Self::backward_scratch_len) tells how much.
    ///
    /// # Errors
    /// [`Error::Unsupported`] or [`Error::ScratchTooShort`]; nothing is written then.
    fn execute_backward(&self, problem: Backward<'_, T>, scratch: &mut [T::Acc]) -> Result<(), Error> {
        let mut needed = 0;
        for (op, shape) in problem.passes() {
            self.supports(op, shape)?;
            needed = needed.max(self.scratch_len(op, shape));
        }
        if scratch.len() < needed {
            return Err(Error::ScratchTooShort { given: scratch.len(), needed });
        }
        let fuses = problem.shape().is_some_and(|shape| self.fuses_bias(shape));
        let problem = if fuses { problem.fused() } else { problem };
        problem.into_problems().try_for_each(|problem| self.execute(problem, scratch))
    }

    /// Elements of scratch that [`execute_backward`](Self::execute_backward) needs for all the gradients of a layer that this
    /// backend computes.
    fn backward_scratch_len(&self, shape: &ConvShape) -> usize {
        let gradients = [Op::WeightGradient, Op::BiasGradient, Op::InputGradient];
        let computed = gradients.into_iter().filter(|&op| self.supports(op, shape).is_ok());
        computed.map(|op| self.scratch_len(op, shape)).max().unwrap_or(0)
    }

    /// The gradients of a layer's weights, bias and input from its input, its weights and `delta = dE/dx`, or those of them that
    /// are wanted. Scratch is allocated for this call.
    ///
    /// # Errors
    /// [`Error::Dims`], [`Error::Unsupported`] and [`Error::OutOfMemory`]; nothing is written then.
    ///
    /// ```
    /// use convgrad::{Backend, ConvShape, Gradients, View, ViewMut};
    ///
    /// let shape = ConvShape::conv1d(1, 1, 3, 1, 2).build()?;
    /// let (input, weights, delta) = ([1.0, 2.0, 3.0], [10.0, 20.0], [1.0, -1.0]);
    /// let (mut dw, mut db, mut dx) = ([0.0; 2], [0.0; 1], [0.0; 3]);
    /// let gradients = Gradients {
    ///     weights: Some(ViewMut::nchw(&mut dw, &shape.weights_dims())?),
    ///     bias: Some(ViewMut::nchw(&mut db, &[1])?),
    ///     // `None` for the first layer of a network.
    ///     input: Some(ViewMut::nchw(&mut dx, &shape.input_dims())?),
    ///     ..Gradients::default()
    /// };
    /// convgrad::by_name::<f64>("im2col")?.backward(
    ///     &shape,
    ///     View::nchw(&input, &shape.input_dims())?,
    ///     View::nchw(&weights, &shape.weights_dims())?,
    ///     View::nchw(&delta, &shape.output_dims())?,
    ///     gradients,
    /// )?;
    /// assert_eq!((dw, db, dx), ([-1.0, -1.0], [0.0], [10.0, 10.0, -20.0]));
    /// # Ok::<(), convgrad::Error>(())
    /// ```
    fn backward(
        &self,
        shape: &ConvShape,
        input: View<'_, T>,
        weights: View<'_, T>,
        delta: View<'_, T>,
        gradients: Gradients<'_, T>,
    ) -> Result<(), Error> {
        let problem = Backward::new(shape, input, weights, delta, gradients)?;
        for (op, shape) in problem.passes() {
            self.supports(op, shape)?;
        }
        let len = problem.passes().map(|(op, shape)| self.scratch_len(op, shape)).max().unwrap_or(0);
        let mut scratch = allocate::<T>(len)?;
        self.execute_backward(problem, &mut scratch)
    }
}

/// Scratch, or an error where the allocator has not as much.
fn allocate<T: Element>(len: usize) -> Result<Vec<T::Acc>, Error> {
    let mut scratch = Vec::new();
    let bytes = len.saturating_mul(size_of::<T::Acc>());
    scratch.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes })?;
    scratch.resize(len, T::Acc::default());
    Ok(scratch)
}

/// A backend behind a box is one.
impl<T: Element> Backend<T> for Box<dyn Backend<T>> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    fn description(&self) -> String {
        (**self).description()
    }

    fn supports(&self, op: Op, shape: &ConvShape) -> Result<(), Unsupported> {
        (**self).supports(op, shape)
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        (**self).scratch_len(op, shape)
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        (**self).cost(op, shape)
    }

    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        (**self).error_bound(op, shape)
    }

    fn error_scale(&self, op: Op, shape: &ConvShape) -> ErrorScale {
        (**self).error_scale(op, shape)
    }

    fn typical_error(&self, op: Op, shape: &ConvShape) -> f64 {
        (**self).typical_error(op, shape)
    }

    fn is_reproducible(&self) -> bool {
        (**self).is_reproducible()
    }

    fn plan(&self, op: Op, shape: &ConvShape) -> Option<String> {
        (**self).plan(op, shape)
    }

    fn fuses_bias(&self, shape: &ConvShape) -> bool {
        (**self).fuses_bias(shape)
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        (**self).run(problem, scratch);
    }

    fn execute(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) -> Result<(), Error> {
        (**self).execute(problem, scratch)
    }

    fn execute_within(&self, problem: Problem<'_, T>, limit: usize) -> Result<(), Error> {
        (**self).execute_within(problem, limit)
    }

    fn execute_backward(&self, problem: Backward<'_, T>, scratch: &mut [T::Acc]) -> Result<(), Error> {
        (**self).execute_backward(problem, scratch)
    }
}
