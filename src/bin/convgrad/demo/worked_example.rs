//! The worked example: an input and an error small enough to follow by hand, and the gradient every backend must find.

use super::able_backends;
use super::page::{Block, heading, side_by_side};
use crate::CheckFailed;
use convgrad::{Backend, ConvShape, Error, Update, View, ViewMut, train};
use std::io::Write;

const INPUT: [f32; 25] = [
    0.51, 0.90, 0.88, 0.84, 0.05, //
    0.40, 0.62, 0.22, 0.59, 0.10, //
    0.11, 0.20, 0.74, 0.33, 0.14, //
    0.47, 0.01, 0.85, 0.70, 0.09, //
    0.76, 0.19, 0.72, 0.17, 0.57,
];
const DELTA: [f32; 16] = [
    0.0, 0.0, 0.0686, 0.0, //
    0.0, 0.0364, 0.0, 0.0, //
    0.0, 0.0467, 0.0, 0.0, //
    0.0, 0.0, 0.0, -0.0681,
];
/// The gradient to six decimals.
const EXPECTED: [f32; 4] = [0.044606, 0.094061, 0.011262, 0.068288];
/// Weight `[0,0]` before the step; the example gives no other.
const WEIGHT: f32 = -0.13;
/// The example gives none; this one moves the weight visibly.
const LEARNING_RATE: f32 = 0.1;

/// Prints the example, what each backend makes of it, and one step along the gradient.
pub fn show(out: &mut impl Write) -> anyhow::Result<()> {
    heading(out, "1  The worked example: which way to move the weights of a 2x2 kernel?")?;
    let short = |v: f32, decimals: usize| if v == 0.0 { "0".to_owned() } else { format!("{v:.decimals$}") };
    let input = Block::matrix("o, the layer's input", 5, INPUT.map(|v| short(v, 2)));
    let delta = Block::matrix("delta = dE/dx, the error at its output", 4, DELTA.map(|v| short(v, 4)));
    side_by_side(out, &[input, delta])?;
    writeln!(out, "   Each weight w[m,n] touched every output, so its gradient sums over all of them:")?;
    writeln!(out, "   dE/dw[m,n] = sum over i, j of  delta[i,j] * o[i+m, j+n]\n")?;

    let six_decimals = |gradient: [f32; 4]| gradient.map(|v| format!("{v:.6}"));
    let mut blocks = vec![Block::matrix("expected", 2, six_decimals(EXPECTED))];
    let mut wrong = Vec::new();
    let mut first_weight = 0.0;
    let shape = shape()?;
    for backend in able_backends(&shape) {
        let gradient = gradient(&*backend, &shape)?;
        blocks.push(Block::matrix(backend.name(), 2, six_decimals(gradient)));
        if six_decimals(gradient) != six_decimals(EXPECTED) {
            wrong.push(backend.name());
        }
        first_weight = gradient[0];
    }
    side_by_side(out, &blocks)?;
    let failure = || CheckFailed(format!("the worked example comes out differently by {}", wrong.join(", ")));
    anyhow::ensure!(wrong.is_empty(), failure());

    let mut weight = [WEIGHT];
    train::sgd_step(&mut weight, &[first_weight], LEARNING_RATE)?;
    writeln!(
        out,
        "   All agree. One step downhill, w <- w - eta * dE/dw with eta = {LEARNING_RATE}, for the weight w[0,0]:"
    )?;
    writeln!(out, "   {WEIGHT} - {LEARNING_RATE} * {first_weight:.6} = {:.6}\n", weight[0])?;
    Ok(())
}

fn shape() -> Result<ConvShape, Error> {
    ConvShape::conv2d(1, 1, [5, 5], 1, [2, 2]).build()
}

/// The example's gradient by one backend.
fn gradient(backend: &dyn Backend<f32>, shape: &ConvShape) -> Result<[f32; 4], Error> {
    let mut gradient = [f32::NAN; 4];
    backend.weight_gradient(
        shape,
        View::nchw(&INPUT, &shape.input_dims())?,
        View::nchw(&DELTA, &shape.output_dims())?,
        ViewMut::nchw(&mut gradient, &shape.weights_dims())?,
        Update::overwrite(),
    )?;
    Ok(gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn every_backend_finds_the_expected_gradient() {
        let shape = shape().unwrap();
        for backend in able_backends(&shape) {
            let gradient = gradient(&*backend, &shape).unwrap();
            assert_abs_diff_eq!(gradient[..], EXPECTED[..], epsilon = 0.5e-6 + 1e-8);
        }
    }

    #[test]
    fn the_step_is_printed() {
        let mut out = Vec::new();
        show(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("-0.13 - 0.1 * 0.044606 = -0.134461"), "{text}");
        assert!(text.lines().all(|l| l.len() <= 100), "{text}");
    }
}
