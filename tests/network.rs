//! The example's network against PyTorch: the gradients of all its parameters, of a mean cross-entropy through dense layer, pools,
//! activations and convolutions.
//!
//! The stored values are PyTorch's in double precision (`cargo xtask digits --gradients` writes them anew), of the same pictures
//! and the same first weights, which both sides draw from the same generator.

#[allow(dead_code, reason = "the example's own modules, of which the test needs a part")]
#[path = "../examples/digits/data.rs"]
mod data;
#[allow(dead_code, reason = "the example's own modules, of which the test needs a part")]
#[path = "../examples/digits/layers.rs"]
mod layers;
#[allow(dead_code, reason = "the example's own modules, of which the test needs a part")]
#[path = "../examples/digits/network.rs"]
mod network;
#[allow(dead_code, reason = "the example's own modules, of which the test needs a part")]
#[path = "../examples/digits/random.rs"]
mod random;

use convgrad::{Auto, Backend};
use data::{Digits, PIXELS};
use layers::Activation;
use network::Network;
use random::Random;
use serde_json::Value;

/// Errors allowed, over the norm of a gradient; those of `naive`, which sums in `f64` and rounds between layers only, reach 1.2e-7,
/// those of the others less than 5e-7.
const ALLOWED: f64 = 1e-6;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What is stored of a gradient, against the same of one computed here.
fn assert_alike(gradient: &[f32], stored: &Value, what: &str) {
    let [norm, signed_sum] = ["norm", "signed_sum"].map(|key| stored[key].as_f64().unwrap());
    let step = stored["step"].as_u64().unwrap() as usize;
    assert_eq!(gradient.len() as u64, stored["len"].as_u64().unwrap(), "{what}");
    let wide = || gradient.iter().map(|&x| f64::from(x));
    let sign = |i: usize| if i * 7 % 11 < 5 { 1.0 } else { -1.0 };
    let own_norm = wide().map(|x| x * x).sum::<f64>().sqrt();
    let own_sum: f64 = wide().enumerate().map(|(i, x)| sign(i) * x).sum();
    let entries: Vec<f64> = wide().step_by(step).collect();
    assert_eq!(entries.len(), numbers(&stored["entries"]).len(), "{what}");
    let pairs = [(own_norm, norm), (own_sum, signed_sum)]
        .into_iter()
        .chain(entries.into_iter().zip(numbers(&stored["entries"])));
    for (own, theirs) in pairs {
        let error = (own - theirs).abs() / norm;
        assert!(error <= ALLOWED, "{what}: {own} instead of {theirs}, an error of {error:.1e} of the norm");
    }
}

fn check(backend: &dyn Backend<f32>) {
    let stored: Value = serde_json::from_str(include_str!("network/gradients.json")).unwrap();
    for (name, activation) in [("relu", Activation::Relu), ("sigmoid", Activation::Sigmoid)] {
        let stored = &stored["networks"][name];
        let mut random = Random::new(1);
        let (digits, _) = Digits::load(&mut random).unwrap();
        let mut network = Network::new(activation, &mut random);
        let batch = 32;
        let error = network.gradients(backend, &digits.pictures[..batch * PIXELS], &digits.labels[..batch]).unwrap();
        let relative = (error / stored["error"].as_f64().unwrap() - 1.0).abs();
        assert!(relative <= ALLOWED, "{name} by {}: the error is off by {relative:.1e}", backend.name());
        for (index, layer) in network.layers.iter().enumerate() {
            let what = |part: &str| format!("{part} of layer {index}, {name} by {}", backend.name());
            assert_alike(&layer.weight_gradient, &stored["layers"][index]["weights"], &what("weights"));
            assert_alike(&layer.bias_gradient, &stored["layers"][index]["bias"], &what("bias"));
        }
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    for name in ["naive", "im2col"] {
        check(&*convgrad::by_name(name).unwrap());
    }
    check(&Auto::<f32>::new());
}

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    let trained = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut random = Random::new(5);
            let (digits, _) = Digits::load(&mut random).unwrap();
            let mut network = Network::new(Activation::Relu, &mut random);
            let backend = Auto::<f32>::new().threads(1);
            for step in 0..5 {
                let batch = digits.select(&(step * 64..(step + 1) * 64).collect::<Vec<_>>());
                network.gradients(&backend, &batch.pictures, &batch.labels).unwrap();
                network.step(0.1, 0.9).unwrap();
            }
            network.layers.map(|layer| layer.weights.iter().map(|weight| weight.to_bits()).collect::<Vec<_>>())
        })
    };
    let one = trained(1);
    assert!([2, 3, 8].into_iter().all(|threads| trained(threads) == one));
}
