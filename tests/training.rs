//! Is the gradient good for what it is for? Gradient descent on it finds the kernel that made the target.
//!
//! The input is white noise, so the error is nearly a round bowl over the weights and a step of `1 / terms` descends it
//! by about a third of the way each time. A gradient of the wrong size, order or sign would not arrive.

mod reference;

use convgrad::{Backend, ConvShape, Op, Registered, Update, train};
use reference::{Arrangement, Layer, Operand, Random, able_backends};

/// Error before each step, and the distance of the learned weights and bias from the true ones after the last.
fn descend<T: Registered>(shape: ConvShape, backend: &dyn Backend<T>, steps: usize) -> (Vec<f64>, f64) {
    let mut random = Random::new(14);
    let truth = Layer::<T>::contiguous(shape, || random.real());
    let reference = convgrad::reference::<T>();
    let forward: &dyn Backend<T> = if backend.supports(Op::Forward, &shape).is_ok() { backend } else { &*reference };
    let target = truth.compute(forward, Op::Forward);

    let mut layer = truth.clone();
    let mut weights = vec![T::default(); shape.weights_len()];
    layer.bias.fill(T::default());
    let mut delta = vec![T::default(); target.len()];
    let rate = T::from_f64(1.0 / shape.terms() as f64);
    let operand = |dims: &[usize], values: &[T]| {
        let mut values = values.iter();
        Operand::new(dims, &Arrangement::NCHW, || values.next().unwrap().to_f64())
    };
    let mut errors = Vec::new();
    for _ in 0..steps {
        layer.weights = operand(&shape.weights_dims(), &weights);
        let output = layer.compute(forward, Op::Forward);
        errors.push(train::half_squared_error(&output, &target, &mut delta).unwrap());
        layer.delta = operand(&shape.output_dims(), &delta);
        train::sgd_step(&mut weights, &layer.compute(backend, Op::WeightGradient), rate).unwrap();
        // The bias takes the step inside the backend: an update of scale -eta.
        let mut bias = operand(&[shape.out_channels()], &layer.bias);
        let step = Update::accumulate().scaled(T::from_f64(-rate.to_f64()));
        layer.execute(backend, Op::BiasGradient, &mut bias, step).unwrap();
        layer.bias = bias.values();
    }
    let learned = weights.iter().chain(&layer.bias).map(|x| x.to_f64());
    let known = truth.weights.values().into_iter().chain(truth.bias).map(T::to_f64);
    (errors, learned.zip(known).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
}

fn check<T: Registered>(accuracy: f64) {
    for text in
        ["mb2ic1ih24oc1oh20kh5", "mb4ic2ih16oc3oh16kh3ph1", "mb8g2ic4ih17oc6oh9kh3sh2ph1", "mb4ic3iw200oc2kw5dw1"]
    {
        let shape: ConvShape = text.parse().unwrap();
        for backend in able_backends::<T>(Op::WeightGradient, &shape) {
            let (errors, distance) = descend(shape, &*backend, 120);
            let context = format!("{shape} in {} by {}", T::NAME, backend.description());
            assert!(distance <= accuracy, "{context}: the weights are {distance:e} off");
            // The error falls at every step until rounding is all that is left of it.
            let rounding = errors[0] * accuracy * accuracy;
            let rises = errors.windows(2).position(|e| e[1] >= e[0] && e[0] > rounding);
            assert_eq!(rises, None, "{context}: the error rises, {errors:?}");
        }
    }
}

#[test]
fn gradient_descent_finds_the_kernel_in_f32() {
    // Outputs are sums of dozens of products below 1, each rounded by u = 6e-8: descent cannot see below some dozen u.
    check::<f32>(2e-6);
}

#[test]
fn gradient_descent_finds_the_kernel_in_f64() {
    // Here rounding is far below what 120 steps leave along the bowl's flattest direction: 9e-13, whatever the backend.
    check::<f64>(1e-12);
}
