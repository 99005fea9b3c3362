//! The chooser as a backend like any other: each answer is that of the backend chosen.

use super::{Auto, Limits};
use crate::backend::{Backend, ErrorScale};
use crate::bias::bias_gradient;
use crate::cost::Cost;
use crate::element::Element;
use crate::error::{Error, Unsupported};
use crate::op::Op;
use crate::problem::Problem;
use crate::shape::ConvShape;

impl<T: Element> Backend<T> for Auto<T> {
    fn name(&self) -> &'static str {
        "auto"
    }

    fn description(&self) -> String {
        let names: Vec<_> = self.backends.iter().map(|backend| backend.name()).collect();
        format!("for each problem the fastest of {}", names.join(", "))
    }

    fn supports(&self, op: Op, shape: &ConvShape) -> Result<(), Unsupported> {
        self.choose(op, shape).map(|_| ()).ok_or_else(|| refusal(op))
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        self.choose(op, shape).map_or(0, |backend| backend.scratch_len(op, shape))
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        self.choose(op, shape).map_or_else(Cost::default, |backend| backend.cost(op, shape))
    }

    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        self.choose(op, shape).map_or(f64::INFINITY, |backend| backend.error_bound(op, shape))
    }

    fn error_scale(&self, op: Op, shape: &ConvShape) -> ErrorScale {
        self.choose(op, shape).map_or(ErrorScale::Products, |backend| backend.error_scale(op, shape))
    }

    fn typical_error(&self, op: Op, shape: &ConvShape) -> f64 {
        self.choose(op, shape).map_or(f64::INFINITY, |backend| backend.typical_error(op, shape))
    }

    fn is_reproducible(&self) -> bool {
        self.limits.reproducible
    }

    fn plan(&self, op: Op, shape: &ConvShape) -> Option<String> {
        let (candidates, choice) = self.decide(op, shape, &self.limits);
        let (index, rule) = choice?;
        let plan = self.backends[index].plan(op, shape).map_or_else(String::new, |plan| format!(": {plan}"));
        Some(format!("{}, {rule}{plan}", candidates[index].backend))
    }

    fn fuses_bias(&self, shape: &ConvShape) -> bool {
        self.choose(Op::WeightGradient, shape).is_some_and(|backend| backend.fuses_bias(shape))
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        match self.choose(problem.op(), problem.shape()) {
            Some(backend) => backend.run(bias_computed(backend, problem), scratch),
            // `supports` refuses it.
            None => unreachable!("no backend computes the {}", problem.op()),
        }
    }

    fn execute(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) -> Result<(), Error> {
        match self.choose(problem.op(), problem.shape()) {
            Some(backend) => backend.execute(bias_computed(backend, problem), scratch),
            None => Err(refusal(problem.op()).into()),
        }
    }

    /// As every backend does it; where the one chosen needs more than `limit` bytes, another is chosen that does not.
    fn execute_within(&self, problem: Problem<'_, T>, limit: usize) -> Result<(), Error> {
        let (op, shape) = (problem.op(), problem.shape());
        let backend = self.choose(op, shape).ok_or_else(|| refusal(op))?;
        let fits = |backend: &dyn Backend<T>| backend.scratch_len(op, shape) <= limit / size_of::<T::Acc>();
        if limit == usize::MAX || fits(backend) {
            return backend.execute_within(problem, limit);
        }
        let within = self.limits.max_workspace.map_or(limit, |bytes| bytes.min(limit));
        let limits = Limits { max_workspace: Some(within), ..self.limits.clone() };
        match self.decide(op, shape, &limits).1 {
            Some((index, _)) => self.backends[index].execute_within(problem, limit),
            None => backend.execute_within(problem, limit),
        }
    }
}

/// A problem whose bias gradient is computed already if the backend does not take it along: another thread may have measured
/// since [`fuses_bias`](Backend::fuses_bias) was asked, and the choice may be another.
fn bias_computed<'a, T: Element>(backend: &dyn Backend<T>, mut problem: Problem<'a, T>) -> Problem<'a, T> {
    if let Problem::WeightGradient(gradient) = &mut problem
        && gradient.bias.is_some()
        && !backend.fuses_bias(gradient.shape)
        && let Some(bias) = gradient.split_bias()
    {
        bias_gradient(bias);
    }
    problem
}

/// What is told where every backend is refused.
fn refusal(op: Op) -> Unsupported {
    let remedy = "raise the limits; `Auto::explain` tells of each backend why";
    Unsupported { backend: "auto", op, reason: "every backend is refused, by itself or by the limits", remedy }
}
