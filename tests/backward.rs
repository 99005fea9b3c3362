//! The whole backward pass at once: what each pass gives alone, all or nothing.

mod reference;

use convgrad::{Backend, Backward, ConvShape, Error, ErrorScale, Gradients, Op, Registered, Update, View, ViewMut};
use reference::{Arrangement, Layer, Operand, Random, every_backend, result_dims};

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
        // Whole numbers, whose sum is the same whether the bias gradient is taken along or computed alone.
        let layer = Layer::<f32>::contiguous(shape, || random.integer(4));
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

/// Shapes whose weight gradient `direct` computes by kernels that take the bias gradient along: channels of delta in lanes or of
/// the input, one window or several, groups by bundles and by sets, channels that fill no vector.
const FUSING: [&str; 7] = [
    "mb2ic40ih9oc40oh9kh3ph1",
    "mb3ic3ih21oc20kh3ph1sh2",
    "mb2ic70ih13oc35oh13kh1",
    "mb2ic33ih13oc130oh7kh1sh2",
    "mb2g8ic32ih9oc48oh9kh3ph1",
    "mb2g2ic80ih8oc96oh8kh3ph1",
    "mb1ic64ih60oc256oh60kh1",
];

/// Weight and bias gradient in one call.
fn both<T: Registered>(layer: &Layer<T>, backend: &dyn Backend<T>, old: T, update: Update<T>) -> [Vec<T>; 2] {
    let shape = &layer.shape;
    let (mut dw, mut db) = (vec![old; shape.weights_len()], vec![old; shape.out_channels()]);
    let gradients = Gradients {
        weights: Some(ViewMut::nchw(&mut dw, &shape.weights_dims()).unwrap()),
        bias: Some(ViewMut::nchw(&mut db, &[shape.out_channels()]).unwrap()),
        input: None,
        update,
    };
    let (input, weights, delta): (View<'_, T>, View<'_, T>, View<'_, T>) =
        (layer.input.view(), layer.weights.view(), layer.delta.view());
    let problem = Backward::new(shape, input, weights, delta, gradients).unwrap();
    // Neither the content of the scratch nor what lies behind it matters.
    let mut scratch = vec![T::Acc::default(); backend.backward_scratch_len(shape)];
    scratch.fill(T::from_f64(f64::NAN).to_acc());
    backend.execute_backward(problem, &mut scratch).unwrap();
    [dw, db]
}

fn fusing_layers<T: Registered>(mut value: impl FnMut() -> f64) -> Vec<Layer<T>> {
    let gaps = Arrangement { gaps: [3, 2, 1, 2, 1], margin: 2, ..Arrangement::NCHW };
    let orders = [Arrangement::NCHW, Arrangement::NHWC, gaps];
    let mut layers = Vec::new();
    for text in FUSING {
        for order in &orders {
            let arrangements = [order.clone(), order.clone(), Arrangement::NCHW];
            layers.push(Layer::new(text.parse().unwrap(), &arrangements, &mut value));
        }
    }
    layers
}

#[test]
fn a_bias_taken_along_is_the_sum_of_delta() {
    fn check<T: Registered + PartialEq>() {
        let mut random = Random::new(5);
        for layer in fusing_layers::<T>(|| random.integer(4)) {
            let sums = layer.sums(Op::BiasGradient);
            for backend in every_backend::<T>() {
                if backend.supports(Op::WeightGradient, &layer.shape).is_err()
                    || backend.supports(Op::BiasGradient, &layer.shape).is_err()
                {
                    continue;
                }
                let half = Update::accumulate().scaled(T::from_f64(0.5));
                let [_, db] = both(&layer, &*backend, T::from_f64(3.0), half);
                let expected: Vec<T> = sums.iter().map(|sum| T::from_f64(3.0 + 0.5 * sum)).collect();
                assert!(db == expected, "{} by {}: {db:?}", layer.shape, backend.description());
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_bias_taken_along_is_within_the_bounds_and_its_bits_do_not_depend_on_threads() {
    let mut random = Random::new(6);
    let mut fused = 0;
    for layer in fusing_layers::<f32>(|| random.real()) {
        let truth = layer.truth(Op::BiasGradient);
        for backend in every_backend::<f32>().iter().filter(|backend| backend.fuses_bias(&layer.shape)) {
            fused += 1;
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| both(&layer, &**backend, 0.0, Update::overwrite()))
            };
            let [alone, shared] = [on(1), on(3)];
            assert!(alone == shared, "{} by {}", layer.shape, backend.description());
            let bound = [Op::WeightGradient, Op::BiasGradient]
                .map(|op| backend.error_bound(op, &layer.shape))
                .into_iter()
                .fold(0.0, f64::max);
            let error = truth.worst_error(&alone[1], ErrorScale::Products);
            assert!(error <= bound, "{} by {}: {error} > {bound}", layer.shape, backend.description());
            let dw = layer.compute(&**backend, Op::WeightGradient);
            assert!(alone[0] == dw, "{} by {}", layer.shape, backend.description());
        }
    }
    assert!(fused >= FUSING.len() * 3, "only {fused} fused");
}
