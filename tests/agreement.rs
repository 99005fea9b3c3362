//! Every backend, on every instruction set of this processor, against the reference run in `f64`.
//!
//! Twice: with whole numbers so small that no sum rounds, where results of backends that sum products alone must be equal
//! to the last bit, whatever the order of summation; and with reals, where each entry must lie within the bound its backend declares.

mod reference;

use convgrad::{Isa, Op, Registered, Update};
use proptest::prelude::*;
use reference::{Arrangement, Layer, OPS, Operand, Random, able_backends, every_backend, exact_backends, result_dims};

/// A random problem, all but its numbers, which the seed decides.
#[derive(Clone)]
struct Case {
    shape: convgrad::ConvShape,
    /// Of input, delta and weights.
    operands: [Arrangement; 3],
    result: Arrangement,
    /// A power of two or a small whole number: scaling does not round either.
    scale: f64,
    accumulate: bool,
    seed: u64,
}

impl std::fmt::Debug for Case {
    /// The shape in its text form, so that a failing case can be pasted into a command.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Case { shape, operands, result, scale, accumulate, seed } = self;
        write!(f, "{shape}, scale {scale}, accumulate {accumulate}, seed {seed}, {operands:?} -> {result:?}")
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let read = || reference::shapes::arrangements(true);
    let shapes = reference::shapes::shapes();
    let scale = prop::sample::select(&[1.0, -1.0, 0.5, -3.0][..]);
    let update = (scale, any::<bool>(), any::<u64>());
    (shapes, [read(), read(), read()], reference::shapes::arrangements(false), update).prop_map(
        |(shape, operands, result, (scale, accumulate, seed))| Case {
            shape,
            operands,
            result,
            scale,
            accumulate,
            seed,
        },
    )
}

/// Whole numbers up to this in operands.
const INTEGER: usize = 4;

fn agrees_to_the_last_bit<T: Registered>(case: &Case) {
    let mut random = Random::new(case.seed);
    let layer = Layer::<T>::new(case.shape, &case.operands, || random.integer(INTEGER));
    for op in OPS {
        let dims = result_dims(&case.shape, op);
        let update = Update { scale: T::from_f64(case.scale), accumulate: case.accumulate };
        let sums = layer.sums(op);
        // A sum of whole numbers below 2^24 is exact in f32 in any order; a factor of at most 4 remains for the update.
        let channels = case.shape.group_in_channels().max(case.shape.group_out_channels());
        let terms = case.shape.terms().max(channels * case.shape.taps()) + 1;
        assert!(terms * INTEGER * INTEGER < 1 << 22, "the shape generator makes sums too large to be exact");

        let before = Operand::<T>::result(&dims, &case.result, || random.integer(INTEGER));
        let expected: Vec<f64> = (sums.iter().zip(before.values()))
            .map(|(sum, held)| update.scale.to_f64() * sum + if update.accumulate { held.to_f64() } else { 0.0 })
            .collect();
        for backend in exact_backends::<T>(op, &case.shape) {
            let mut result = if update.accumulate { before.clone() } else { Operand::poisoned(&dims, &case.result) };
            layer.execute(&*backend, op, &mut result, update).expect("a supported operation");
            let given: Vec<f64> = result.values().into_iter().map(T::to_f64).collect();
            let context = || format!("{op} of {} in {} by {}", case.shape, T::NAME, backend.description());
            assert_eq!(given, expected, "{}", context());
            assert!(result.surroundings_untouched(), "{} wrote outside its view", context());
        }
    }
}

fn keeps_its_bound<T: Registered>(case: &Case) {
    let mut random = Random::new(case.seed);
    let layer = Layer::<T>::new(case.shape, &case.operands, || random.real());
    for op in OPS {
        let truth = layer.truth(op);
        for backend in able_backends::<T>(op, &case.shape) {
            let mut result = Operand::poisoned(&result_dims(&case.shape, op), &case.result);
            layer.execute(&*backend, op, &mut result, Update::overwrite()).expect("a supported operation");
            truth.assert_kept(&result.values(), (op, &case.shape), &*backend, || {
                format!("{op} of {} in {} by {}", case.shape, T::NAME, backend.description())
            });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn integers_agree_to_the_last_bit_in_f32(case in cases()) {
        agrees_to_the_last_bit::<f32>(&case);
    }

    #[test]
    fn integers_agree_to_the_last_bit_in_f64(case in cases()) {
        agrees_to_the_last_bit::<f64>(&case);
    }

    #[test]
    fn reals_keep_the_declared_bound_in_f32(case in cases()) {
        keeps_its_bound::<f32>(&case);
    }

    #[test]
    fn reals_keep_the_declared_bound_in_f64(case in cases()) {
        keeps_its_bound::<f64>(&case);
    }

    #[test]
    fn all_but_winograd_and_fft_have_every_pass_of_every_shape(shape in reference::shapes::shapes()) {
        for backend in every_backend::<f32>() {
            prop_assert_eq!(backend.supports(Op::BiasGradient, &shape), Ok(()));
            let [_, height, width] = shape.axes();
            match backend.name() {
                "winograd" | "winograd-2x2" => (),
                "fft" if height.kernel == 1 && width.kernel == 1 => {
                    prop_assert!(backend.supports(Op::WeightGradient, &shape).is_err());
                }
                _ => prop_assert_eq!(backend.supports(Op::WeightGradient, &shape), Ok(())),
            }
            if !["winograd", "winograd-2x2", "fft"].contains(&backend.name()) {
                prop_assert_eq!(backend.supports(Op::Forward, &shape), Ok(()));
                prop_assert_eq!(backend.supports(Op::InputGradient, &shape), Ok(()));
            }
        }
    }
}

/// A declared bound is a statement about rounding, not an excuse: of a backend that sums products alone, it grows no faster
/// than a plain sum's.
#[test]
fn bounds_are_not_looser_than_a_plain_sum() {
    let shape: convgrad::ConvShape = "mb4ic24ih20oc20oh20kh3ph1".parse().unwrap();
    for op in OPS {
        let terms = match op {
            Op::Forward => shape.group_in_channels() * shape.taps(),
            Op::InputGradient => shape.group_out_channels() * shape.taps(),
            _ => shape.terms(),
        };
        for backend in exact_backends::<f32>(op, &shape) {
            let bound = backend.error_bound(op, &shape);
            let plain = 1.01 * (terms as f64 + 2.0);
            assert!((0.5..=plain).contains(&bound), "{} declares {bound} for the {op}", backend.name());
        }
    }
}

/// None of the sets this processor has is passed over in silence.
#[test]
fn every_instruction_set_of_the_processor_is_available() {
    let names: Vec<_> = Isa::available().iter().map(Isa::name).collect();
    assert_eq!(names[0], "scalar");
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512cd")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        assert_eq!(names.contains(&"avx2"), avx2, "{names:?}");
        assert_eq!(names.contains(&"avx512"), avx512, "{names:?}");
    }
    assert_eq!(Isa::best().name(), *names.last().unwrap());
}

/// The tests above ran `direct` and `winograd` on each of the sets: they say so themselves.
#[test]
fn vectorised_backends_run_on_every_instruction_set() {
    fn check<T: Registered>() {
        let all = every_backend::<T>();
        for (isa, name) in Isa::available().iter().flat_map(|isa| ["direct", "winograd"].map(|name| (isa, name))) {
            let runs = all.iter().any(|b| b.name() == name && b.description().contains(isa.name()));
            assert!(runs, "no backend {name} in {} runs on {isa}", T::NAME);
        }
    }
    check::<f32>();
    check::<f64>();
}
