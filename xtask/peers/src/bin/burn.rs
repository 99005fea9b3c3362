//! burn's weight gradient on its CPU backend, burn-flex.
//!
//! Its autodiff computes the gradient of a tracked kernel by `ModuleOps::conv{1,2,3}d_weight_backward` of the backend
//! (burn-autodiff, `ops/module.rs`); the same call is made here. burn-ndarray, the older CPU backend, is deprecated by
//! its authors and left out. Operands with channels last are permuted views, which the backend takes and copies as it
//! sees fit.

use anyhow::{Context, Result, anyhow};
use burn_backend::TensorData;
use burn_backend::ops::{ConvOptions, FloatTensorOps, ModuleOps};
use burn_flex::{Flex, FlexTensor};
use peers::{Axis, Computation, Layout, Problem, Shape};
use std::process::ExitCode;

/// The options of a convolution, by its number of dimensions.
enum Options {
    One(ConvOptions<1>),
    Two(ConvOptions<2>),
    Three(ConvOptions<3>),
}

struct Burn {
    input: FlexTensor,
    delta: FlexTensor,
    kernel: FlexTensor,
    options: Options,
    gradient: Option<FlexTensor>,
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
        let Problem { shape, input, delta } = problem;
        Burn {
            input: tensor(input, shape.input_dims(), shape.layout),
            delta: tensor(delta, shape.output_dims(), shape.layout),
            kernel: tensor(vec![0.0; shape.weights_len()], shape.weights_dims(), Layout::Nchw),
            options: match shape.axes.len() {
                1 => Options::One(options(&shape)),
                2 => Options::Two(options(&shape)),
                _ => Options::Three(options(&shape)),
            },
            gradient: None,
        }
    }
}

impl Computation for Burn {
    fn run(&mut self) -> Result<()> {
        // Tensors share their numbers: a clone copies none.
        let (input, kernel, delta) = (self.input.clone(), self.kernel.clone(), self.delta.clone());
        self.gradient = Some(match &self.options {
            Options::One(options) => Flex::conv1d_weight_backward(input, kernel, delta, options.clone()),
            Options::Two(options) => Flex::conv2d_weight_backward(input, kernel, delta, options.clone()),
            Options::Three(options) => Flex::conv3d_weight_backward(input, kernel, delta, options.clone()),
        });
        Ok(())
    }

    fn gradient(&self) -> Result<Vec<f32>> {
        let gradient = self.gradient.clone().context("nothing was computed")?;
        let data = burn_backend::read_sync(Flex::float_into_data(gradient)).map_err(|error| anyhow!("{error:?}"))?;
        data.try_into_vec().map_err(|error| anyhow!("{error:?}"))
    }
}

fn main() -> ExitCode {
    peers::serve(&peers::version_of("burn-flex"), |problem| Ok(Box::new(Burn::load(problem))))
}
