//! convgrad itself: `ours BACKEND`.
//!
//! As in a training loop that does not allocate, the backend's scratch and the result are the caller's and stay from
//! call to call.

use anyhow::{Context, Result};
use convgrad::{Backend, ConvShape, Forward, InputGradient, Layout, Op, Update, View, ViewMut, WeightGradient};
use peers::{Computation, Pass, Problem};
use std::process::ExitCode;

struct Ours {
    backend: Box<dyn Backend<f32>>,
    shape: ConvShape,
    problem: Problem,
    result: Vec<f32>,
    scratch: Vec<f32>,
    input_dims: Vec<usize>,
    weights_dims: Vec<usize>,
    delta_dims: Vec<usize>,
    result_dims: Vec<usize>,
    result_layout: Layout,
}

impl Ours {
    fn load(backend: &str, problem: Problem) -> Result<Ours> {
        let backend = convgrad::by_name::<f32>(backend)?;
        let shape: ConvShape = problem.shape.descriptor.parse()?;
        let (op, result_layout) = match problem.pass {
            Pass::Wgrad => (Op::WeightGradient, Layout::Nchw),
            Pass::Forward => (Op::Forward, problem.shape.layout.into()),
            Pass::Dgrad => (Op::InputGradient, problem.shape.layout.into()),
        };
        backend.supports(op, &shape)?;
        let result_dims = problem.pass.result_dims(&problem.shape);
        Ok(Ours {
            result: vec![f32::NAN; result_dims.iter().product()],
            scratch: vec![f32::NAN; backend.scratch_len(op, &shape)],
            input_dims: shape.input_dims(),
            weights_dims: shape.weights_dims(),
            delta_dims: shape.output_dims(),
            result_dims,
            result_layout,
            backend,
            shape,
            problem,
        })
    }
}

impl Computation for Ours {
    fn run(&mut self) -> Result<()> {
        let Problem { pass, shape: peers::Shape { layout, .. }, input, weights, delta } = &self.problem;
        let layout = Layout::from(*layout);
        let shape = &self.shape;
        let input = View::new(input, &self.input_dims, layout)?;
        let weights = View::nchw(weights, &self.weights_dims)?;
        let delta = View::new(delta, &self.delta_dims, layout)?;
        let (result, update) =
            (ViewMut::new(&mut self.result, &self.result_dims, self.result_layout)?, Update::overwrite());
        let problem = match pass {
            Pass::Wgrad => convgrad::Problem::WeightGradient(WeightGradient::new(shape, input, delta, result, update)?),
            Pass::Forward => convgrad::Problem::Forward(Forward::new(shape, input, weights, None, result)?),
            Pass::Dgrad => convgrad::Problem::InputGradient(InputGradient::new(shape, weights, delta, result, update)?),
        };
        Ok(self.backend.execute(problem, &mut self.scratch)?)
    }

    fn result(&self) -> Result<Vec<f32>> {
        Ok(match self.problem.pass {
            Pass::Wgrad => self.result.clone(),
            Pass::Forward | Pass::Dgrad => self.problem.shape.channels_first(&self.result, &self.result_dims),
        })
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
