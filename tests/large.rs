//! Problems large enough to be cut into many tasks, tiles, parts and pieces, against the reference run in `f64`.
//!
//! Random problems (`agreement.rs`) are small so that there can be many; seams between pieces show only here. Whole
//! numbers, whose sums do not round, must agree to the last bit; reals must keep the bound, and the same bits on any
//! number of threads, since a rounding in every addition makes any change of order show.

mod reference;

use convgrad::{ConvShape, Op, Update};
use rayon::{ThreadPool, ThreadPoolBuilder};
use reference::{Arrangement, Layer, OPS, Operand, Random, able_backends, exact_backends, result_dims};

/// Whole numbers up to this in operands: 16 times the longest sum here stays far below 2^24, where f32 begins to round.
const INTEGER: usize = 4;

/// Many images, many channels, one channel, depthwise, depthwise with rows strided and dilated, with columns strided and
/// dilated, of small planes, of channels a power of two apart, three axes, one long axis, hardly any positions.
const SHAPES: [&str; 13] = [
    "mb9ic40ih14oc24oh14kh3ph1",
    "mb2ic70ih14oc20oh7kh3sh2ph1",
    "mb3ic300ih9oc270oh9kh1",
    "mb1ic1ih120oc6oh110kh11",
    "mb20g40ic40ih30oc40oh30kh3ph1",
    "mb3g6ic6ih90iw61oc12kh5kw3sh2sw1ph4pw1dh2dw0",
    "mb5g40ic40ih29iw23oc40oh15ow12kh3sh2ph1",
    "mb3g21ic21ih40iw45oc21kh5kw4sh1sw3ph5pw4dh2dw1",
    "mb9g50ic50ih7oc50oh7kh3ph1",
    "mb2g256ic256ih12oc256oh12kh3ph1",
    "mb2g2ic8id5ih20iw31oc6od4oh18ow31kd2kh3kw1",
    "mb1ic2iw30000oc30ow29998kw3",
    "mb2000ic6ih3oc40oh2kh2",
];

fn pools<const N: usize>(threads: [usize; N]) -> [ThreadPool; N] {
    threads.map(|threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

#[test]
fn whole_numbers_agree_to_the_last_bit() {
    let permuted = Arrangement { order: [4, 1, 3, 0, 2], ..Arrangement::NCHW };
    let pools = pools([1, 3]);
    for text in SHAPES {
        let shape: ConvShape = text.parse().unwrap();
        for arrangement in [Arrangement::NCHW, Arrangement::NHWC, permuted.clone()] {
            let mut random = Random::new(7);
            let layer = Layer::<f32>::new(shape, &[(); 3].map(|_| arrangement.clone()), || random.integer(INTEGER));
            for op in OPS {
                let expected = layer.sums(op);
                for backend in exact_backends::<f32>(op, &shape).filter(|b| b.name() != "naive") {
                    for pool in &pools {
                        let mut result = Operand::poisoned(&result_dims(&shape, op), &arrangement);
                        let done = pool.install(|| layer.execute(&*backend, op, &mut result, Update::overwrite()));
                        done.expect("a supported operation");
                        let given: Vec<f64> = result.values().into_iter().map(f64::from).collect();
                        let context =
                            format!("{op} of {shape} in {:?} by {}", arrangement.order, backend.description());
                        assert!(given == expected, "{context} on {} threads", pool.current_num_threads());
                        assert!(result.surroundings_untouched(), "{context} wrote outside its view");
                    }
                }
            }
        }
    }
}

#[test]
fn reals_keep_their_bound_and_their_bits() {
    let pools = pools([1, 2, 3, 8]);
    for text in SHAPES {
        let shape: ConvShape = text.parse().unwrap();
        let arrangements = [Arrangement::NCHW, Arrangement::NHWC];
        for (op, arrangement) in
            OPS.into_iter().flat_map(|op| arrangements.clone().map(|arrangement| (op, arrangement)))
        {
            let mut random = Random::new(11);
            let layer = Layer::<f32>::new(shape, &[(); 3].map(|_| arrangement.clone()), || random.real());
            let truth = layer.truth(op);
            for backend in able_backends::<f32>(op, &shape).filter(|b| b.name() != "naive") {
                let [one, others @ ..] = pools.each_ref().map(|pool| pool.install(|| layer.compute(&*backend, op)));
                let context = || format!("{op} of {shape} in {:?} by {}", arrangement.order, backend.description());
                truth.assert_kept(&one, (op, &shape), &*backend, context);
                assert!(others.iter().all(|other| *other == one), "{}: threads change the result", context());
            }
        }
    }
}

/// A sum that begins with 1 loses every addend of at most `u`, half of its last place: the roundings on the way of the
/// first term to the result all go one way, and the error counts them. Terms are spaced so that hardly any are added to
/// each other before: as many as registers of im2col add up at first, then one for each of its blocks of 256 in the two
/// pieces of its first part, then one for each other part.
#[test]
fn roundings_that_all_go_one_way_keep_the_bound() {
    let shape: ConvShape = "mb136ic32ih16oc32oh16kh1".parse().unwrap();
    let u = f64::from(f32::EPSILON) / 2.0;
    let value = |term: usize| match term {
        0 => 1.0,
        1..256 => u,
        ..4096 if term.is_multiple_of(256) => u,
        _ if term.is_multiple_of(2048) => u,
        _ => 0.0,
    };
    for arrangement in [Arrangement::NCHW, Arrangement::NHWC] {
        let mut layer = Layer::<f32>::new(shape, &[(); 3].map(|_| arrangement.clone()), || 1.0);
        // Operands are filled in the order of their dimensions: image, channel, position.
        let mut at = 0;
        layer.delta = Operand::new(&shape.output_dims(), &arrangement, || {
            let (image, position) = (at / 256 / 32, at % 256);
            at += 1;
            value(image * 256 + position)
        });
        let truth = layer.truth(Op::WeightGradient);
        for backend in able_backends::<f32>(Op::WeightGradient, &shape).filter(|b| b.name() != "naive") {
            let given = layer.compute(&*backend, Op::WeightGradient);
            truth.assert_kept(&given, (Op::WeightGradient, &shape), &*backend, || backend.description());
        }
    }
}
