//! A convolution layer with numbers in it, run by any backend, and the truth about its sums.

use super::{Arrangement, Operand};
use convgrad::{
    Axis, Backend, BiasGradient, ConvShape, Element, Error, ErrorScale, Forward, InputGradient, Op, Problem, Update,
    WeightGradient, reference,
};
use std::ops::Range;

/// All that a backend may compute.
pub const OPS: [Op; 4] = [Op::WeightGradient, Op::BiasGradient, Op::Forward, Op::InputGradient];

/// All operands of one layer.
#[derive(Debug, Clone)]
pub struct Layer<T> {
    pub shape: ConvShape,
    pub input: Operand<T>,
    pub delta: Operand<T>,
    pub weights: Operand<T>,
    pub bias: Vec<T>,
}

/// Dimensions of what an operation writes.
pub fn result_dims(shape: &ConvShape, op: Op) -> Vec<usize> {
    match op {
        Op::WeightGradient => shape.weights_dims(),
        Op::BiasGradient => vec![shape.out_channels()],
        Op::Forward => shape.output_dims(),
        Op::InputGradient => shape.input_dims(),
        other => panic!("the tests do not know the {other} yet"),
    }
}

impl<T: Element> Layer<T> {
    /// A layer filled by `value`; the arrangements are those of input, delta and weights.
    pub fn new(shape: ConvShape, arrangements: &[Arrangement; 3], mut value: impl FnMut() -> f64) -> Self {
        let [input, delta, weights] = arrangements;
        Layer {
            shape,
            input: Operand::new(&shape.input_dims(), input, &mut value),
            delta: Operand::new(&shape.output_dims(), delta, &mut value),
            weights: Operand::new(&shape.weights_dims(), weights, &mut value),
            bias: (0..shape.out_channels()).map(|_| T::from_f64(value())).collect(),
        }
    }

    /// A layer whose operands are contiguous.
    pub fn contiguous(shape: ConvShape, value: impl FnMut() -> f64) -> Self {
        Layer::new(shape, &[Arrangement::NCHW, Arrangement::NCHW, Arrangement::NCHW], value)
    }

    fn map<U: Element>(&self, f: impl Fn(f64) -> f64 + Copy) -> Layer<U> {
        Layer {
            shape: self.shape,
            input: self.input.map(f),
            delta: self.delta.map(f),
            weights: self.weights.map(f),
            bias: self.bias.iter().map(|x| U::from_f64(f(x.to_f64()))).collect(),
        }
    }

    /// The checked problem that writes `result`.
    pub fn problem<'a>(&'a self, op: Op, result: &'a mut Operand<T>, update: Update<T>) -> Problem<'a, T> {
        let (input, weights, delta) = (self.input.view(), self.weights.view(), self.delta.view());
        let result = result.view_mut();
        match op {
            Op::WeightGradient => {
                WeightGradient::new(&self.shape, input, delta, result, update).map(Problem::WeightGradient)
            }
            Op::BiasGradient => BiasGradient::new(&self.shape, delta, result, update).map(Problem::BiasGradient),
            Op::Forward => Forward::new(&self.shape, input, weights, Some(&self.bias), result)
                .map(|problem| Problem::Forward(problem.updating(update))),
            Op::InputGradient => {
                InputGradient::new(&self.shape, weights, delta, result, update).map(Problem::InputGradient)
            }
            other => panic!("the tests do not know the {other} yet"),
        }
        .expect("operands of the shape's own dimensions")
    }

    /// Runs a backend with scratch of exactly the length it asks for, all of it NaN.
    pub fn execute(
        &self,
        backend: &dyn Backend<T>,
        op: Op,
        result: &mut Operand<T>,
        update: Update<T>,
    ) -> Result<(), Error> {
        let mut scratch = vec![T::Acc::from_f64(f64::NAN); backend.scratch_len(op, &self.shape)];
        backend.execute(self.problem(op, result, update), &mut scratch)
    }

    /// What a backend that supports the operation makes of it, written over NaN.
    pub fn compute(&self, backend: &dyn Backend<T>, op: Op) -> Vec<T> {
        let mut result = Operand::poisoned(&result_dims(&self.shape, op), &Arrangement::NCHW);
        self.execute(backend, op, &mut result, Update::overwrite()).expect("a supported operation");
        result.values()
    }

    /// The sums the operation stands for, by the reference in `f64`.
    pub fn sums(&self, op: Op) -> Vec<f64> {
        self.map::<f64>(|x| x).compute(&*reference::<f64>(), op)
    }

    /// For each entry of a result, what [`ErrorScale::Norms`] says of it.
    fn norms(&self, op: Op) -> Vec<f64> {
        match op {
            Op::WeightGradient => self.norms_of_weights(),
            Op::Forward => {
                let mut norms = self.norms_of_pass(op, &self.input, &self.shape.input_dims());
                let positions = self.shape.output_positions();
                for (i, norm) in norms.iter_mut().enumerate() {
                    *norm += self.bias[i / positions % self.bias.len()].to_f64().abs();
                }
                norms
            }
            Op::InputGradient => self.norms_of_pass(op, &self.delta, &self.shape.output_dims()),
            _ => Vec::new(),
        }
    }

    /// For each weight, the product of the Euclidean norms of its two channels.
    fn norms_of_weights(&self) -> Vec<f64> {
        let of = |operand: &Operand<T>, dims: &[usize]| {
            let positions: usize = dims[2..].iter().product();
            let mut squares = vec![0.0; dims[1]];
            for (i, value) in operand.values().into_iter().enumerate() {
                squares[i / positions % dims[1]] += value.to_f64().powi(2);
            }
            squares.into_iter().map(f64::sqrt).collect::<Vec<_>>()
        };
        let (delta, input) = (of(&self.delta, &self.shape.output_dims()), of(&self.input, &self.shape.input_dims()));
        let (ocs, ics) = (self.shape.group_out_channels(), self.shape.group_in_channels());
        let pairs = (0..delta.len()).flat_map(|oc| (0..ics).map(move |ic| (oc, oc / ocs * ics + ic)));
        let taps = self.shape.taps();
        pairs.flat_map(|(oc, ic)| std::iter::repeat_n(delta[oc] * input[ic], taps)).collect()
    }

    /// For each output of a forward pass or an input gradient, the norm of its channel's weights by the norm of what the pass
    /// reads in its neighbourhood.
    fn norms_of_pass(&self, op: Op, read: &Operand<T>, read_dims: &[usize]) -> Vec<f64> {
        let shape = &self.shape;
        let (groups, ocs, ics) = (shape.groups(), shape.group_out_channels(), shape.group_in_channels());
        let positions: usize = read_dims[2..].iter().product();
        let channels = read_dims[1];
        // Squares of what is read, over the channels of a group, by image, group and position.
        let mut squares = vec![0.0; shape.batch() * groups * positions];
        for (i, value) in read.values().into_iter().enumerate() {
            let (plane, position) = (i / positions, i % positions);
            let group = plane / channels * groups + plane % channels / (channels / groups);
            squares[group * positions + position] += value.to_f64().powi(2);
        }
        // Summed over the neighbourhood of each output, axis by axis.
        let lens = |axis: &Axis| if op == Op::Forward { (axis.input, axis.output) } else { (axis.output, axis.input) };
        let mut behind = positions;
        for axis in shape.axes() {
            let (read, written) = lens(axis);
            behind /= read;
            let outer = squares.len() / (read * behind);
            let mut sums = Vec::with_capacity(outer * written * behind);
            for (plane, at) in (0..outer).flat_map(|plane| (0..written).map(move |at| (plane, at))) {
                let near = neighbourhood(op, axis, at);
                sums.extend((0..behind).map(|inner| {
                    near.clone().map(|position| squares[(plane * read + position) * behind + inner]).sum::<f64>()
                }));
            }
            squares = sums;
        }
        let (written, of_group) = if op == Op::Forward { (groups * ocs, ocs) } else { (groups * ics, ics) };
        let mut weights = vec![0.0; written];
        for (i, value) in self.weights.values().into_iter().enumerate() {
            let (oc, ic) = (i / shape.taps() / ics, i / shape.taps() % ics);
            weights[if op == Op::Forward { oc } else { oc / ocs * ics + ic }] += value.to_f64().powi(2);
        }
        let positions = squares.len() / (shape.batch() * groups);
        let mut norms = Vec::with_capacity(shape.batch() * written * positions);
        for (image, channel) in (0..shape.batch()).flat_map(|image| (0..written).map(move |channel| (image, channel))) {
            let plane = &squares[(image * groups + channel / of_group) * positions..][..positions];
            norms.extend(plane.iter().map(|square| (square * weights[channel]).sqrt()));
        }
        norms
    }

    /// The sums, and how large their terms are together.
    pub fn truth(&self, op: Op) -> Truth {
        Truth {
            sums: self.sums(op),
            magnitudes: self.map::<f64>(f64::abs).compute(&*reference::<f64>(), op),
            norms: self.norms(op),
            bound: reference::<f64>().error_bound(op, &self.shape),
        }
    }
}

/// What an output of a pass reads along an axis, and what is near that.
fn neighbourhood(op: Op, axis: &Axis, at: usize) -> Range<usize> {
    let [at, padding, stride, reach] = [at, axis.padding, axis.stride, axis.extent() - 1]
        .map(|value| isize::try_from(value).expect("a small problem"));
    let (first, last, len) = match op {
        Op::Forward => (at * stride - padding - NEAR, at * stride - padding + reach + NEAR, axis.input),
        // Rounded up, and down.
        _ => (-(reach - at - padding + NEAR).div_euclid(stride), (at + padding + NEAR).div_euclid(stride), axis.output),
    };
    let inside = |position: isize| position.clamp(0, len.cast_signed()).cast_unsigned();
    inside(first)..inside(last + 1)
}

/// See [`ErrorScale::Norms`].
const NEAR: isize = 3;

/// Results in `f64`, and for each the sum of the magnitudes of its terms, and the norms of [`ErrorScale::Norms`].
#[derive(Debug)]
pub struct Truth {
    pub sums: Vec<f64>,
    pub magnitudes: Vec<f64>,
    pub norms: Vec<f64>,
    /// The reference's own error bound, in roundoffs of `f64`.
    pub bound: f64,
}

impl Truth {
    /// The largest error of `result` in units of `u * scale`, the measure of [`Backend::error_bound`]. The reference's own
    /// error is taken off.
    ///
    /// Infinite where the scale is zero and the result is not, and where the result is not a number.
    pub fn worst_error<T: Element>(&self, result: &[T], scale: ErrorScale) -> f64 {
        assert_eq!(result.len(), self.sums.len(), "a result of another length than the truth");
        let scales = match scale {
            ErrorScale::Products => &self.magnitudes,
            ErrorScale::Norms => &self.norms,
            other => panic!("the tests do not know the scale {other:?} yet"),
        };
        assert_eq!(scales.len(), self.sums.len(), "a bias gradient has no norms");
        let errors = result.iter().zip(&self.sums).zip(scales.iter().zip(&self.magnitudes));
        let errors = errors.map(|((x, sum), (scale, magnitude))| {
            let distance = (x.to_f64() - sum).abs();
            if distance == 0.0 {
                return 0.0;
            }
            let error = distance - self.bound * f64::UNIT_ROUNDOFF * magnitude;
            let measured = error / (T::UNIT_ROUNDOFF * scale);
            if measured.is_nan() { f64::INFINITY } else { measured }
        });
        errors.fold(0.0, f64::max)
    }

    /// Demands that every entry lies within the bound a backend declares.
    pub fn assert_kept<T: Element>(
        &self,
        result: &[T],
        (op, shape): (Op, &ConvShape),
        backend: &dyn Backend<T>,
        what: impl FnOnce() -> String,
    ) {
        let allowed = backend.error_bound(op, shape);
        let worst = self.worst_error(result, backend.error_scale(op, shape));
        assert!(worst <= allowed, "{}: an error of {worst:.3} u * scale, allowed are {allowed:.3}", what());
    }
}
