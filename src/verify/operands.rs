//! What a problem reads, whatever its operation: so that it can be computed again, with another result or without signs.

use crate::element::Element;
use crate::error::Error;
use crate::op::Op;
use crate::problem::{BiasGradient, Forward, InputGradient, Problem, Update, WeightGradient};
use crate::shape::{ConvShape, positions, saturating_product};
use crate::tensor::{View, ViewMut};

/// The operands of a problem.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operands<'a, T> {
    pub shape: &'a ConvShape,
    pub read: Read<'a, T>,
}

/// What each operation reads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Read<'a, T> {
    WeightGradient { input: View<'a, T>, delta: View<'a, T> },
    BiasGradient { delta: View<'a, T> },
    Forward { input: View<'a, T>, weights: View<'a, T>, bias: Option<&'a [T]> },
    InputGradient { weights: View<'a, T>, delta: View<'a, T> },
}

impl<'a, T: Element> Operands<'a, T> {
    pub fn of(problem: &Problem<'a, T>) -> Operands<'a, T> {
        let read = match problem {
            Problem::WeightGradient(p) => Read::WeightGradient { input: p.input, delta: p.delta },
            Problem::BiasGradient(p) => Read::BiasGradient { delta: p.delta },
            Problem::Forward(p) => Read::Forward { input: p.input, weights: p.weights, bias: p.bias },
            Problem::InputGradient(p) => Read::InputGradient { weights: p.weights, delta: p.delta },
        };
        Operands { shape: problem.shape(), read }
    }

    pub fn op(&self) -> Op {
        match self.read {
            Read::WeightGradient { .. } => Op::WeightGradient,
            Read::BiasGradient { .. } => Op::BiasGradient,
            Read::Forward { .. } => Op::Forward,
            Read::InputGradient { .. } => Op::InputGradient,
        }
    }

    /// Dimensions of the result.
    pub fn result_dims(&self) -> Vec<usize> {
        match self.read {
            Read::WeightGradient { .. } => self.shape.weights_dims(),
            Read::BiasGradient { .. } => vec![self.shape.out_channels()],
            Read::Forward { .. } => self.shape.output_dims(),
            Read::InputGradient { .. } => self.shape.input_dims(),
        }
    }

    /// The problem of these operands that overwrites a result.
    pub fn problem(self, result: ViewMut<'a, T>) -> Result<Problem<'a, T>, Error> {
        let (shape, update) = (self.shape, Update::overwrite());
        Ok(match self.read {
            Read::WeightGradient { input, delta } => {
                Problem::WeightGradient(WeightGradient::new(shape, input, delta, result, update)?)
            }
            Read::BiasGradient { delta } => Problem::BiasGradient(BiasGradient::new(shape, delta, result, update)?),
            Read::Forward { input, weights, bias } => {
                Problem::Forward(Forward::new(shape, input, weights, bias, result)?)
            }
            Read::InputGradient { weights, delta } => {
                Problem::InputGradient(InputGradient::new(shape, weights, delta, result, update)?)
            }
        })
    }

    /// Calls `f` with these operands without their signs.
    pub fn without_signs<R>(&self, f: impl FnOnce(Operands<'_, T>) -> Result<R, Error>) -> Result<R, Error> {
        let shape = self.shape;
        let [of_input, of_weights, of_delta] = [shape.input_dims(), shape.weights_dims(), shape.output_dims()];
        match self.read {
            Read::WeightGradient { input, delta } => {
                let (input, delta) = (magnitudes(&input)?, magnitudes(&delta)?);
                let (input, delta) = (View::nchw(&input, &of_input)?, View::nchw(&delta, &of_delta)?);
                f(Operands { shape, read: Read::WeightGradient { input, delta } })
            }
            Read::BiasGradient { delta } => {
                let delta = magnitudes(&delta)?;
                f(Operands { shape, read: Read::BiasGradient { delta: View::nchw(&delta, &of_delta)? } })
            }
            Read::Forward { input, weights, bias } => {
                let (input, weights) = (magnitudes(&input)?, magnitudes(&weights)?);
                let bias = bias.map(|bias| magnitudes(&View::nchw(bias, &[bias.len()])?)).transpose()?;
                let (input, weights) = (View::nchw(&input, &of_input)?, View::nchw(&weights, &of_weights)?);
                f(Operands { shape, read: Read::Forward { input, weights, bias: bias.as_deref() } })
            }
            Read::InputGradient { weights, delta } => {
                let (weights, delta) = (magnitudes(&weights)?, magnitudes(&delta)?);
                let (weights, delta) = (View::nchw(&weights, &of_weights)?, View::nchw(&delta, &of_delta)?);
                f(Operands { shape, read: Read::InputGradient { weights, delta } })
            }
        }
    }
}

/// Where a problem's result goes, and how.
pub(super) fn into_result<'a, T>(problem: Problem<'a, T>) -> (ViewMut<'a, T>, Update<T>) {
    match problem {
        Problem::WeightGradient(p) => (p.gradient, p.update),
        Problem::BiasGradient(p) => (p.gradient, p.update),
        Problem::Forward(p) => (p.output, p.update),
        Problem::InputGradient(p) => (p.gradient, p.update),
    }
}

/// All positions of a view, the last dimension fastest.
pub(super) fn positions5([a, b, depth, height, width]: [usize; 5]) -> impl Iterator<Item = [usize; 5]> {
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

pub(super) fn filled<V: Copy>(len: usize, value: V) -> Result<Vec<V>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes: len.saturating_mul(size_of::<V>()) })?;
    values.resize(len, value);
    Ok(values)
}
