//! The first layer of trust: is the reference itself the sum it claims to be?
//!
//! It is held against numbers worked out by hand, against a second writing of the sum that shares nothing with it, and
//! against two properties that define a gradient: the change of the error under a change of each weight, and the
//! adjoint identities `<forward(x, w, b), delta> = <w, dW> + <b, dB>` and `<forward(x, w, 0), delta> = <x, dX>`. The published worked example is asked of every
//! backend.

mod reference;

use approx::assert_abs_diff_eq;
use convgrad::{ConvShape, Op, Registered, Update, View, ViewMut};
use proptest::prelude::*;
use reference::{Arrangement, Layer, Operand, Random, able_backends};

/// The weight gradient of contiguous operands by the reference.
fn gradient(shape: &ConvShape, input: &[f64], delta: &[f64]) -> Vec<f64> {
    let mut gradient = vec![f64::NAN; shape.weights_len()];
    let input = View::nchw(input, &shape.input_dims()).unwrap();
    let delta = View::nchw(delta, &shape.output_dims()).unwrap();
    let result = ViewMut::nchw(&mut gradient, &shape.weights_dims()).unwrap();
    convgrad::reference().weight_gradient(shape, input, delta, result, Update::overwrite()).unwrap();
    gradient
}

#[rustfmt::skip]
const INPUT: [f64; 25] = [
    0.51, 0.90, 0.88, 0.84, 0.05,
    0.40, 0.62, 0.22, 0.59, 0.10,
    0.11, 0.20, 0.74, 0.33, 0.14,
    0.47, 0.01, 0.85, 0.70, 0.09,
    0.76, 0.19, 0.72, 0.17, 0.57,
];

#[rustfmt::skip]
const DELTA: [f64; 16] = [
    0.0, 0.0,    0.0686,  0.0,
    0.0, 0.0364, 0.0,     0.0,
    0.0, 0.0467, 0.0,     0.0,
    0.0, 0.0,    0.0,    -0.0681,
];

#[test]
fn the_worked_example_to_six_decimals_by_every_backend() {
    fn check<T: Registered>() {
        let shape: ConvShape = "mb1ic1ih5oc1oh4kh2".parse().unwrap();
        let (mut input, mut delta) = (INPUT.into_iter(), DELTA.into_iter());
        let mut layer = Layer::<T>::contiguous(shape, || 0.0);
        layer.input = Operand::new(&shape.input_dims(), &Arrangement::NCHW, || input.next().unwrap());
        layer.delta = Operand::new(&shape.output_dims(), &Arrangement::NCHW, || delta.next().unwrap());
        for backend in able_backends::<T>(Op::WeightGradient, &shape) {
            let gradient = layer.compute(&*backend, Op::WeightGradient);
            for (given, expected) in gradient.into_iter().zip([0.044606, 0.094061, 0.011262, 0.068288]) {
                assert_abs_diff_eq!(given.to_f64(), expected, epsilon = 0.5e-6);
            }
            let bias = layer.compute(&*backend, Op::BiasGradient);
            // Rounding four operands of 0.22 in all, and three sums of at most 0.15, to f32 errs by 4e-8 at most.
            assert_abs_diff_eq!(bias[0].to_f64(), 0.0686 + 0.0364 + 0.0467 - 0.0681, epsilon = 1e-7);
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn one_dimension_with_stride_dilation_and_uneven_padding_by_hand() {
    // Padded input 0 0 1 2 3 4 5 0; the two taps are 2 apart, the windows begin at 0 and 3.
    let shape = ConvShape::conv1d(1, 1, 5, 1, 2).stride(3).dilation(2).padding_begin_end(2, 1).build().unwrap();
    assert_eq!(shape.output_dims(), [1, 1, 2]);
    // Tap 0 reads padded[0] = 0 and padded[3] = 2; tap 1 reads padded[2] = 1 and padded[5] = 4.
    assert_eq!(gradient(&shape, &[1.0, 2.0, 3.0, 4.0, 5.0], &[10.0, 100.0]), [200.0, 10.0 + 400.0]);
}

#[test]
fn two_dimensions_tell_rows_from_columns_by_hand() {
    // Input 2x3, kernel 1x2, output 2x2: columns move with the tap, rows never.
    let shape = ConvShape::conv2d(1, 1, [2, 3], 1, [1, 2]).build().unwrap();
    let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let delta = [1.0, 10.0, 100.0, 1000.0];
    assert_eq!(gradient(&shape, &input, &delta), [1.0 + 20.0 + 400.0 + 5000.0, 2.0 + 30.0 + 500.0 + 6000.0]);
    // And with the axes exchanged: kernel 2x1 over 3x2.
    let shape = ConvShape::conv2d(1, 1, [3, 2], 1, [2, 1]).build().unwrap();
    assert_eq!(gradient(&shape, &input, &delta), [1.0 + 20.0 + 300.0 + 4000.0, 3.0 + 40.0 + 500.0 + 6000.0]);
}

#[test]
fn padding_at_the_end_only_by_hand() {
    // Padded input 1 2 3 0, kernel 2: the windows are (1, 2), (2, 3) and (3, 0).
    let shape = ConvShape::conv1d(1, 1, 3, 1, 2).padding_begin_end(0, 1).build().unwrap();
    assert_eq!(gradient(&shape, &[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]), [321.0, 32.0]);
}

#[test]
fn groups_batch_and_channels_by_hand() {
    // Two groups of one input and two output channels, one position: dW[oc] = sum_n delta[n,oc] * input[n, oc / 2].
    let shape = ConvShape::conv1d(2, 2, 1, 4, 1).groups(2).build().unwrap();
    assert_eq!(shape.weights_dims(), [4, 1, 1]);
    let input = [1.0, 2.0, 3.0, 4.0];
    let delta = [1.0, 10.0, 100.0, 1000.0, 5.0, 6.0, 7.0, 8.0];
    assert_eq!(gradient(&shape, &input, &delta), [1.0 + 15.0, 10.0 + 18.0, 200.0 + 28.0, 2000.0 + 32.0]);
}

#[test]
fn three_dimensions_find_a_single_meeting_by_hand() {
    // One nonzero delta at output (1,0,1), one nonzero input at (2,1,3): they meet in the tap with
    // o * stride + k * dilation - padding = i on each axis: 1*2 + 1*1 - 1 = 2, 0*1 + 2*1 - 1 = 1, 1*3 + 0*2 - 0 = 3.
    let shape = ConvShape::conv3d(1, 1, [4, 3, 6], 1, [2, 3, 2])
        .stride([2, 1, 3])
        .dilation([1, 1, 2])
        .padding([1, 1, 0])
        .build()
        .unwrap();
    assert_eq!(shape.output_dims(), [1, 1, 3, 3, 2]);
    let (mut input, mut delta) = (vec![0.0; 72], vec![0.0; 18]);
    input[(2 * 3 + 1) * 6 + 3] = 3.0;
    delta[3 * 2 + 1] = 7.0;
    let mut expected = [0.0; 12];
    expected[(3 + 2) * 2] = 21.0;
    assert_eq!(gradient(&shape, &input, &delta), expected);
}

#[test]
fn the_input_gradient_of_a_strided_dilated_layer_by_hand() {
    // The windows of the forward pass begin at -2 and 1, their taps are 2 apart: outputs 0 and 1 read (_, 0) and (1, 3).
    let shape = ConvShape::conv1d(1, 1, 5, 1, 2).stride(3).dilation(2).padding_begin_end(2, 1).build().unwrap();
    let (weights, delta, mut gradient) = ([2.0, 7.0], [10.0, 100.0], [f64::NAN; 5]);
    let [weights, delta] = [&weights, &delta].map(|operand| View::nchw(operand, &[1, 1, 2]).unwrap());
    for backend in able_backends::<f64>(Op::InputGradient, &shape) {
        let result = ViewMut::nchw(&mut gradient, &[1, 1, 5]).unwrap();
        backend.input_gradient(&shape, weights, delta, result, Update::overwrite()).unwrap();
        assert_eq!(gradient, [70.0, 200.0, 0.0, 700.0, 0.0], "{}", backend.description());
    }
}

/// The sum in another writing: the input is copied into its padding, and nothing is left out of the loops.
fn gradient_over_padded_copy(layer: &Layer<f64>) -> Vec<f64> {
    let shape = &layer.shape;
    let axes = shape.axes();
    let reach = axes.map(|a| a.padding + a.input + a.padding_end().max(0).cast_unsigned());
    let at = |n: usize, c: usize, p: [usize; 3]| {
        (((n * shape.in_channels() + c) * reach[0] + p[0]) * reach[1] + p[1]) * reach[2] + p[2]
    };
    let boxed = |size: [usize; 3]| {
        (0..size[0] * size[1] * size[2]).map(move |i| [i / size[2] / size[1], i / size[2] % size[1], i % size[2]])
    };
    let mut padded = vec![0.0; shape.batch() * shape.in_channels() * reach.iter().product::<usize>()];
    for (n, c) in (0..shape.batch()).flat_map(|n| (0..shape.in_channels()).map(move |c| (n, c))) {
        for [d, h, w] in boxed(axes.map(|a| a.input)) {
            padded[at(n, c, [d + axes[0].padding, h + axes[1].padding, w + axes[2].padding])] =
                layer.input.view().at([n, c, d, h, w]);
        }
    }
    let mut gradient = vec![0.0; shape.weights_len()];
    for (i, sum) in gradient.iter_mut().enumerate() {
        let (channels, tap) = (i / shape.taps(), i % shape.taps());
        let (oc, ic) = (channels / shape.group_in_channels(), channels % shape.group_in_channels());
        let channel = oc / (shape.out_channels() / shape.groups()) * shape.group_in_channels() + ic;
        let k = boxed(axes.map(|a| a.kernel)).nth(tap).unwrap();
        for n in 0..shape.batch() {
            for o in boxed(axes.map(|a| a.output)) {
                let p = std::array::from_fn(|x| o[x] * axes[x].stride + k[x] * axes[x].dilation);
                *sum += layer.delta.view().at([n, oc, o[0], o[1], o[2]]) * padded[at(n, channel, p)];
            }
        }
    }
    gradient
}

/// `E(w) = 1/2 sum (t - x)^2` with `x = forward(w, b)`.
fn half_squared_error(layer: &Layer<f64>, target: &[f64]) -> f64 {
    let output = layer.compute(&*convgrad::reference(), Op::Forward);
    0.5 * output.iter().zip(target).map(|(x, t)| (t - x).powi(2)).sum::<f64>()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_second_writing_of_the_sum_gives_the_same_integers(shape in reference::shapes::shapes(), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let layer = Layer::<f64>::contiguous(shape, || random.integer(8));
        prop_assert_eq!(layer.compute(&*convgrad::reference(), Op::WeightGradient), gradient_over_padded_copy(&layer));
    }

    /// The error is quadratic in each weight, so a central difference of any width is the derivative itself.
    /// Whole numbers keep all of it exact.
    #[test]
    fn gradients_are_the_slopes_of_the_error(shape in reference::shapes::shapes(), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let mut layer = Layer::<f64>::contiguous(shape, || random.integer(3));
        let output = layer.compute(&*convgrad::reference(), Op::Forward);
        let target: Vec<f64> = output.iter().map(|_| random.integer(20)).collect();
        let mut delta = output.iter().zip(&target).map(|(x, t)| x - t);
        layer.delta = Operand::new(&shape.output_dims(), &Arrangement::NCHW, || delta.next().unwrap());
        let weight_gradient = layer.compute(&*convgrad::reference(), Op::WeightGradient);
        let bias_gradient = layer.compute(&*convgrad::reference(), Op::BiasGradient);

        let weights = layer.weights.values();
        for _ in 0..3 {
            let i = random.below(weights.len());
            let [above, below] = [1.0, -1.0].map(|step| {
                let mut moved = weights.iter().enumerate().map(|(j, w)| if i == j { w + step } else { *w });
                let mut layer = layer.clone();
                layer.weights = Operand::new(&shape.weights_dims(), &Arrangement::NCHW, || moved.next().unwrap());
                half_squared_error(&layer, &target)
            });
            prop_assert_eq!((above - below) / 2.0, weight_gradient[i]);
        }
        let i = random.below(layer.bias.len());
        let [above, below] = [1.0, -1.0].map(|step| {
            let mut layer = layer.clone();
            layer.bias[i] += step;
            half_squared_error(&layer, &target)
        });
        prop_assert_eq!((above - below) / 2.0, bias_gradient[i]);

        let input_gradient = layer.compute(&*convgrad::reference(), Op::InputGradient);
        let input = layer.input.values();
        for _ in 0..3 {
            let i = random.below(input.len());
            let [above, below] = [1.0, -1.0].map(|step| {
                let mut moved = input.iter().enumerate().map(|(j, x)| if i == j { x + step } else { *x });
                let mut layer = layer.clone();
                layer.input = Operand::new(&shape.input_dims(), &Arrangement::NCHW, || moved.next().unwrap());
                half_squared_error(&layer, &target)
            });
            prop_assert_eq!((above - below) / 2.0, input_gradient[i]);
        }
    }

    /// Whole numbers again: the identity holds to the last bit.
    #[test]
    fn forward_and_gradients_are_adjoint(shape in reference::shapes::shapes(), seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let layer = Layer::<f64>::contiguous(shape, || random.integer(5));
        let forward = dot(&layer.compute(&*convgrad::reference(), Op::Forward), &layer.delta.values());
        let weights = dot(&layer.compute(&*convgrad::reference(), Op::WeightGradient), &layer.weights.values());
        let bias = dot(&layer.compute(&*convgrad::reference(), Op::BiasGradient), &layer.bias);
        prop_assert_eq!(forward, weights + bias);
        let input = dot(&layer.compute(&*convgrad::reference(), Op::InputGradient), &layer.input.values());
        prop_assert_eq!(forward, input + bias);
    }
}
