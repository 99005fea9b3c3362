//! convgrad itself: `ours BACKEND`.
//!
//! As in a training loop that does not allocate, the backend's scratch and the gradient are the caller's and stay from
//! call to call.

use anyhow::{Context, Result};
use convgrad::{Backend, ConvShape, Layout, Op, Update, View, ViewMut, WeightGradient};
use peers::{Computation, Problem};
use std::process::ExitCode;

struct Ours {
    backend: Box<dyn Backend<f32>>,
    shape: ConvShape,
    problem: Problem,
    gradient: Vec<f32>,
    scratch: Vec<f32>,
    input_dims: Vec<usize>,
    delta_dims: Vec<usize>,
    dims: Vec<usize>,
    strides: Vec<isize>,
}

impl Ours {
    fn load(backend: &str, problem: Problem) -> Result<Ours> {
        let backend = convgrad::by_name::<f32>(backend)?;
        let shape: ConvShape = problem.shape.descriptor.parse()?;
        backend.supports(Op::WeightGradient, &shape)?;
        let dims = shape.weights_dims();
        Ok(Ours {
            gradient: vec![f32::NAN; shape.weights_len()],
            scratch: vec![f32::NAN; backend.scratch_len(Op::WeightGradient, &shape)],
            input_dims: shape.input_dims(),
            delta_dims: shape.output_dims(),
            strides: Layout::Nchw.strides(&dims),
            dims,
            backend,
            shape,
            problem,
        })
    }
}

impl Computation for Ours {
    fn run(&mut self) -> Result<()> {
        let Problem { shape: peers::Shape { layout, .. }, input, delta } = &self.problem;
        let layout = Layout::from(*layout);
        let problem = WeightGradient::new(
            &self.shape,
            View::new(input, &self.input_dims, layout)?,
            View::new(delta, &self.delta_dims, layout)?,
            ViewMut::strided(&mut self.gradient, &self.dims, &self.strides, 0)?,
            Update::overwrite(),
        )?;
        Ok(self.backend.execute(convgrad::Problem::WeightGradient(problem), &mut self.scratch)?)
    }

    fn gradient(&self) -> Result<Vec<f32>> {
        Ok(self.gradient.clone())
    }
}

fn main() -> ExitCode {
    let backend = match std::env::args().nth(1).context("usage: ours BACKEND") {
        Ok(backend) => backend,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    peers::serve(&peers::version_of("convgrad"), |problem| Ok(Box::new(Ours::load(&backend, problem)?)))
}
