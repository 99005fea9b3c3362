//! The yardstick: the method everyone knows, im2col and a matrix product, on the `gemm` crate.
//!
//! ```text
//! for each image and group:  unfold the input into columns, once      [in channels * taps][positions]
//!                            dW += delta * columns^T                   [out channels][positions] each
//! ```
//!
//! With channels last, columns are `[positions][taps * in channels]`, and the gradient comes in that order, as in the
//! frameworks that have this layout. A kernel of one tap at stride 1 without padding needs no unfolding: the image is
//! its own columns. Unfolding and product are spread over the threads; buffers stay from call to call. gemm is the
//! matrix product underneath candle and burn as well, so the distance to them is the distance of their method.

mod product;
mod unfold;

use anyhow::{Result, ensure};
use peers::{Computation, Layout, Pass, Problem, Shape};
use product::{Matrix, accumulate_product};
use std::process::ExitCode;

struct Im2colGemm {
    problem: Problem,
    /// Empty where the image is its own columns.
    columns: Vec<f32>,
    gradient: Vec<f32>,
}

impl Im2colGemm {
    fn load(problem: Problem) -> Result<Im2colGemm> {
        ensure!(problem.pass == Pass::Wgrad, "is written for the weight gradient alone");
        let shape = &problem.shape;
        let unfolded = shape.group_in_channels() * shape.taps() * shape.output_positions();
        let plain =
            shape.taps() == 1 && shape.axes.iter().all(|a| a.stride == 1 && a.input == a.output && a.padding == 0);
        Ok(Im2colGemm {
            columns: vec![0.0; if plain { 0 } else { unfolded }],
            gradient: vec![0.0; shape.weights_len()],
            problem,
        })
    }
}

impl Computation for Im2colGemm {
    fn run(&mut self) -> Result<()> {
        let Problem { shape, input, delta, .. } = &self.problem;
        let images = input.chunks(input.len() / shape.batch).zip(delta.chunks(delta.len() / shape.batch));
        for (n, (image, delta)) in images.enumerate() {
            let gradients = self.gradient.chunks_mut(shape.weights_len() / shape.groups);
            for (group, gradient) in gradients.enumerate() {
                let (delta, columns) = match shape.layout {
                    Layout::Nchw => channels_first(shape, group, image, delta, &mut self.columns),
                    Layout::Nhwc => channels_last(shape, group, image, delta, &mut self.columns),
                };
                accumulate_product(delta, columns, gradient, n > 0);
            }
        }
        Ok(())
    }

    fn result(&self) -> Result<Vec<f32>> {
        let shape = &self.problem.shape;
        let (inputs, taps) = (shape.group_in_channels(), shape.taps());
        Ok(match shape.layout {
            Layout::Nchw => self.gradient.clone(),
            Layout::Nhwc => {
                let of_output = |row: &[f32]| -> Vec<f32> {
                    (0..inputs * taps).map(|i| row[i % taps * inputs + i / taps]).collect()
                };
                self.gradient.chunks(inputs * taps).flat_map(of_output).collect()
            }
        })
    }
}

/// Delta as `[out channels][positions]` and the columns as `[positions][in channels * taps]`, of a group of one image.
fn channels_first<'a>(
    shape: &Shape,
    group: usize,
    image: &'a [f32],
    delta: &'a [f32],
    columns: &'a mut [f32],
) -> (Matrix<'a>, Matrix<'a>) {
    let (outputs, positions) = (shape.group_out_channels(), shape.output_positions());
    let image_len = image.len() / shape.groups;
    let image = &image[group * image_len..][..image_len];
    let delta = &delta[group * outputs * positions..];
    let columns = if columns.is_empty() {
        image
    } else {
        unfold::channels_first(shape, image, columns);
        columns
    };
    let width = shape.group_in_channels() * shape.taps();
    (Matrix::by_rows(delta, outputs, positions, positions), Matrix::by_columns(columns, positions, width, positions))
}

/// The same from channels last, the columns as `[positions][taps * in channels]`.
fn channels_last<'a>(
    shape: &Shape,
    group: usize,
    image: &'a [f32],
    delta: &'a [f32],
    columns: &'a mut [f32],
) -> (Matrix<'a>, Matrix<'a>) {
    let (outputs, positions) = (shape.group_out_channels(), shape.output_positions());
    let image = &image[group * shape.group_in_channels()..];
    let delta = Matrix::by_columns(&delta[group * outputs..], outputs, positions, shape.out_channels);
    let width = shape.group_in_channels() * shape.taps();
    if columns.is_empty() {
        return (delta, Matrix::by_rows(image, positions, width, shape.in_channels));
    }
    unfold::channels_last(shape, image, columns);
    (delta, Matrix::by_rows(columns, positions, width, width))
}

fn main() -> ExitCode {
    peers::serve(&peers::version_of("gemm"), |problem| Ok(Box::new(Im2colGemm::load(problem)?)))
}

#[cfg(all(test, feature = "ours"))]
mod tests {
    use super::*;
    use convgrad::{ConvShape, Update, View, ViewMut};

    #[test]
    fn it_computes_the_definition() {
        for shape in [
            "mb2ic3ih7iw9oc5kh3kw2ph1",
            "mb2g3ic6ih9oc6kh3sh2ph1",
            "mb2g2ic4ih6oc6kh1",
            "mb2ic4ih6oc5kh1sh2",
            "mb1ic2ih10oc3kh3dh1ph2",
            "mb2ic3iw11oc4ow9kw4pw1",
            "mb1ic2id4ih5iw6oc2kd1kh2kw3",
            "mb1ic1iw1oc1ow1kw3pw2",
        ] {
            let shape: ConvShape = shape.parse().unwrap();
            let mut random = fastrand::Rng::with_seed(1);
            // Small integers: sums are exact in any order.
            let mut numbers = |dims: Vec<usize>| -> Vec<f32> {
                (0..dims.iter().product()).map(|_| f32::from(random.i8(-4..=4))).collect()
            };
            let (input, delta) = (numbers(shape.input_dims()), numbers(shape.output_dims()));
            for layout in [Layout::Nchw, Layout::Nhwc] {
                let mut expected = vec![f32::NAN; shape.weights_len()];
                convgrad::reference()
                    .weight_gradient(
                        &shape,
                        View::new(&input, &shape.input_dims(), layout.into()).unwrap(),
                        View::new(&delta, &shape.output_dims(), layout.into()).unwrap(),
                        ViewMut::nchw(&mut expected, &shape.weights_dims()).unwrap(),
                        Update::overwrite(),
                    )
                    .unwrap();
                let (input, weights, delta) = (input.clone(), vec![], delta.clone());
                let problem = Problem { pass: Pass::Wgrad, shape: Shape::of(&shape, layout), input, weights, delta };
                let mut yardstick = Im2colGemm::load(problem).unwrap();
                // Twice, since the first call leaves its columns and gradient behind.
                for _ in 0..2 {
                    yardstick.run().unwrap();
                    assert_eq!(yardstick.result().unwrap(), expected, "{shape} in {layout:?}");
                }
            }
        }
    }
}
