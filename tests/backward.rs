//! The whole backward pass at once: what each pass gives alone, all or nothing.

mod reference;

use convgrad::{Backend, Backward, ConvShape, Error, Gradients, Op, Registered, Update, View, ViewMut};
use reference::{Layer, Operand, Random, every_backend, result_dims};

const PASSES: [Op; 3] = [Op::WeightGradient, Op::BiasGradient, Op::InputGradient];

fn poisoned(shape: &ConvShape) -> [Operand<f32>; 3] {
    PASSES.map(|op| Operand::poisoned(&result_dims(shape, op), &reference::Arrangement::NCHW))
}

/// The problem of those gradients that are wanted.
fn problem<'a>(layer: &'a Layer<f32>, results: &'a mut [Operand<f32>; 3], wanted: [bool; 3]) -> Backward<'a, f32> {
    let [weights, bias, input] = results;
    let [wants_weights, wants_bias, wants_input] = wanted;
    let gradients = Gradients {
        weights: wants_weights.then(|| weights.view_mut()),
        bias: wants_bias.then(|| bias.view_mut()),
        input: wants_input.then(|| input.view_mut()),
        update: Update::overwrite(),
    };
    let (input, weights, delta) = (layer.input.view(), layer.weights.view(), layer.delta.view());
    Backward::new(&layer.shape, input, weights, delta, gradients).unwrap()
}

#[test]
fn every_combination_gives_what_the_passes_give_alone() {
    for text in ["mb2g2ic34ih9oc36oh9kh3ph1", "mb3ic5ih8iw11oc7kh3kw2sh2sw3ph1", "mb2g16ic16ih10oc16kh3ph1"] {
        let shape: ConvShape = text.parse().unwrap();
        let mut random = Random::new(3);
        let layer = Layer::<f32>::contiguous(shape, || random.real());
        for backend in every_backend::<f32>() {
            for wanted in (0..8).map(|bits| [0, 1, 2].map(|i| bits >> i & 1 == 1)) {
                let able =
                    PASSES.iter().zip(wanted).all(|(&op, wanted)| !wanted || backend.supports(op, &shape).is_ok());
                let mut results = poisoned(&shape);
                let mut scratch = vec![f32::NAN; backend.backward_scratch_len(&shape)];
                let outcome = backend.execute_backward(problem(&layer, &mut results, wanted), &mut scratch);
                assert_eq!(outcome.is_ok(), able, "{text} by {}", backend.name());
                for ((&op, wanted), result) in PASSES.iter().zip(wanted).zip(&results) {
                    if wanted && able {
                        assert_eq!(
                            result.values(),
                            layer.compute(&*backend, op),
                            "{op} of {text} by {}",
                            backend.name()
                        );
                    } else {
                        let untouched = result.values().iter().all(|value| value.is_nan());
                        assert!(untouched, "{op} of {text} was written by {}", backend.name());
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_written_where_scratch_or_an_operand_does_not_fit() {
    let shape: ConvShape = "mb2ic20ih9oc24oh9kh3ph1".parse().unwrap();
    let layer = Layer::<f32>::contiguous(shape, || 1.0);
    for backend in every_backend::<f32>().iter().filter(|backend| backend.backward_scratch_len(&shape) > 0) {
        let mut results = poisoned(&shape);
        let needed = PASSES.map(|op| backend.supports(op, &shape).map_or(0, |()| backend.scratch_len(op, &shape)));
        let mut scratch = vec![0.0; needed.into_iter().max().unwrap() - 1];
        let refused = backend.execute_backward(problem(&layer, &mut results, [true; 3]), &mut scratch);
        assert!(matches!(refused, Err(Error::ScratchTooShort { .. } | Error::Unsupported(_))), "{}", backend.name());
        assert!(results.iter().all(|result| result.values().iter().all(|value| value.is_nan())));
    }
    // The last operand looked at is the one that is wrong.
    let [mut dw, mut db, mut dx] = [vec![7.0; shape.weights_len()], vec![7.0; 24], vec![7.0; 2 * 20 * 81]];
    let gradients = Gradients {
        weights: Some(ViewMut::nchw(&mut dw, &shape.weights_dims()).unwrap()),
        bias: Some(ViewMut::nchw(&mut db, &[24]).unwrap()),
        input: Some(ViewMut::nchw(&mut dx, &[2, 20, 81, 1]).unwrap()),
        ..Gradients::default()
    };
    let (input, weights, delta) = (layer.input.view(), layer.weights.view(), layer.delta.view());
    let refused = convgrad::by_name("im2col").unwrap().backward(&shape, input, weights, delta, gradients);
    assert!(matches!(refused, Err(Error::Dims { argument: "gradient", .. })), "{refused:?}");
    assert!([dw, db, dx].iter().all(|gradient| gradient.iter().all(|&value| value == 7.0)));
}

#[test]
fn the_call_that_allocates_gives_the_same() {
    fn check<T: Registered>() {
        let shape: ConvShape = "mb2ic3ih7oc4kh3ph1sh2".parse().unwrap();
        let mut random = Random::new(4);
        let layer = Layer::<T>::contiguous(shape, || random.real());
        let (mut dw, mut dx) = (vec![T::default(); shape.weights_len()], vec![T::default(); 2 * 3 * 49]);
        let gradients = Gradients {
            weights: Some(ViewMut::nchw(&mut dw, &shape.weights_dims()).unwrap()),
            input: Some(ViewMut::nchw(&mut dx, &shape.input_dims()).unwrap()),
            ..Gradients::default()
        };
        let backend = convgrad::by_name::<T>("im2col").unwrap();
        let (input, weights, delta): (View<'_, T>, View<'_, T>, View<'_, T>) =
            (layer.input.view(), layer.weights.view(), layer.delta.view());
        backend.backward(&shape, input, weights, delta, gradients).unwrap();
        assert_eq!(dw, layer.compute(&*backend, Op::WeightGradient));
        assert_eq!(dx, layer.compute(&*backend, Op::InputGradient));
    }
    check::<f32>();
    check::<f64>();
}
