//! Problems large enough to be cut into many tasks, tiles, parts and pieces, against the reference run in `f64`.
//!
//! Random problems (`agreement.rs`) are small so that there can be many; seams between pieces show only here. Numbers are
//! whole and sums do not round, so that results are equal to the last bit.

mod reference;

use convgrad::{ConvShape, Update};
use rayon::ThreadPoolBuilder;
use reference::{Arrangement, Layer, OPS, Operand, Random, every_backend, result_dims};

/// Whole numbers up to this in operands: 16 times the longest sum here stays far below 2^24, where f32 begins to round.
const INTEGER: usize = 4;

const SHAPES: [&str; 8] = [
    "mb9ic40ih7oc24oh7kh3ph1",
    "mb2ic70ih14oc20oh7kh3sh2ph1",
    "mb3ic300ih9oc270oh9kh1",
    "mb1ic1ih120oc2oh110kh11",
    "mb3g40ic40ih30oc40oh30kh3ph1",
    "mb2g2ic8id5ih20iw31oc6od4oh18ow31kd2kh3kw1",
    "mb1ic2iw30000oc3ow29998kw3",
    "mb900ic6ih3oc40oh2kh2",
];

#[test]
fn large_problems_agree_to_the_last_bit_on_one_thread_and_on_several() {
    let permuted = Arrangement { order: [4, 1, 3, 0, 2], ..Arrangement::NCHW };
    // That all numbers of threads give the same bits is `contract.rs`.
    let pools = [1, 3].map(|threads| ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for text in SHAPES {
        let shape: ConvShape = text.parse().unwrap();
        for arrangement in [Arrangement::NCHW, Arrangement::NHWC, permuted.clone()] {
            let mut random = Random::new(7);
            let layer = Layer::<f32>::new(shape, &[(); 3].map(|_| arrangement.clone()), || random.integer(INTEGER));
            for op in OPS {
                let expected = layer.sums(op);
                for backend in every_backend::<f32>() {
                    // The reference would be compared with itself.
                    if backend.name() == "naive" || backend.supports(op, &shape).is_err() {
                        continue;
                    }
                    for pool in &pools {
                        let mut result = Operand::poisoned(&result_dims(&shape, op), &arrangement);
                        let done = pool.install(|| layer.execute(&*backend, op, &mut result, Update::overwrite()));
                        done.expect("a supported operation");
                        let given: Vec<f64> = result.values().into_iter().map(f64::from).collect();
                        let threads = pool.current_num_threads();
                        let backend = backend.description();
                        assert!(
                            given == expected,
                            "{op} of {shape} in {arrangement:?} by {backend} on {threads} threads"
                        );
                        assert!(result.surroundings_untouched(), "{op} of {shape} by {backend} wrote outside its view");
                    }
                }
            }
        }
    }
}
