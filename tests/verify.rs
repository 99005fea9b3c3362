//! `Verify`: two backends that agree give the first one's bits; a wrong number gives an error, and nothing is written.

mod reference;

use convgrad::{Backend, ConvShape, Cost, Error, Op, Problem, Unsupported, Update, Verify, WeightGradient};
use reference::{Arrangement, Layer, Operand, Random};

/// Every weight off by a part of itself.
struct Faulty {
    part: f32,
}

impl Backend<f32> for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }
    fn description(&self) -> String {
        "the reference with a fault".to_owned()
    }
    fn supports(&self, _: Op, _: &ConvShape) -> Result<(), Unsupported> {
        Ok(())
    }
    fn scratch_len(&self, _: Op, _: &ConvShape) -> usize {
        0
    }
    fn cost(&self, _: Op, _: &ConvShape) -> Cost {
        Cost::default()
    }
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        convgrad::reference::<f32>().error_bound(op, shape)
    }
    fn run(&self, problem: Problem<'_, f32>, scratch: &mut [f32]) {
        let Problem::WeightGradient(problem) = problem else { panic!("the tests ask for the weight gradient") };
        let (shape, input, delta, gradient, update) = problem.into_parts();
        let update = update.scaled(update.scale * (1.0 + self.part));
        let again = WeightGradient::new(shape, input, delta, gradient, update).unwrap();
        convgrad::reference().run(Problem::WeightGradient(again), scratch);
    }
}

fn layer(text: &str) -> Layer<f32> {
    let mut random = Random::new(17);
    Layer::contiguous(text.parse().unwrap(), || random.real())
}

#[test]
fn every_pair_of_backends_agrees() {
    for text in ["mb2ic8ih9oc16kh3ph1", "mb2g2ic8iw30oc8kw5sw2", "mb1ic2id5ih6oc3kd2kh3"] {
        let layer = layer(text);
        for first in reference::able_backends::<f32>(Op::WeightGradient, &layer.shape) {
            let (name, expected) = (first.name(), layer.compute(&*first, Op::WeightGradient));
            let verify = Verify::new(first, convgrad::by_name::<f32>("im2col").unwrap());
            assert_eq!(layer.compute(&verify, Op::WeightGradient), expected, "{text} {name}");
        }
    }
}

#[test]
fn a_wrong_number_is_an_error_and_nothing_is_written() {
    let layer = layer("mb2ic8ih9oc16kh3ph1");
    for (part, is_found) in [(1e-3, true), (0.0, false)] {
        let verify = Verify::new(Faulty { part }, convgrad::by_name::<f32>("im2col").unwrap());
        let mut result = Operand::new(&layer.shape.weights_dims(), &Arrangement::NCHW, || 7.0);
        let outcome = layer.execute(&verify, Op::WeightGradient, &mut result, Update::accumulate());
        match outcome {
            Err(Error::Disagreement { backends, entry, values, allowed }) => {
                assert!(is_found && backends == ["faulty", "im2col"] && entry == 0);
                assert!((values[0] - values[1]).abs() > allowed && allowed > 0.0);
                assert!(result.values().iter().all(|&value| value == 7.0));
            }
            other => assert!(!is_found && other == Ok(()), "{part}: {other:?}"),
        }
    }
}

#[test]
fn scratch_and_refusals_are_those_of_both() {
    let im2col = || convgrad::by_name::<f32>("im2col").unwrap();
    let shape: ConvShape = "mb1ic4ih9oc4kh5".parse().unwrap();
    let verify = Verify::new(convgrad::by_name::<f32>("winograd").unwrap(), im2col());
    assert_eq!(verify.supports(Op::WeightGradient, &shape).unwrap_err().backend, "winograd");
    let verify = Verify::new(convgrad::by_name::<f32>("naive").unwrap(), im2col());
    assert_eq!(
        Backend::<f32>::scratch_len(&verify, Op::WeightGradient, &shape),
        im2col().scratch_len(Op::WeightGradient, &shape)
    );
    let layer = layer("mb1ic4ih9oc4kh5");
    let mut result = Operand::poisoned(&shape.weights_dims(), &Arrangement::NCHW);
    let problem = layer.problem(Op::WeightGradient, &mut result, Update::overwrite());
    assert!(matches!(verify.execute(problem, &mut []), Err(Error::ScratchTooShort { given: 0, .. })));
}
