//! Problems on which published implementations went wrong, each with the mistake it would show.
//!
//! A row is run by every backend on every instruction set, in both number types: with whole numbers that must come out to
//! the last bit, against the values in the row or against the reference in `f64`.

mod reference;

use convgrad::{Backend, ConvShape, Op, Registered};
use reference::{Arrangement, Layer, Operand, Random, able_backends, every_backend, exact_backends};

/// How operands are filled and laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Operands {
    Nchw,
    Nhwc,
    /// The last two dimensions of every operand exchanged in memory.
    Transposed,
    /// Dimensions in reverse order of memory, the batch innermost.
    Reversed,
    /// One image stands for the batch, one row for all rows.
    Repeated,
    /// Nothing but ones, so that a weight counts the outputs its tap serves.
    Ones,
}

struct Case {
    name: &'static str,
    shape: &'static str,
    operands: Operands,
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    Case { name: "depthwise, fewer channels than three vectors", shape: "mb1g24ic24ih6oc24oh3kh3sh2ph1", operands: Operands::Ones },
    Case { name: "depthwise, one channel less", shape: "mb1g23ic23ih6oc23oh3kh3sh2ph1", operands: Operands::Ones },
    Case { name: "depthwise, one channel more", shape: "mb1g25ic25ih6oc25oh3kh3sh2ph1", operands: Operands::Ones },
    Case { name: "channels last, fewer channels than lanes, 1x1 with stride", shape: "mb32ic4ih32oc8oh16kh1sh2", operands: Operands::Nhwc },
    Case { name: "three dimensions, groups, stride beyond the kernel", shape: "mb1g3ic720id8ih8iw6oc720kd2sd4sh4sw1pd1", operands: Operands::Nchw },
    Case { name: "one tap, stride and padding in three dimensions", shape: "mb64ic1id16oc4kd1sd2pd1", operands: Operands::Nchw },
    Case { name: "groups in one dimension", shape: "mb2g3ic6iw17oc12kw4sw2pw1", operands: Operands::Nchw },
    Case { name: "groups in two dimensions", shape: "mb2g3ic6ih17iw9oc12kh4kw3sh2sw1ph1", operands: Operands::Nchw },
    Case { name: "groups in three dimensions", shape: "mb2g3ic6id7ih6iw5oc12kd3kh2kw1sd2pd1", operands: Operands::Nchw },
    Case { name: "groups wider than a vector, each with several outputs", shape: "mb2g2ic40ih9oc72oh9kh3ph1", operands: Operands::Nchw },
    Case { name: "between dense and depthwise, with stride", shape: "mb2g3ic288ih48iw32oc288oh24ow16kh3sh2ph1", operands: Operands::Nchw },
    Case { name: "the same, channels last", shape: "mb1g3ic288ih48iw32oc288oh24ow16kh3sh2ph1", operands: Operands::Nhwc },
    Case { name: "stride on one axis only", shape: "mb2ic2ih50iw55oc1oh48ow27kh3kw3sh1sw2ph0", operands: Operands::Nchw },
    Case { name: "one dimension, channels last, groups and stride", shape: "mb3g2ic4iw5oc6ow2kw2sw2", operands: Operands::Nhwc },
    Case { name: "nothing is square", shape: "mb2ic3ih11iw23oc5kh2kw5sh3sw2ph1pw3dh1dw0", operands: Operands::Nchw },
    Case { name: "nothing is square, axes exchanged", shape: "mb2ic3ih23iw11oc5kh5kw2sh2sw3ph3pw1dh0dw1", operands: Operands::Nchw },
    Case { name: "all weight dimensions equal, gradient transposed", shape: "mb2ic2ih2oc2oh1kh2", operands: Operands::Transposed },
    Case { name: "channels, height and width equal, transposed", shape: "mb3ic3ih3oc3oh3kh3ph1", operands: Operands::Transposed },
    Case { name: "all dimensions of all operands equal, reversed", shape: "mb4ic4ih4oc4oh4kh4ph1", operands: Operands::Reversed },
    Case { name: "a row and a column no output reads", shape: "mb2ic3ih4oc2oh1kh3sh2ph0", operands: Operands::Nchw },
    Case { name: "inputs dropped at the end of a signal", shape: "mb2ic3iw1603oc5ow400kw4sw4", operands: Operands::Nchw },
    Case { name: "stride equal to the kernel", shape: "mb1ic3ih224oc192oh14kh16sh16", operands: Operands::Nchw },
    Case { name: "planes of a single element", shape: "mb1ic672ih1oc168oh1kh1", operands: Operands::Reversed },
    Case { name: "planes of a single element, larger batch, channels last", shape: "mb9ic672ih1oc168oh1kh1", operands: Operands::Nhwc },
    Case { name: "broadcast operands", shape: "mb3ic17ih9oc20oh9kh3ph1", operands: Operands::Repeated },
    Case { name: "padding beyond the kernel", shape: "mb1ic18ih3oc17oh11kh2ph4", operands: Operands::Nchw },
    Case { name: "a dilated signal without padding", shape: "mb2ic3iw48oc5ow40kw5dw1", operands: Operands::Nchw },
    Case { name: "a dilated signal of one channel", shape: "mb1ic1iw99oc2ow79kw11dw1", operands: Operands::Nchw },
    Case { name: "dilation without padding, channels last", shape: "mb2ic18ih19iw16oc17oh13ow12kh3kw2dh2dw3", operands: Operands::Nhwc },
    Case { name: "no output meets the input", shape: "mb1ic2iw1oc3ow1kw1sw3pw1", operands: Operands::Nchw },
    Case { name: "a band of outputs that meets no input", shape: "mb2ic16ih2oc32oh5kh1sh3ph6", operands: Operands::Nchw },
    Case { name: "a single output channel, of the least stride", shape: "mb1ic1iw9oc1ow6kw4", operands: Operands::Reversed },
    Case { name: "a kernel that is larger than the input", shape: "mb2ic16ih3oc16oh3kh7ph3", operands: Operands::Nchw },
    Case { name: "a large kernel over one channel", shape: "mb1ic1ih70oc1oh40kh31", operands: Operands::Nchw },
    Case { name: "a stem", shape: "mb1ic3ih64oc40oh32kh7sh2ph3", operands: Operands::Nchw },
];

impl Operands {
    /// Arrangements of input, delta and weights, and of the result.
    fn arrangements(self) -> [Arrangement; 4] {
        let read = match self {
            Operands::Nchw | Operands::Ones => Arrangement::NCHW,
            Operands::Nhwc => Arrangement::NHWC,
            Operands::Transposed => Arrangement { order: [0, 1, 3, 2, 4], ..Arrangement::NCHW },
            Operands::Reversed => Arrangement { order: [4, 3, 2, 1, 0], ..Arrangement::NCHW },
            Operands::Repeated => Arrangement { repeated: [true, false, true, false, false], ..Arrangement::NCHW },
        };
        let written = Arrangement { repeated: [false; 5], ..read.clone() };
        [read.clone(), read.clone(), read, written]
    }
}

fn check<T: Registered>(case: &Case) {
    let shape: ConvShape = case.shape.parse().unwrap();
    let [input, delta, weights, result] = case.operands.arrangements();
    let mut random = Random::new(11);
    let layer = Layer::<T>::new(shape, &[input, delta, weights], || match case.operands {
        Operands::Ones => 1.0,
        _ => random.integer(3),
    });
    for op in [Op::WeightGradient, Op::BiasGradient] {
        let expected = layer.sums(op);
        // The reference need not judge itself, least of all on the large rows.
        for backend in exact_backends::<T>(op, &shape).filter(|b| b.name() != "naive") {
            let mut given = Operand::<T>::poisoned(&reference::result_dims(&shape, op), &result);
            layer.execute(&*backend, op, &mut given, convgrad::Update::overwrite()).unwrap();
            let wrong = given.values().iter().zip(&expected).position(|(x, e)| x.to_f64() != *e);
            let context = format!("{}: {op} of {shape} in {} by {}", case.name, T::NAME, backend.description());
            assert_eq!(wrong, None, "{context}: the first wrong entry");
            assert!(given.surroundings_untouched(), "{context} wrote outside its view");
        }
    }
}

#[test]
fn all_cases_in_f32() {
    CASES.iter().for_each(check::<f32>);
}

#[test]
fn all_cases_in_f64() {
    CASES.iter().for_each(check::<f64>);
}

#[test]
fn depthwise_ones_count_the_outputs_of_each_tap() {
    for case in CASES.iter().filter(|c| c.operands == Operands::Ones) {
        let shape: ConvShape = case.shape.parse().unwrap();
        let layer = Layer::<f32>::contiguous(shape, || 1.0);
        for backend in exact_backends::<f32>(Op::WeightGradient, &shape) {
            for channel in layer.compute(&*backend, Op::WeightGradient).chunks(9) {
                assert_eq!(channel, [4.0, 6.0, 6.0, 6.0, 9.0, 9.0, 6.0, 9.0, 9.0], "{}", backend.description());
            }
        }
    }
}

#[test]
fn the_shape_of_a_grouped_gradient_in_one_dimension() {
    let shape = ConvShape::conv1d(3, 4, 5, 6, 2).stride(2).groups(2).build().unwrap();
    assert_eq!(shape.weights_dims(), [6, 2, 2]);
    assert_eq!(
        shape,
        CASES.iter().find(|c| c.name.starts_with("one dimension, channels last")).unwrap().shape.parse().unwrap()
    );
}

/// Sums of 6144 terms for 248,832 weights, three groups. A sample of the weights is summed anew.
#[test]
fn a_large_grouped_layer_by_sample() {
    let shape: ConvShape = "mb16g3ic288ih48iw32oc288oh24ow16kh3sh2ph1".parse().unwrap();
    let mut random = Random::new(12);
    let layer = Layer::<f32>::contiguous(shape, || random.integer(3));
    let (input, delta) = (layer.input.view(), layer.delta.view());
    let sample: Vec<_> = (0..400).map(|_| [288, 96, 3, 3].map(|end| random.below(end))).collect();
    let sums = sample.iter().map(|&[oc, ic, kh, kw]| {
        let mut sum = 0.0;
        for (n, oh, ow) in (0..16 * 24 * 16).map(|i| (i / 384, i / 16 % 24, i % 16)) {
            let (ih, iw) = ((2 * oh + kh).wrapping_sub(1), (2 * ow + kw).wrapping_sub(1));
            if ih < 48 && iw < 32 {
                let o = f64::from(input.at([n, oc / 96 * 96 + ic, 0, ih, iw]));
                sum += f64::from(delta.at([n, oc, 0, oh, ow])) * o;
            }
        }
        sum
    });
    let sums: Vec<f64> = sums.collect();
    // The widest set and im2col at the real size; the others take the smaller rows of the table.
    let op = Op::WeightGradient;
    let is_exact = |b: &dyn Backend<f32>| {
        b.supports(op, &shape).is_ok() && b.error_scale(op, &shape) == convgrad::ErrorScale::Products
    };
    for backend in convgrad::backends::<f32>().iter().filter(|b| b.name() != "naive" && is_exact(&***b)) {
        let gradient = layer.compute(&**backend, Op::WeightGradient);
        for (&[oc, ic, kh, kw], sum) in sample.iter().zip(&sums) {
            let given = gradient[((oc * 96 + ic) * 3 + kh) * 3 + kw];
            assert_eq!(f64::from(given), *sum, "weight {:?} by {}", [oc, ic, kh, kw], backend.description());
        }
    }
}

/// 3.9 million positive terms in each weight: adding them to one f32 in turn loses the small ones as the sum grows.
#[test]
fn sums_of_millions_of_terms_of_one_sign_keep_their_accuracy_in_f32() {
    const ACCURACY: f64 = 1e-6;
    let shape: ConvShape = "mb1ic1ih6405iw1814oc1oh2136ow1811kh2kw4sh3sw1ph1pw0".parse().unwrap();
    let mut random = Random::new(13);
    let layer = Layer::<f32>::contiguous(shape, || random.positive());
    let expected = layer.sums(Op::WeightGradient);

    let (input, delta) = (layer.input.view(), layer.delta.view());
    let mut plain = 0.0f32;
    // The tap (1, 0) reads row 3 * oh; the last output row finds the padding there.
    for (oh, ow) in (0..2135).flat_map(|oh| (0..1811).map(move |ow| (oh, ow))) {
        plain = delta.at([0, 0, 0, oh, ow]).mul_add(input.at([0, 0, 0, 3 * oh, ow]), plain);
    }
    let relative = |given: f32, sum: f64| (f64::from(given) - sum).abs() / sum;
    let plain_error = relative(plain, expected[4]);
    assert!(plain_error > 10.0 * ACCURACY, "a plain sum errs by {plain_error:e} only: the test asks too little");

    for backend in able_backends::<f32>(Op::WeightGradient, &shape) {
        for (tap, (given, sum)) in layer.compute(&*backend, Op::WeightGradient).into_iter().zip(&expected).enumerate() {
            let error = relative(given, *sum);
            assert!(
                error <= ACCURACY,
                "tap {tap} errs by {error:e}, a plain sum by {plain_error:e}: {}",
                backend.description()
            );
        }
    }
}

/// Unfolded, this input is a terabyte. What a backend needs must be known before it is asked for, and be small.
#[test]
fn scratch_stays_small_where_unfolding_takes_a_terabyte() {
    let shape = ConvShape::conv2d(1, 1, [4222; 2], 1, [127; 2]).build().unwrap();
    for backend in every_backend::<f32>() {
        for op in reference::OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
            let bytes = size_of::<f32>() * backend.scratch_len(op, &shape);
            assert!(bytes <= 256 << 20, "{} wants {bytes} bytes for the {op}", backend.description());
        }
    }
}
