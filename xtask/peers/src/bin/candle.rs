//! candle's passes: what its autograd computes for a convolution, and nothing else.
//!
//! `Tensor::backward` of candle-core (`backprop.rs`, `Op::Conv1D` and `Op::Conv2D`) always computes the gradients of input and
//! kernel together and offers no call for one of them alone, so its steps for each are repeated here. Of the kernel: a forward
//! convolution of the transposed operands with stride and dilation exchanged, cut to the kernel's size, added to zeros. Of the
//! input: a transposed convolution, added to zeros. A test holds the results against `backward`, bit for bit.
//!
//! In one dimension the kernel's is wrong: `conv1d` of candle-core 0.11.1 misreads a kernel that is not contiguous, which
//! a transposed delta is not. It is called as autograd calls it all the same; the contest finds and names it.
//!
//! Of a grouped convolution candle makes one convolution a group. The zeros with which autograd then pads each group's
//! gradient to the whole operand's size are left out here, in candle's favour. Operands with channels last are permuted
//! views, which candle takes and copies as it sees fit.

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use peers::{Computation, Layout, Pass, Problem};
use std::process::ExitCode;

struct Candle {
    pass: Pass,
    input: Tensor,
    delta: Tensor,
    kernel: Tensor,
    groups: usize,
    padding: usize,
    stride: usize,
    dilation: usize,
    result: Option<Tensor>,
}

impl Candle {
    fn load(problem: Problem) -> Result<Candle> {
        let Problem { pass, shape, input, weights, delta } = problem;
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
            pass,
            input: tensor(input, shape.input_dims(), shape.layout)?,
            delta: tensor(delta, shape.output_dims(), shape.layout)?,
            kernel: tensor(weights, shape.weights_dims(), Layout::Nchw)?,
            groups: shape.groups,
            padding: first.padding,
            stride,
            dilation: first.dilation,
            result: None,
        })
    }

    /// The gradient of the kernel of one group.
    fn kernel_gradient(&self, input: &Tensor, delta: &Tensor, kernel: &Tensor) -> candle_core::Result<Tensor> {
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

    /// The gradient of the input of one group.
    fn input_gradient(&self, input: &Tensor, delta: &Tensor, kernel: &Tensor) -> candle_core::Result<Tensor> {
        let Candle { padding, stride, dilation, .. } = *self;
        let reached = (delta.dim(2)? - 1) * stride + dilation * (kernel.dim(2)? - 1) + 1 - 2 * padding;
        let beyond = input.dim(2)? - reached;
        let gradient = match kernel.rank() {
            3 => delta.conv_transpose1d(kernel, padding, beyond, stride, dilation, 1),
            _ => delta.conv_transpose2d(kernel, padding, beyond, stride, dilation),
        };
        input.zeros_like()?.add(&gradient?)
    }

    fn forward(&self) -> candle_core::Result<Tensor> {
        let Candle { input, kernel, padding, stride, dilation, groups, .. } = self;
        match kernel.rank() {
            3 => input.conv1d(kernel, *padding, *stride, *dilation, *groups),
            _ => input.conv2d(kernel, *padding, *stride, *dilation, *groups),
        }
    }

    /// A gradient, group by group, put together along a dimension.
    fn by_group(
        &self,
        of_group: impl Fn(&Tensor, &Tensor, &Tensor) -> candle_core::Result<Tensor>,
        dimension: usize,
    ) -> candle_core::Result<Tensor> {
        if self.groups == 1 {
            return of_group(&self.input, &self.delta, &self.kernel);
        }
        let inputs = self.input.chunk(self.groups, 1)?;
        let deltas = self.delta.chunk(self.groups, 1)?;
        let kernels = self.kernel.chunk(self.groups, 0)?;
        let groups = inputs.iter().zip(&deltas).zip(&kernels);
        let gradients: candle_core::Result<Vec<Tensor>> =
            groups.map(|((input, delta), kernel)| of_group(input, delta, kernel)).collect();
        Tensor::cat(&gradients?, dimension)
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
        self.result = Some(match self.pass {
            Pass::Wgrad => self.by_group(|input, delta, kernel| self.kernel_gradient(input, delta, kernel), 0)?,
            Pass::Dgrad => self.by_group(|input, delta, kernel| self.input_gradient(input, delta, kernel), 1)?,
            Pass::Forward => self.forward()?,
        });
        Ok(())
    }

    fn result(&self) -> Result<Vec<f32>> {
        let result = self.result.as_ref().context("nothing was computed")?;
        Ok(result.contiguous()?.flatten_all()?.to_vec1()?)
    }
}

fn main() -> ExitCode {
    peers::serve(&peers::version_of("candle-core"), |problem| Ok(Box::new(Candle::load(problem)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Var;
    use peers::{Axis, Shape};

    /// A problem of random numbers: channels in and out, groups, and axes of input, kernel, output, stride, dilation,
    /// padding.
    fn problem([in_channels, out_channels, groups]: [usize; 3], axes: &[[usize; 6]]) -> Problem {
        let axis = |&[input, kernel, output, stride, dilation, padding]: &[usize; 6]| Axis {
            input,
            kernel,
            output,
            stride,
            dilation,
            padding,
        };
        let axes = axes.iter().map(axis).collect();
        let (descriptor, layout) = (String::new(), Layout::Nchw);
        let shape = Shape { descriptor, layout, batch: 2, groups, in_channels, out_channels, axes };
        let mut random = fastrand::Rng::with_seed(1);
        let mut numbers = |dims: Vec<usize>| (0..dims.iter().product()).map(|_| random.f32() - 0.5).collect();
        let [input, delta, weights] = [shape.input_dims(), shape.output_dims(), shape.weights_dims()].map(&mut numbers);
        Problem { pass: Pass::Wgrad, input, weights, delta, shape }
    }

    #[test]
    fn gradients_are_what_backward_gives() {
        for (channels, axes) in [
            ([3, 4, 1], &[[8, 3, 8, 1, 1, 1]; 2][..]),
            ([3, 4, 1], &[[9, 3, 4, 2, 1, 0]; 2]),
            ([4, 6, 1], &[[8, 3, 4, 2, 1, 1]; 2]),
            ([3, 4, 1], &[[10, 3, 6, 1, 2, 0]; 2]),
            ([3, 5, 1], &[[6, 1, 6, 1, 1, 0]; 2]),
            ([4, 6, 2], &[[8, 3, 8, 1, 1, 1]; 2]),
            ([3, 4, 1], &[[11, 4, 8, 1, 1, 0]]),
        ] {
            let mut ours = Candle::load(problem(channels, axes)).unwrap();
            let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            ours.input = Var::from_tensor(&ours.input).unwrap().as_tensor().clone();
            ours.kernel = Var::from_tensor(&ours.kernel).unwrap().as_tensor().clone();
            let output = ours.forward().unwrap();
            let theirs = output.mul(&ours.delta).unwrap().sum_all().unwrap().backward().unwrap();
            for (pass, expected) in [
                (Pass::Wgrad, theirs.get(&ours.kernel).unwrap()),
                (Pass::Dgrad, theirs.get(&ours.input).unwrap()),
                (Pass::Forward, &output),
            ] {
                ours.pass = pass;
                ours.run().unwrap();
                assert_eq!(ours.result().unwrap(), numbers(expected), "{pass:?} {channels:?} {axes:?}");
            }
        }
    }

    #[test]
    fn what_it_has_no_call_for_is_refused() {
        let (low, high) = ([8, 3, 6, 1, 1, 0], [8, 3, 3, 2, 1, 0]);
        for axes in [&[low; 3][..], &[low, high], &[[6, 3, 3, 2, 1, 0]; 2]] {
            assert!(Candle::load(problem([1, 1, 1], axes)).is_err(), "{axes:?}");
        }
    }
}
