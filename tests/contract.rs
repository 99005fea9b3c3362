//! What every call promises: a result that depends on nothing but the operands, whatever the number of threads, the content
//! of the scratch, and what the output held; and that backends are objects threads may share.

mod reference;

use convgrad::{
    Backend, ConvShape, Element, ErrorScale, Layout, Op, Problem, Registered, Update, View, ViewMut, WeightGradient,
};
use rayon::ThreadPoolBuilder;
use reference::{Arrangement, Layer, OPS, Operand, Random, able_backends, every_backend, exact_backends, result_dims};

fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    values.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// What a backend makes of a layer in a pool of this many threads.
fn on_threads<T: Element>(threads: usize, layer: &Layer<T>, backend: &dyn Backend<T>, op: Op) -> Vec<u64> {
    let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| bits(&layer.compute(backend, op)))
}

#[test]
fn the_same_bits_on_1_2_3_and_8_threads() {
    fn check<T: Registered>() {
        // Many channels; few channels on a large plane; one channel; depthwise; uneven groups; one dimension; three.
        let shapes = [
            "mb2ic64ih20oc64oh20kh3ph1",
            "mb2ic3ih80oc16oh40kh7sh2ph3",
            "mb1ic1ih300oc1oh298kh3",
            "mb3g40ic40ih48oc40oh48kh3ph1",
            "mb2g3ic51ih15oc33oh8kh5sh2ph2",
            "mb4ic20iw1500oc24kw9pw4",
            "mb1ic12id10ih11iw12oc18kd3ph1",
            "mb8ic96ih12oc128kh1",
            "mb8ic40ih7oc48oh7kh3ph1",
        ];
        for shape in shapes.map(|s| s.parse::<ConvShape>().unwrap()) {
            let mut random = Random::new(7);
            let layer = Layer::<T>::contiguous(shape, || random.real());
            for backend in every_backend::<T>().iter().filter(|b| b.name() != "naive") {
                for op in OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
                    let one = on_threads(1, &layer, &**backend, op);
                    for threads in [2, 3, 8] {
                        let many = on_threads(threads, &layer, &**backend, op);
                        assert!(one == many, "{op} of {shape} by {}: {threads} threads differ", backend.description());
                    }
                }
            }
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn the_same_bits_in_a_hundred_runs() {
    let shape: ConvShape = "mb64ic1id16oc3kd1sd2pd1".parse().unwrap();
    assert_eq!(shape.output_dims(), [64, 3, 9, 9, 9]);
    let mut random = Random::new(8);
    let layer = Layer::<f32>::contiguous(shape, || random.real());
    let pool = ThreadPoolBuilder::new().num_threads(4).build().unwrap();
    for op in OPS {
        for backend in able_backends::<f32>(op, &shape) {
            let first = bits(&layer.compute(&*backend, op));
            for _ in 1..100 {
                let again = pool.install(|| bits(&layer.compute(&*backend, op)));
                assert_eq!(again, first, "{op} by {}", backend.description());
            }
        }
    }
}

/// NaN in the output and in the scratch must not reach the result; neither must what an earlier call left in a scratch
/// that is longer than needed.
#[test]
fn scratch_and_output_may_hold_anything() {
    for text in ["mb2ic5ih9oc7oh9kh3ph1", "mb1ic40ih7oc33oh7kh3ph1", "mb2g4ic4ih12oc8oh5kh3sh2"] {
        let shape: ConvShape = text.parse().unwrap();
        let mut random = Random::new(9);
        let layer = Layer::<f32>::contiguous(shape, || random.real());
        for backend in every_backend::<f32>() {
            for op in OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
                let needed = backend.scratch_len(op, &shape);
                let contents = [f32::NAN, 0.0, f32::INFINITY, f32::MAX];
                let results = contents.map(|content| {
                    let mut scratch = vec![content; needed + 100];
                    let mut result = Operand::result(&result_dims(&shape, op), &Arrangement::NCHW, || content.into());
                    let problem = layer.problem(op, &mut result, Update::overwrite());
                    backend.execute(problem, &mut scratch).unwrap();
                    // Once more, with what the first call left behind.
                    let problem = layer.problem(op, &mut result, Update::overwrite());
                    backend.execute(problem, &mut scratch).unwrap();
                    bits(&result.values())
                });
                assert!(results.iter().all(|r| *r == results[0]), "{op} of {shape} by {}", backend.description());
                assert!(results[0].iter().all(|&x| f64::from_bits(x).is_finite()));
            }
        }
    }
}

#[test]
fn updates_overwrite_accumulate_and_scale() {
    let shape: ConvShape = "mb2ic17ih6oc19oh6kh3ph1".parse().unwrap();
    let mut random = Random::new(10);
    let layer = Layer::<f32>::contiguous(shape, || random.integer(3));
    for op in OPS {
        for backend in exact_backends::<f32>(op, &shape) {
            let dims = result_dims(&shape, op);
            let once = layer.compute(&*backend, op);
            let mut result = Operand::<f32>::result(&dims, &Arrangement::NCHW, || 5.0);
            let mut update = |update| {
                layer.execute(&*backend, op, &mut result, update).unwrap();
                result.values()
            };
            let expect = |f: fn(f32) -> f32| once.iter().map(|&g| f(g)).collect::<Vec<_>>();
            assert_eq!(update(Update::accumulate()), expect(|g| 5.0 + g));
            assert_eq!(update(Update::accumulate().scaled(-2.0)), expect(|g| 5.0 - g));
            assert_eq!(update(Update::overwrite().scaled(0.5)), expect(|g| 0.5 * g));
            assert_eq!(update(Update::accumulate().scaled(0.0)), expect(|g| 0.5 * g));
            assert_eq!(update(Update::overwrite()), once);
        }
    }
}

#[test]
fn a_stride_beyond_everything_has_one_output() {
    let shape = ConvShape::conv1d(1, 1, 3, 1, 2).stride(usize::MAX).build().unwrap();
    assert_eq!(shape.output_dims(), [1, 1, 1]);
    let layer = Layer::<f32>::contiguous(shape, || 2.0);
    for backend in able_backends::<f32>(Op::WeightGradient, &shape) {
        assert_eq!(layer.compute(&*backend, Op::WeightGradient), [4.0, 4.0], "{}", backend.description());
    }
}

/// An input of one position along an axis has no step there, though padding makes several outputs of it.
#[test]
fn the_stride_of_an_axis_that_is_never_stepped_may_be_anything() {
    for text in ["mb1ic3ih1iw5oc4oh3ow5kh3kw1sh3dh2ph3pw0", "mb1ic40ih5iw1oc40oh5ow3kh1kw3sw3dw2ph0pw3"] {
        let shape: ConvShape = text.parse().unwrap();
        let dims = shape.input_dims();
        let layer = Layer::<f32>::contiguous(shape, || 2.0);
        let input = layer.input.values();
        let expected = layer.sums(Op::WeightGradient);
        for absurd in [isize::MIN, isize::MAX, isize::MAX / 2 + 7] {
            let strides: Vec<isize> = (dims.iter().zip(Layout::Nchw.strides(&dims)))
                .map(|(&dim, stride)| if dim == 1 { absurd } else { stride })
                .collect();
            for backend in able_backends::<f32>(Op::WeightGradient, &shape) {
                let mut gradient = vec![f32::NAN; shape.weights_len()];
                let input = View::strided(&input, &dims, &strides, 0).unwrap();
                let written = ViewMut::nchw(&mut gradient, &shape.weights_dims()).unwrap();
                backend.weight_gradient(&shape, input, layer.delta.view(), written, Update::overwrite()).unwrap();
                // Where whole numbers are not exact, the usual strides give the same bits.
                let is_exact = backend.error_scale(Op::WeightGradient, &shape) == ErrorScale::Products;
                let agrees = gradient.iter().zip(&expected).all(|(&x, &e)| f64::from(x) == e);
                let agrees = if is_exact { agrees } else { gradient == layer.compute(&*backend, Op::WeightGradient) };
                assert!(agrees, "{text}, stride {absurd}: {}", backend.description());
            }
        }
    }
}

#[test]
fn backends_are_objects_that_threads_may_share() {
    fn shared<T: Send + Sync + ?Sized>(_: &T) {}
    let shape: ConvShape = "mb1ic2ih4oc2kh3".parse().unwrap();
    let layer = Layer::<f32>::contiguous(shape, || 1.0);
    for backend in able_backends::<f32>(Op::WeightGradient, &shape) {
        let object: &dyn Backend<f32> = &*backend;
        shared(object);
        let alone = layer.compute(object, Op::WeightGradient);
        if object.error_scale(Op::WeightGradient, &shape) == ErrorScale::Products {
            assert_eq!(alone, [4.0; 36]);
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(layer.compute(object, Op::WeightGradient), alone));
            }
        });
    }
}

/// A backend need not live in this crate: the public parts of a problem suffice.
#[test]
fn a_backend_can_be_written_outside_the_crate() {
    struct Wrapped;
    impl Backend<f32> for Wrapped {
        fn name(&self) -> &'static str {
            "wrapped"
        }
        fn description(&self) -> String {
            "the reference, taken apart and put together".to_owned()
        }
        fn supports(&self, _: Op, _: &ConvShape) -> Result<(), convgrad::Unsupported> {
            Ok(())
        }
        fn scratch_len(&self, _: Op, _: &ConvShape) -> usize {
            0
        }
        fn cost(&self, _: Op, _: &ConvShape) -> convgrad::Cost {
            convgrad::Cost::default()
        }
        fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
            convgrad::reference::<f32>().error_bound(op, shape)
        }
        fn run(&self, problem: Problem<'_, f32>, scratch: &mut [f32]) {
            let Problem::WeightGradient(problem) = problem else { panic!("the test asks for the weight gradient") };
            let (shape, input, delta, gradient, update) = problem.into_parts();
            let again = WeightGradient::new(shape, input, delta, gradient, update).unwrap();
            convgrad::reference().run(Problem::WeightGradient(again), scratch);
        }
    }
    let layer = Layer::<f32>::contiguous("mb1ic2ih4oc2kh3".parse().unwrap(), || 1.0);
    assert_eq!(layer.compute(&Wrapped, Op::WeightGradient), [4.0; 36]);
}

/// What a vector finds beyond its row, or in the padding beside it, is kept out and not multiplied by zero: a NaN reaches
/// only the weights whose taps meet it. (Not so in the rows at a plane's edge, where rows of delta that there are not are zeros.)
#[test]
fn a_nan_reaches_only_the_taps_that_meet_it() {
    let shape: ConvShape = "mb8g32ic32ih20oc32kh3ph1".parse().unwrap();
    for (position, reached) in
        [([0, 0, 0, 1, 19], 6), ([0, 0, 0, 10, 0], 6), ([7, 31, 0, 18, 19], 6), ([1, 2, 0, 9, 9], 9)]
    {
        let mut random = Random::new(5);
        let mut layer = Layer::<f32>::contiguous(shape, || random.real());
        *layer.input.view_mut().at_mut(position) = f32::NAN;
        let mut result = Operand::poisoned(&shape.weights_dims(), &Arrangement::NCHW);
        let backend = convgrad::by_name("direct").unwrap();
        layer.execute(&*backend, Op::WeightGradient, &mut result, Update::overwrite()).unwrap();
        assert_eq!(result.values().iter().filter(|value| value.is_nan()).count(), reached, "{position:?}");
    }
}
