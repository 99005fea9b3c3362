//! burn's passes on its CPU backend, burn-flex.
//!
//! Its autodiff computes the gradients of a convolution by `ModuleOps::conv{1,2,3}d_weight_backward` and `.._x_backward` of
//! the backend (burn-autodiff, `ops/module.rs`), the pass itself by `conv{1,2,3}d`; the same calls are made here.
//! burn-ndarray, the older CPU backend, is deprecated by its authors and left out. Operands with channels last are permuted
//! views, which the backend takes and copies as it sees fit.

use anyhow::{Context, Result, anyhow};
use burn_backend::TensorData;
use burn_backend::ops::{ConvOptions, FloatTensorOps, ModuleOps};
use burn_flex::{Flex, FlexTensor};
use peers::{Axis, Computation, Layout, Pass, Problem, Shape};
use std::process::ExitCode;

/// The options of a convolution, by its number of dimensions.
enum Options {
    One(ConvOptions<1>),
    Two(ConvOptions<2>),
    Three(ConvOptions<3>),
}

struct Burn {
    pass: Pass,
    input: FlexTensor,
    delta: FlexTensor,
    kernel: FlexTensor,
    options: Options,
    result: Option<FlexTensor>,
}

fn options<const R: usize>(shape: &Shape) -> ConvOptions<R> {
    let axes: &[Axis; R] = shape.axes[..].try_into().expect("the shape has R axes");
    let [stride, dilation] = [axes.map(|a| a.stride), axes.map(|a| a.dilation)];
    // Padding after the input that is negative means positions no output reads: none of it is needed.
    let padding = axes.map(|a| (a.padding, a.padding_end().max(0).unsigned_abs()));
    if shape.expect_symmetric_padding().is_ok() {
        ConvOptions::new(stride, padding.map(|(begin, _)| begin), dilation, shape.groups)
    } else {
        ConvOptions::new_with_padding(stride, padding, dilation, shape.groups)
    }
}

/// A tensor that names its dimensions `[batch, channels, spatial..]`, whatever its order in memory.
fn tensor(numbers: Vec<f32>, dims: Vec<usize>, layout: Layout) -> FlexTensor {
    match layout {
        Layout::Nchw => FlexTensor::from_data(TensorData::new(numbers, dims)),
        Layout::Nhwc => {
            let rank = dims.len();
            let stored = [&dims[..1], &dims[2..], &dims[1..2]].concat();
            let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            Flex::float_permute(FlexTensor::from_data(TensorData::new(numbers, stored)), &order)
        }
    }
}

impl Burn {
    fn load(problem: Problem) -> Burn {
        let Problem { pass, shape, input, weights, delta } = problem;
        Burn {
            pass,
            input: tensor(input, shape.input_dims(), shape.layout),
            delta: tensor(delta, shape.output_dims(), shape.layout),
            kernel: tensor(weights, shape.weights_dims(), Layout::Nchw),
            options: match shape.axes.len() {
                1 => Options::One(options(&shape)),
                2 => Options::Two(options(&shape)),
                _ => Options::Three(options(&shape)),
            },
            result: None,
        }
    }
}

impl Computation for Burn {
    fn run(&mut self) -> Result<()> {
        // Tensors share their numbers: a clone copies none.
        let (input, kernel, delta) = (self.input.clone(), self.kernel.clone(), self.delta.clone());
        self.result = Some(match (self.pass, &self.options) {
            (Pass::Wgrad, Options::One(options)) => Flex::conv1d_weight_backward(input, kernel, delta, options.clone()),
            (Pass::Wgrad, Options::Two(options)) => Flex::conv2d_weight_backward(input, kernel, delta, options.clone()),
            (Pass::Wgrad, Options::Three(options)) => {
                Flex::conv3d_weight_backward(input, kernel, delta, options.clone())
            }
            (Pass::Forward, Options::One(options)) => Flex::conv1d(input, kernel, None, options.clone()),
            (Pass::Forward, Options::Two(options)) => Flex::conv2d(input, kernel, None, options.clone()),
            (Pass::Forward, Options::Three(options)) => Flex::conv3d(input, kernel, None, options.clone()),
            (Pass::Dgrad, Options::One(options)) => Flex::conv1d_x_backward(input, kernel, delta, options.clone()),
            (Pass::Dgrad, Options::Two(options)) => Flex::conv2d_x_backward(input, kernel, delta, options.clone()),
            (Pass::Dgrad, Options::Three(options)) => Flex::conv3d_x_backward(input, kernel, delta, options.clone()),
        });
        Ok(())
    }

    fn result(&self) -> Result<Vec<f32>> {
        let result = self.result.clone().context("nothing was computed")?;
        let data = burn_backend::read_sync(Flex::float_into_data(result)).map_err(|error| anyhow!("{error:?}"))?;
        data.try_into_vec().map_err(|error| anyhow!("{error:?}"))
    }
}

fn main() -> ExitCode {
    peers::serve(&peers::version_of("burn-flex"), |problem| Ok(Box::new(Burn::load(problem))))
}
