//! A convolution layer with numbers in it, run by any backend, and the truth about its sums.

use super::{Arrangement, Operand};
use convgrad::{Backend, BiasGradient, ConvShape, Element, Error, Forward, Op, Problem, Update, View, WeightGradient};

/// All that a backend may compute.
pub const OPS: [Op; 3] = [Op::WeightGradient, Op::BiasGradient, Op::Forward];

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

    /// The checked problem that writes `result`; the forward pass knows no update.
    pub fn problem<'a>(&'a self, op: Op, result: &'a mut Operand<T>, update: Update<T>) -> Problem<'a, T> {
        let (input, delta, result) = (self.input.view(), self.delta.view(), result.view_mut());
        match op {
            Op::WeightGradient => {
                WeightGradient::new(&self.shape, input, delta, result, update).map(Problem::WeightGradient)
            }
            Op::BiasGradient => BiasGradient::new(&self.shape, delta, result, update).map(Problem::BiasGradient),
            Op::Forward => {
                let weights: View<'_, T> = self.weights.view();
                Forward::new(&self.shape, input, weights, Some(&self.bias), result).map(Problem::Forward)
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
        self.map::<f64>(|x| x).compute(&*convgrad::reference(), op)
    }

    /// The sums, and how large their terms are together.
    pub fn truth(&self, op: Op) -> Truth {
        Truth {
            sums: self.sums(op),
            magnitudes: self.map::<f64>(f64::abs).compute(&*convgrad::reference(), op),
            bound: convgrad::reference::<f64>().error_bound(op, &self.shape),
        }
    }
}

/// Results in `f64`, and for each the sum of the magnitudes of its terms.
#[derive(Debug)]
pub struct Truth {
    pub sums: Vec<f64>,
    pub magnitudes: Vec<f64>,
    /// The reference's own error bound, in roundoffs of `f64`.
    pub bound: f64,
}

impl Truth {
    /// The largest error of `result` in units of `u * sum |a_i * b_i|`, the measure of [`Backend::error_bound`].
    ///
    /// Infinite where all terms are zero and the result is not, and where the result is not a number.
    pub fn worst_error<T: Element>(&self, result: &[T]) -> f64 {
        assert_eq!(result.len(), self.sums.len(), "a result of another length than the truth");
        let errors = result.iter().zip(&self.sums).zip(&self.magnitudes).map(|((x, sum), magnitude)| {
            let error = (x.to_f64() - sum).abs();
            if error == 0.0 {
                return 0.0;
            }
            let measured = error / (T::UNIT_ROUNDOFF * magnitude);
            if measured.is_nan() { f64::INFINITY } else { measured }
        });
        errors.fold(0.0, f64::max)
    }

    /// What a backend of bound `c` may show against this truth, which errs by its own bound.
    pub fn allowed<T: Element>(&self, c: f64) -> f64 {
        c + self.bound * f64::UNIT_ROUNDOFF / T::UNIT_ROUNDOFF
    }

    /// Demands that every entry lies within the bound `c`.
    pub fn assert_within<T: Element>(&self, result: &[T], c: f64, what: impl FnOnce() -> String) {
        let (worst, allowed) = (self.worst_error(result), self.allowed::<T>(c));
        assert!(worst <= allowed, "{}: an error of {worst:.3} u * magnitude, allowed are {allowed:.3}", what());
    }
}
