//! `Verify`: two backends that agree give the first one's bits; a wrong number gives an error, and nothing is written.

mod reference;

use convgrad::{
    Backend, BiasGradient, ConvShape, Cost, Error, Forward, InputGradient, Op, Problem, Unsupported, Update, Verify,
    WeightGradient,
};
use reference::{Arrangement, Layer, OPS, Operand, Random, result_dims};

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
        let off = |update: Update<f32>| update.scaled(update.scale * (1.0 + self.part));
        let again = match problem {
            Problem::WeightGradient(problem) => {
                let (shape, input, delta, gradient, update) = problem.into_parts();
                WeightGradient::new(shape, input, delta, gradient, off(update)).map(Problem::WeightGradient)
            }
            Problem::BiasGradient(problem) => {
                let (shape, delta, gradient, update) = problem.into_parts();
                BiasGradient::new(shape, delta, gradient, off(update)).map(Problem::BiasGradient)
            }
            Problem::Forward(problem) => {
                let (shape, input, weights, bias, output, update) = problem.into_parts();
                Forward::new(shape, input, weights, bias, output).map(|p| Problem::Forward(p.updating(off(update))))
            }
            Problem::InputGradient(problem) => {
                let (shape, weights, delta, gradient, update) = problem.into_parts();
                InputGradient::new(shape, weights, delta, gradient, off(update)).map(Problem::InputGradient)
            }
            other => panic!("the tests do not know the {} yet", other.op()),
        };
        convgrad::reference().run(again.unwrap(), scratch);
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
        for op in OPS {
            for first in reference::able_backends::<f32>(op, &layer.shape) {
                let (name, expected) = (first.name(), layer.compute(&*first, op));
                let verify = Verify::new(first, convgrad::by_name::<f32>("im2col").unwrap());
                assert_eq!(layer.compute(&verify, op), expected, "{op} of {text}: {name}");
            }
        }
    }
}

#[test]
fn a_wrong_number_is_an_error_and_nothing_is_written() {
    let layer = layer("mb2ic8ih9oc16kh3ph1");
    for op in OPS {
        for second in ["im2col", "winograd"] {
            let by_name = || convgrad::by_name::<f32>(second).unwrap();
            if by_name().supports(op, &layer.shape).is_err() {
                continue;
            }
            for (part, is_found) in [(0.5, true), (0.0, false)] {
                let verify = Verify::new(Faulty { part }, by_name());
                let mut result = Operand::new(&result_dims(&layer.shape, op), &Arrangement::NCHW, || 7.0);
                let outcome = layer.execute(&verify, op, &mut result, Update::accumulate());
                match outcome {
                    Err(Error::Disagreement { backends, values, allowed, .. }) => {
                        assert!(is_found && backends == ["faulty", second], "{op}");
                        assert!((values[0] - values[1]).abs() > allowed && allowed > 0.0, "{op}");
                        assert!(result.values().iter().all(|&value| value == 7.0), "{op}");
                    }
                    other => assert!(!is_found && other == Ok(()), "{op} {second} {part}: {other:?}"),
                }
            }
        }
    }
}

#[test]
fn norms_are_those_of_their_definition() {
    for text in
        ["mb2ic3ih9oc4kh3ph1", "mb2g2ic6ih11iw8oc4kh3sh2ph1dh1", "mb2g3ic3id7ih6oc6kd2kh3sd3pd1", "mb1ic2iw9oc2kw4sw3"]
    {
        let layer = layer(text);
        for op in [Op::WeightGradient, Op::Forward, Op::InputGradient] {
            let mut result = Operand::poisoned(&result_dims(&layer.shape, op), &Arrangement::NCHW);
            let norms = layer.problem(op, &mut result, Update::overwrite()).norms().unwrap();
            let expected = layer.truth(op).norms;
            assert_eq!(norms.len(), expected.len(), "{op} of {text}");
            for (entry, (norm, expected)) in norms.iter().zip(expected).enumerate() {
                approx::assert_relative_eq!(*norm, expected, max_relative = 1e-9, epsilon = 1e-12);
                assert!(*norm > 0.0, "{op} of {text}: entry {entry}");
            }
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
