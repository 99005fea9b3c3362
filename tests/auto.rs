//! The chooser: its choice is data, and is tested as data; what it remembers is never trusted and never fatal.

mod reference;

use convgrad::Auto;
use convgrad::auto::{Accuracy, Budget, Explanation, Policy, Rates, Refusal, Rule, Wisdom, WisdomKey};
use convgrad::{Backend, ConvShape, Error, Isa, Layout, Op, Problem, Update, View, ViewMut, WeightGradient};
use reference::{Layer, Random};
use std::time::Duration;

const WEIGHTS: Op = Op::WeightGradient;

/// A layer of many tiles, which every backend computes.
const LAYER: &str = "mb2ic16ih28oc16oh28kh3ph1";

fn shape(text: &str) -> ConvShape {
    text.parse().unwrap()
}

fn chosen(explanation: &Explanation) -> &'static str {
    explanation.choice.unwrap().0
}

fn key(auto_threads: usize, text: &str) -> WisdomKey {
    WisdomKey::here::<f32>(WEIGHTS, &shape(text), Layout::Nchw, Isa::best(), auto_threads)
}

#[test]
fn an_estimate_chooses_the_shortest_and_is_the_same_every_time() {
    let auto = Auto::<f32>::new().threads(1);
    for text in
        [LAYER, "mb1ic1ih5oc1kh2", "mb8ic64ih56oc64oh56kh3ph1", "mb8g32ic32ih20oc32kh3ph1", "mb1ic8iw5000oc8kw9"]
    {
        let explanation = auto.explain(WEIGHTS, &shape(text));
        assert_eq!(explanation, Auto::<f32>::new().threads(1).explain(WEIGHTS, &shape(text)), "{text}");
        let legal = explanation.candidates.iter().filter(|candidate| candidate.refusal.is_none());
        let estimates: Vec<_> = legal.map(|c| (c.handicapped_ms().unwrap(), c.backend)).collect();
        let shortest = estimates.iter().map(|(ms, _)| *ms).fold(f64::INFINITY, f64::min);
        assert!(estimates.contains(&(shortest, chosen(&explanation))), "{text}: {explanation}");
        assert_eq!(explanation.choice.unwrap().1, Rule::Estimated, "{text}");
        assert_eq!(auto.choose(WEIGHTS, &shape(text)).unwrap().name(), chosen(&explanation), "{text}");
    }
}

#[test]
fn what_cannot_be_the_fastest_is_not_chosen() {
    let auto = Auto::<f32>::new().threads(1);
    // A second of work for the reference; a tenth of a microsecond, in which nothing can be packed.
    assert_ne!(chosen(&auto.explain(WEIGHTS, &shape("mb8ic64ih56oc64oh56kh3ph1"))), "naive");
    assert_ne!(chosen(&auto.explain(WEIGHTS, &shape("mb1ic1ih5oc1kh2"))), "im2col");
}

#[test]
fn a_choice_computes_the_bits_of_the_backend_chosen_in_any_pool() {
    let auto = Auto::<f32>::new();
    for text in [LAYER, "mb1ic1ih5oc1kh2", "mb4ic3ih40oc8kh5sh2"] {
        let mut random = Random::new(3);
        let layer = Layer::<f32>::contiguous(shape(text), || random.real());
        let name = auto.choose(WEIGHTS, &layer.shape).unwrap().name();
        let expected = layer.compute(&*convgrad::by_name::<f32>(name).unwrap(), WEIGHTS);
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| layer.compute(&auto, WEIGHTS)), expected, "{text} on {threads} threads");
        }
    }
}

#[test]
fn limits_are_obeyed_and_told() {
    let layer = shape(LAYER);
    let names = |auto: &Auto<f32>| -> Vec<&'static str> {
        let explanation = auto.explain(WEIGHTS, &layer);
        explanation.candidates.iter().filter(|c| c.refusal.is_none()).map(|c| c.backend).collect()
    };
    let refusal = |auto: &Auto<f32>, name: &str| {
        let explanation = auto.explain(WEIGHTS, &layer);
        explanation.candidates.into_iter().find(|c| c.backend == name).unwrap().refusal
    };
    let auto = Auto::<f32>::new().max_workspace(0);
    assert_eq!(names(&auto), ["naive"]);
    assert_eq!(auto.explain(WEIGHTS, &layer).choice, Some(("naive", Rule::Only)));
    assert!(matches!(refusal(&auto, "direct"), Some(Refusal::Workspace { needed, limit: 0 }) if needed > 0));

    let auto = Auto::<f32>::new().allow(&["im2col", "direct"]).forbid(&["direct"]);
    assert_eq!(names(&auto), ["im2col"]);
    assert_eq!(refusal(&auto, "naive"), Some(Refusal::Forbidden));

    // A rounding is 6e-8; the reference has little more, a sum in f32 several.
    let auto = Auto::<f32>::new().accuracy(Accuracy::AtMost(3e-8));
    assert_eq!(names(&auto), ["naive"]);
    assert!(matches!(refusal(&auto, "direct"), Some(Refusal::Accuracy { error, allowed }) if error > allowed));

    let auto = Auto::<f32>::reproducible();
    assert!(names(&auto).contains(&"naive") && !names(&auto).contains(&"im2col"));
    assert_eq!(refusal(&auto, "im2col"), Some(Refusal::NotReproducible));
    assert!(Backend::is_reproducible(&auto));

    let auto = Auto::<f32>::new().allow(&[]);
    assert_eq!(auto.explain(WEIGHTS, &layer).choice, None);
    assert!(auto.choose(WEIGHTS, &layer).is_none());
    assert_eq!(auto.supports(WEIGHTS, &layer).unwrap_err().backend, "auto");
}

#[test]
fn no_backend_left_is_an_error_and_nothing_is_written() {
    let auto = Auto::<f32>::new().allow(&[]);
    let shape = shape("mb1ic1ih3oc1kh2");
    let mut gradient = [7.0; 4];
    let result = auto.weight_gradient(
        &shape,
        View::nchw(&[1.0; 9], &shape.input_dims()).unwrap(),
        View::nchw(&[1.0; 4], &shape.output_dims()).unwrap(),
        ViewMut::nchw(&mut gradient, &shape.weights_dims()).unwrap(),
        Update::overwrite(),
    );
    assert!(matches!(result, Err(Error::Unsupported(_))), "{result:?}");
    assert_eq!(gradient, [7.0; 4]);
}

#[test]
fn a_call_with_less_room_goes_to_a_backend_that_fits() {
    let layer = shape(LAYER);
    let (input, delta) = (vec![1.0; 2 * 16 * 28 * 28], vec![1.0; 2 * 16 * 28 * 28]);
    let mut gradient = vec![0.0; layer.weights_len()];
    let mut within = |auto: &Auto<f32>, limit: usize| {
        gradient.fill(7.0);
        let problem = WeightGradient::new(
            &layer,
            View::nchw(&input, &layer.input_dims()).unwrap(),
            View::nchw(&delta, &layer.output_dims()).unwrap(),
            ViewMut::nchw(&mut gradient, &layer.weights_dims()).unwrap(),
            Update::overwrite(),
        );
        let outcome = auto.execute_within(Problem::WeightGradient(problem.unwrap()), limit);
        (outcome, gradient[4])
    };
    let auto = Auto::<f32>::new().allow(&["direct", "naive"]);
    assert_eq!(auto.choose(WEIGHTS, &layer).unwrap().name(), "direct");
    let bytes = auto.scratch_len(WEIGHTS, &layer) * 4;
    assert!(bytes > 0);
    assert_eq!(within(&auto, bytes), (Ok(()), 2.0 * 28.0 * 28.0));
    assert_eq!(within(&auto, 0), (Ok(()), 2.0 * 28.0 * 28.0));
    let (outcome, untouched) = within(&Auto::<f32>::new().allow(&["direct"]), bytes - 1);
    assert_eq!(
        (outcome, untouched),
        (Err(Error::ScratchLimit { backend: "direct", needed: bytes, limit: bytes - 1 }), 7.0)
    );
}

#[test]
fn times_remembered_go_before_estimates_where_the_policy_says_so() {
    let layer = shape(LAYER);
    let explanation = Auto::<f32>::new().threads(1).explain(WEIGHTS, &layer);
    let mut wisdom = Wisdom::default();
    for candidate in &explanation.candidates {
        // The slowest by the estimate, but for the reference, is the fastest here.
        let ms = if candidate.backend == "im2col" { 0.001 } else { 1.0 };
        wisdom.insert(key(1, LAYER), candidate.backend, ms);
    }
    wisdom.insert(key(1, LAYER), "retired", 0.0001);
    let with = |policy| Auto::<f32>::new().threads(1).policy(policy).with_wisdom(&wisdom);
    assert_ne!(chosen(&explanation), "im2col");
    assert_eq!(with(Policy::RememberedOnly).explain(WEIGHTS, &layer).choice, Some(("im2col", Rule::Remembered)));
    assert_eq!(with(Policy::Estimate).explain(WEIGHTS, &layer), explanation);
    let measured = with(Policy::Measure(Budget { shape: Duration::ZERO, process: Duration::ZERO }));
    assert_eq!(measured.explain(WEIGHTS, &layer).choice, Some(("im2col", Rule::Remembered)));
    // Not what the limits forbid, and not for other circumstances.
    assert_ne!(chosen(&with(Policy::RememberedOnly).forbid(&["im2col"]).explain(WEIGHTS, &layer)), "im2col");
    let elsewhere = with(Policy::RememberedOnly).threads(2).explain(WEIGHTS, &layer);
    assert_eq!(elsewhere.choice.unwrap().1, Rule::Estimated);
    // A batch or an axis little longer is the same to it.
    let longer = with(Policy::RememberedOnly).explain(WEIGHTS, &shape(LAYER));
    assert_eq!(longer.choice.unwrap().1, Rule::Remembered);
}

#[test]
fn measuring_is_remembered_and_has_a_budget() {
    let layer = shape(LAYER);
    let none = Budget { shape: Duration::ZERO, process: Duration::from_secs(60) };
    let auto = Auto::<f32>::new().threads(1).policy(Policy::Measure(none));
    let explanation = auto.explain(WEIGHTS, &layer);
    assert_eq!(explanation.choice.unwrap().1, Rule::BudgetSpent);
    assert_eq!(chosen(&explanation), chosen(&Auto::<f32>::new().threads(1).explain(WEIGHTS, &layer)));
    assert!(auto.known().is_empty());

    let some = Budget { shape: Duration::from_secs(10), process: Duration::from_secs(3600) };
    let auto = Auto::<f32>::new().threads(1).forbid(&["naive"]).policy(Policy::Measure(some));
    let explanation = auto.explain(WEIGHTS, &layer);
    let Some((name, rule)) = explanation.choice else { panic!("{explanation}") };
    assert_eq!(rule, Rule::Measured);
    let times: Vec<_> = explanation.candidates.iter().filter_map(|c| Some((c.measured_ms?, c.backend))).collect();
    assert!(times.iter().all(|(ms, _)| *ms > 0.0), "{explanation}");
    let fastest = times.iter().min_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    assert_eq!(name, fastest.1);
    assert_eq!(auto.explain(WEIGHTS, &layer).choice, Some((name, Rule::Remembered)));
    assert_eq!(auto.known().milliseconds(&key(1, LAYER), name), Some(fastest.0));
}

#[test]
fn an_explanation_is_a_table_of_all_backends() {
    let text = Auto::<f32>::new().threads(1).max_workspace(1 << 20).explain(WEIGHTS, &shape(LAYER)).to_string();
    for backend in convgrad::backends::<f32>() {
        let lines = text.lines().filter(|line| line.split_whitespace().any(|word| word == backend.name()));
        assert!(lines.count() >= 1, "{} is missing in\n{text}", backend.name());
    }
    assert!(text.lines().last().unwrap().starts_with("choice: "), "{text}");
    assert!(text.contains("candidate") && text.contains("1 thread\n"), "{text}");
}

#[test]
fn rates_scale_estimates() {
    let layer = shape(LAYER);
    let reference = Rates::reference::<f32>(Isa::best());
    let Rates { peak_flops, l2, l3, dram, .. } = reference;
    let slower = Rates { peak_flops: peak_flops / 3.0, l2: l2 / 3.0, l3: l3 / 3.0, dram: dram / 3.0, ..reference };
    let [fast, slow] =
        [reference, slower].map(|rates| Auto::<f32>::new().threads(1).rates(rates).explain(WEIGHTS, &layer));
    for (fast, slow) in fast.candidates.iter().zip(&slow.candidates) {
        let ratio = slow.predicted_ms.unwrap() / fast.predicted_ms.unwrap();
        assert!((ratio - 3.0).abs() < 1e-9, "{}: {ratio}", fast.backend);
    }
    assert_eq!(fast.choice, slow.choice);
}

/// The error to expect, on operands it is defined for, is what is declared, within a factor of two; less only where many sums
/// are shorter than declared.
#[test]
fn errors_are_typically_what_backends_say() {
    for text in ["mb4ic16ih24oc16oh24kh3ph1", "mb2ic8ih9oc8oh9kh3ph1", "mb4ic64ih14oc32kh1"] {
        let shape = shape(text);
        let mut random = Random::new(11);
        let layer = Layer::<f32>::contiguous(shape, || random.real());
        let exact = layer.sums(WEIGHTS);
        let rms = |values: &[f64]| (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
        for backend in reference::able_backends::<f32>(WEIGHTS, &shape) {
            let result = layer.compute(&*backend, WEIGHTS);
            let errors: Vec<f64> = result.iter().zip(&exact).map(|(&a, b)| f64::from(a) - b).collect();
            let measured = rms(&errors) / rms(&exact) / f64::from(f32::EPSILON / 2.0);
            let declared = backend.typical_error(WEIGHTS, &shape);
            assert!(
                measured < 2.0 * declared && declared < 6.0 * measured,
                "{text} {}: {measured} {declared}",
                backend.name()
            );
        }
    }
}
