//! Operands proven to fit a shape: what a backend is given to compute.
//!
//! Each operation has a struct with private fields and a checked constructor. A backend that receives one may rely on
//! every dimension without looking again, which is why [`Backend::run`](crate::Backend::run) cannot fail.

use crate::element::Element;
use crate::error::Error;
use crate::op::Op;
use crate::shape::ConvShape;
use crate::tensor::{View, ViewMut};

/// How a result `g` meets what the output holds: `output = scale * g`, or `output += scale * g`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update<T> {
    /// Factor of the result.
    pub scale: T,
    /// Whether what the output holds is kept and added to.
    pub accumulate: bool,
}

impl<T: Element> Update<T> {
    /// `output = g`; what the output held, NaN included, does not matter.
    pub fn overwrite() -> Self {
        Update { scale: T::from_f64(1.0), accumulate: false }
    }

    /// `output += g`.
    pub fn accumulate() -> Self {
        Update { accumulate: true, ..Update::overwrite() }
    }

    /// The same with the result multiplied by `scale`.
    pub fn scaled(self, scale: T) -> Self {
        Update { scale, ..self }
    }

    /// Applies the update to one element.
    #[inline(always)]
    pub fn apply(&self, output: &mut T, sum: T::Acc) {
        let scaled = self.scale.to_acc() * sum;
        *output = T::from_acc(if self.accumulate { output.to_acc() + scaled } else { scaled });
    }
}

/// One operation on checked operands.
#[derive(Debug)]
#[non_exhaustive]
pub enum Problem<'a, T> {
    /// `dE/dw` from the layer's input and delta.
    WeightGradient(WeightGradient<'a, T>),
    /// `dE/db` from delta.
    BiasGradient(BiasGradient<'a, T>),
    /// The layer's output from its input and weights.
    Forward(Forward<'a, T>),
    /// `dE/do` from the layer's weights and delta.
    InputGradient(InputGradient<'a, T>),
}

impl<'a, T: Element> Problem<'a, T> {
    /// Which operation.
    pub fn op(&self) -> Op {
        match self {
            Problem::WeightGradient(_) => Op::WeightGradient,
            Problem::BiasGradient(_) => Op::BiasGradient,
            Problem::Forward(_) => Op::Forward,
            Problem::InputGradient(_) => Op::InputGradient,
        }
    }

    /// The shape all operands fit.
    pub fn shape(&self) -> &'a ConvShape {
        match self {
            Problem::WeightGradient(p) => p.shape,
            Problem::BiasGradient(p) => p.shape,
            Problem::Forward(p) => p.shape,
            Problem::InputGradient(p) => p.shape,
        }
    }
}

/// Operands of the weight gradient: `gradient[oc,ic,k] = sum delta[n,oc,o] * input[n,ic, o*stride + k*dilation - padding]`.
#[derive(Debug)]
pub struct WeightGradient<'a, T> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) input: View<'a, T>,
    pub(crate) delta: View<'a, T>,
    pub(crate) gradient: ViewMut<'a, T>,
    pub(crate) update: Update<T>,
    pub(crate) bias: Option<ViewMut<'a, T>>,
}

impl<'a, T: Element> WeightGradient<'a, T> {
    /// Checks the operands' dimensions against the shape's `input_dims`, `output_dims` and `weights_dims`.
    ///
    /// # Errors
    /// [`Error::Dims`] for the first operand that does not fit.
    #[inline]
    pub fn new(
        shape: &'a ConvShape,
        input: View<'a, T>,
        delta: View<'a, T>,
        gradient: ViewMut<'a, T>,
        update: Update<T>,
    ) -> Result<Self, Error> {
        input.expect_dims("input", shape.rank() + 2, input_dims5(shape))?;
        delta.expect_dims("delta", shape.rank() + 2, output_dims5(shape))?;
        gradient.expect_dims("gradient", shape.rank() + 2, weights_dims5(shape))?;
        Ok(WeightGradient { shape, input, delta, gradient, update, bias: None })
    }

    /// Where the bias gradient goes, of one dimension, that is to be computed along with this one and by the same update;
    /// there is none but for a backend that [fuses](crate::Backend::fuses_bias) the two.
    pub fn take_bias(&mut self) -> Option<ViewMut<'a, T>> {
        self.bias.take()
    }

    /// The bias gradient [taken](Self::take_bias) from this problem as one of its own, if it is wanted.
    pub(crate) fn split_bias(&mut self) -> Option<BiasGradient<'a, T>> {
        let gradient = self.take_bias()?;
        Some(BiasGradient { shape: self.shape, delta: self.delta, gradient, update: self.update })
    }

    /// Shape, input, delta, gradient and update, for a backend outside this crate.
    pub fn into_parts(self) -> (&'a ConvShape, View<'a, T>, View<'a, T>, ViewMut<'a, T>, Update<T>) {
        (self.shape, self.input, self.delta, self.gradient, self.update)
    }
}

/// Operands of the bias gradient: `gradient[oc] = sum delta[n,oc,o]`.
#[derive(Debug)]
pub struct BiasGradient<'a, T> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) delta: View<'a, T>,
    pub(crate) gradient: ViewMut<'a, T>,
    pub(crate) update: Update<T>,
}

impl<'a, T: Element> BiasGradient<'a, T> {
    /// Checks the operands' dimensions: the shape's `output_dims`, and `[out_channels]`.
    ///
    /// # Errors
    /// [`Error::Dims`] for the first operand that does not fit.
    pub fn new(
        shape: &'a ConvShape,
        delta: View<'a, T>,
        gradient: ViewMut<'a, T>,
        update: Update<T>,
    ) -> Result<Self, Error> {
        delta.expect_dims("delta", shape.rank() + 2, output_dims5(shape))?;
        gradient.expect_dims("gradient", 1, [shape.out_channels(), 1, 1, 1, 1])?;
        Ok(BiasGradient { shape, delta, gradient, update })
    }

    /// Shape, delta, gradient and update, for a backend outside this crate.
    pub fn into_parts(self) -> (&'a ConvShape, View<'a, T>, ViewMut<'a, T>, Update<T>) {
        (self.shape, self.delta, self.gradient, self.update)
    }
}

/// Operands of the forward pass: `output[n,oc,o] = bias[oc] + sum weights[oc,ic,k] * input[n,ic, o*stride + k*dilation - padding]`.
#[derive(Debug)]
pub struct Forward<'a, T> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) input: View<'a, T>,
    pub(crate) weights: View<'a, T>,
    pub(crate) bias: Option<&'a [T]>,
    pub(crate) output: ViewMut<'a, T>,
    pub(crate) update: Update<T>,
}

impl<'a, T: Element> Forward<'a, T> {
    /// Checks the operands' dimensions against the shape's `input_dims`, `weights_dims`, `output_dims`, and the bias's
    /// length against `out_channels`.
    ///
    /// # Errors
    /// [`Error::Dims`] or [`Error::Length`] for the first operand that does not fit.
    pub fn new(
        shape: &'a ConvShape,
        input: View<'a, T>,
        weights: View<'a, T>,
        bias: Option<&'a [T]>,
        output: ViewMut<'a, T>,
    ) -> Result<Self, Error> {
        input.expect_dims("input", shape.rank() + 2, input_dims5(shape))?;
        weights.expect_dims("weights", shape.rank() + 2, weights_dims5(shape))?;
        output.expect_dims("output", shape.rank() + 2, output_dims5(shape))?;
        if let Some(bias) = bias.filter(|b| b.len() != shape.out_channels()) {
            return Err(Error::Length { argument: "bias", given: bias.len(), expected: shape.out_channels() });
        }
        Ok(Forward { shape, input, weights, bias, output, update: Update::overwrite() })
    }

    /// The same with `output = scale * (w * o + b)` or `+=`, as of two branches of a network that meet.
    pub fn updating(self, update: Update<T>) -> Self {
        Forward { update, ..self }
    }

    /// Shape, input, weights, bias, output and update, for a backend outside this crate.
    #[expect(clippy::type_complexity, reason = "the operands in the order of the constructor")]
    pub fn into_parts(self) -> (&'a ConvShape, View<'a, T>, View<'a, T>, Option<&'a [T]>, ViewMut<'a, T>, Update<T>) {
        (self.shape, self.input, self.weights, self.bias, self.output, self.update)
    }
}

/// Operands of the input gradient: `gradient[n,ic,i] = sum weights[oc,ic,k] * delta[n,oc,o]` over all `o` and `k` with
/// `o*stride + k*dilation - padding = i`.
#[derive(Debug)]
pub struct InputGradient<'a, T> {
    pub(crate) shape: &'a ConvShape,
    pub(crate) weights: View<'a, T>,
    pub(crate) delta: View<'a, T>,
    pub(crate) gradient: ViewMut<'a, T>,
    pub(crate) update: Update<T>,
}

impl<'a, T: Element> InputGradient<'a, T> {
    /// Checks the operands' dimensions against the shape's `weights_dims`, `output_dims` and `input_dims`.
    ///
    /// # Errors
    /// [`Error::Dims`] for the first operand that does not fit.
    pub fn new(
        shape: &'a ConvShape,
        weights: View<'a, T>,
        delta: View<'a, T>,
        gradient: ViewMut<'a, T>,
        update: Update<T>,
    ) -> Result<Self, Error> {
        weights.expect_dims("weights", shape.rank() + 2, weights_dims5(shape))?;
        delta.expect_dims("delta", shape.rank() + 2, output_dims5(shape))?;
        gradient.expect_dims("gradient", shape.rank() + 2, input_dims5(shape))?;
        Ok(InputGradient { shape, weights, delta, gradient, update })
    }

    /// Shape, weights, delta, gradient and update, for a backend outside this crate.
    pub fn into_parts(self) -> (&'a ConvShape, View<'a, T>, View<'a, T>, ViewMut<'a, T>, Update<T>) {
        (self.shape, self.weights, self.delta, self.gradient, self.update)
    }
}

#[inline]
fn input_dims5(shape: &ConvShape) -> [usize; 5] {
    let [d, h, w] = shape.axes().map(|a| a.input);
    [shape.batch(), shape.in_channels(), d, h, w]
}

#[inline]
fn output_dims5(shape: &ConvShape) -> [usize; 5] {
    let [d, h, w] = shape.axes().map(|a| a.output);
    [shape.batch(), shape.out_channels(), d, h, w]
}

#[inline]
fn weights_dims5(shape: &ConvShape) -> [usize; 5] {
    let [d, h, w] = shape.axes().map(|a| a.kernel);
    [shape.out_channels(), shape.group_in_channels(), d, h, w]
}
