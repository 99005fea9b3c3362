//! candle's weight gradient: what its autograd computes for the kernel of a convolution, and nothing else.
//!
//! `Tensor::backward` of candle-core (`backprop.rs`, `Op::Conv1D` and `Op::Conv2D`) always computes the gradient of the
//! input as well and offers no call for the kernel's alone, so its steps for the kernel are repeated here: a forward
//! convolution of the transposed operands with stride and dilation exchanged, cut to the kernel's size, added to zeros.
//! A test holds the result against `backward`, bit for bit.
//!
//! Of a grouped convolution candle makes one convolution a group. The zeros with which autograd then pads each group's
//! gradient to the whole kernel's size are left out here, in candle's favour. Operands with channels last are permuted
//! views, which candle takes and copies as it sees fit.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use peers::{Computation, Layout, Problem};
use std::process::ExitCode;

struct Candle {
    input: Tensor,
    delta: Tensor,
    /// Stands for the kernel, whose size alone matters.
    kernel: Tensor,
    groups: usize,
    padding: usize,
    stride: usize,
    dilation: usize,
    gradient: Option<Tensor>,
}

impl Candle {
    fn load(problem: Problem) -> Result<Candle> {
        let Problem { shape, input, delta } = problem;
        ensure!(shape.axes.len() < 3, "has no convolution in three dimensions");
        let axes = &shape.axes;
        let first = &axes[0];
        // The stride of an axis with a single output has no meaning: another axis may say it.
        let stride = axes.iter().find(|a| a.output > 1).unwrap_or(first).stride;
        for axis in axes {
            let same = axis.padding == first.padding && axis.dilation == first.dilation;
            if !same || (axis.output > 1 && axis.stride != stride) {
                bail!("takes one stride, one dilation and one padding for both dimensions");
            }
        }
        shape.expect_symmetric_padding()?;
        Ok(Candle {
            input: tensor(input, shape.input_dims(), shape.layout)?,
            delta: tensor(delta, shape.output_dims(), shape.layout)?,
            kernel: Tensor::zeros(shape.weights_dims(), candle_core::DType::F32, &Device::Cpu)?,
            groups: shape.groups,
            padding: first.padding,
            stride,
            dilation: first.dilation,
            gradient: None,
        })
    }

    /// The gradient of the kernel of one group.
    fn of_group(&self, input: &Tensor, delta: &Tensor, kernel: &Tensor) -> candle_core::Result<Tensor> {
        let (input, delta) = (input.transpose(0, 1)?, delta.transpose(0, 1)?);
        let (padding, stride, dilation) = (self.padding, self.dilation, self.stride);
        let gradient = match kernel.rank() {
            3 => input.conv1d(&delta, padding, stride, dilation, 1),
            _ => input.conv2d(&delta, padding, stride, dilation, 1),
        };
        let mut gradient = gradient?.transpose(0, 1)?;
        // Input positions that no output reads give taps beyond the kernel.
        for dim in 2..kernel.rank() {
            gradient = gradient.narrow(dim, 0, kernel.dim(dim)?)?;
        }
        kernel.zeros_like()?.add(&gradient)
    }
}

/// A tensor that names its dimensions `[batch, channels, spatial..]`, whatever its order in memory.
fn tensor(numbers: Vec<f32>, dims: Vec<usize>, layout: Layout) -> candle_core::Result<Tensor> {
    match layout {
        Layout::Nchw => Tensor::from_vec(numbers, dims, &Device::Cpu),
        Layout::Nhwc => {
            let rank = dims.len();
            let stored: Vec<usize> = [&dims[..1], &dims[2..], &dims[1..2]].concat();
            let order: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
            Tensor::from_vec(numbers, stored, &Device::Cpu)?.permute(order)
        }
    }
}

impl Computation for Candle {
    fn run(&mut self) -> Result<()> {
        let gradient = if self.groups == 1 {
            self.of_group(&self.input, &self.delta, &self.kernel)?
        } else {
            let inputs = self.input.chunk(self.groups, 1)?;
            let deltas = self.delta.chunk(self.groups, 1)?;
            let kernels = self.kernel.chunk(self.groups, 0)?;
            let groups = inputs.iter().zip(&deltas).zip(&kernels);
            let gradients: candle_core::Result<Vec<Tensor>> =
                groups.map(|((input, delta), kernel)| self.of_group(input, delta, kernel)).collect();
            Tensor::cat(&gradients?, 0)?
        };
        self.gradient = Some(gradient);
        Ok(())
    }

    fn gradient(&self) -> Result<Vec<f32>> {
        let gradient = self.gradient.as_ref().context("nothing was computed")?;
        Ok(gradient.contiguous()?.flatten_all()?.to_vec1()?)
    }
}

fn main() -> ExitCode {
    peers::serve(&peers::version_of("candle-core"), |problem| Ok(Box::new(Candle::load(problem)?)))
}

#[cfg(all(test, feature = "ours"))]
mod tests {
    use super::*;
    use candle_core::Var;
    use peers::Shape;

    fn problem(shape: &str) -> Problem {
        let shape = Shape::of(&shape.parse().unwrap(), Layout::Nchw);
        let mut random = fastrand::Rng::with_seed(1);
        let mut numbers = |dims: Vec<usize>| (0..dims.iter().product()).map(|_| random.f32() - 0.5).collect();
        let (input, delta) = (numbers(shape.input_dims()), numbers(shape.output_dims()));
        Problem { shape, input, delta }
    }

    #[test]
    fn it_is_what_backward_gives() {
        for shape in [
            "mb2ic3ih8oc4kh3ph1",
            "mb2ic3ih9oc4oh4kh3sh2ph0",
            "mb2ic4ih8oc6oh4kh3sh2ph1",
            "mb2ic3ih10oc4oh6kh3ph0dh1",
            "mb2ic3ih6oc5kh1",
            "mb2ic3iw11oc4kw4",
            "mb2g2ic4ih8oc6kh3ph1",
        ] {
            let mut ours = Candle::load(problem(shape)).unwrap();
            ours.run().unwrap();
            let kernel = Var::from_tensor(&ours.kernel).unwrap();
            let (padding, stride, dilation) = (ours.padding, ours.stride, ours.dilation);
            let output = match kernel.rank() {
                3 => ours.input.conv1d(&kernel, padding, stride, dilation, ours.groups),
                _ => ours.input.conv2d(&kernel, padding, stride, dilation, ours.groups),
            };
            let error = output.unwrap().mul(&ours.delta).unwrap().sum_all().unwrap();
            let theirs = error.backward().unwrap().get(&kernel).unwrap().flatten_all().unwrap();
            assert_eq!(ours.gradient().unwrap(), theirs.to_vec1::<f32>().unwrap(), "{shape}");
        }
    }

    #[test]
    fn what_it_has_no_call_for_is_refused() {
        for shape in ["mb1ic1id4oc1kd2", "mb1ic1ih8oc1kh3sh2sw1", "mb1ic1ih6oc1oh3kh3sh2ph0"] {
            assert!(Candle::load(problem(shape)).is_err(), "{shape}");
        }
    }
}
