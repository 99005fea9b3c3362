//! Random problems in random memory against the definition, with integers, so that agreement is to the last bit.

use super::Im2col;
use crate::backend::Backend;
use crate::backend::naive::Naive;
use crate::element::Element;
use crate::problem::Update;
use crate::shape::{ConvShape, Op};
use crate::tensor::{View, ViewMut};
use proptest::prelude::*;

/// Memory for an operand: its axes in some order, some reversed, some spread out.
#[derive(Debug, Clone)]
struct Memory {
    order: Vec<usize>,
    reversed: Vec<bool>,
    gap: usize,
    /// An axis of stride 0; for operands that are read.
    repeated: Option<usize>,
}

fn memory() -> impl Strategy<Value = Memory> {
    let order = prop_oneof![
        3 => Just(vec![0, 1, 2, 3, 4]),
        3 => Just(vec![0, 2, 3, 4, 1]),
        2 => Just(vec![0, 1, 2, 3, 4]).prop_shuffle(),
    ];
    let reversed = prop_oneof![3 => Just(vec![false; 5]), 1 => prop::collection::vec(any::<bool>(), 5)];
    let repeated = prop_oneof![6 => Just(None), 1 => (0..5usize).prop_map(Some)];
    let gap = prop_oneof![3 => Just(0usize), 1 => 1..3usize];
    (order, reversed, gap, repeated).prop_map(|(order, reversed, gap, repeated)| Memory {
        order,
        reversed,
        gap,
        repeated,
    })
}

impl Memory {
    /// Strides, origin and length for an operand.
    fn lay_out(&self, dims: &[usize], repeat: bool) -> (Vec<isize>, usize, usize) {
        let (mut strides, mut origin, mut len) = (vec![0; dims.len()], 0, 1);
        for &axis in self.order.iter().rev().filter(|&&axis| axis < dims.len()) {
            if repeat && self.repeated == Some(axis) {
                continue;
            }
            let step = len + if axis == 0 { 0 } else { self.gap };
            strides[axis] = if self.reversed[axis] { -(step as isize) } else { step as isize };
            origin += if self.reversed[axis] { step * (dims[axis] - 1) } else { 0 };
            len += step * (dims[axis] - 1);
        }
        (strides, origin, len)
    }
}

/// A problem of one to three axes; each is input, kernel, stride, dilation, padding before and after.
fn shapes() -> impl Strategy<Value = ConvShape> {
    let axis = (1..12usize, 1..4usize, 1..4usize, 1..3usize, 0..3usize, 0..3usize);
    let channels = prop_oneof![1..4usize, Just(18usize)];
    (1..5usize, 1..4usize, channels.clone(), channels, prop::collection::vec(axis, 1..=3), prop::bool::weighted(0.3))
        .prop_filter_map("the kernel must fit", |(batch, groups, ic, oc, axes, pointwise)| {
            macro_rules! build {
                ($new:ident, $rank:literal, $wrap:expr) => {{
                    let a = |f: fn(&(usize, usize, usize, usize, usize, usize)) -> usize| {
                        <[usize; $rank]>::try_from(axes.iter().map(f).collect::<Vec<_>>()).unwrap()
                    };
                    let kernel = a(|a| a.1).map(|k| if pointwise { 1 } else { k });
                    let padded = |pad: [usize; $rank]| pad.map(|p| if pointwise { 0 } else { p });
                    ConvShape::$new(batch, ic * groups, $wrap(a(|a| a.0)), oc * groups, $wrap(kernel))
                        .groups(groups)
                        .stride(a(|a| a.2))
                        .dilation(a(|a| a.3))
                        .padding_begin_end(padded(a(|a| a.4)), padded(a(|a| a.5)))
                        .build()
                        .ok()
                }};
            }
            match axes.len() {
                1 => build!(conv1d, 1, |[n]: [usize; 1]| n),
                2 => build!(conv2d, 2, |n| n),
                _ => build!(conv3d, 3, |n| n),
            }
        })
}

/// Small integers: every sum of their products is exact in both types, in any order.
fn integers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            T::from_f64((state >> 60) as f64 - 8.0)
        })
        .collect()
}

/// Runs every operation by a backend on the operands of a seed; outputs are whole slices, gaps included.
fn run<T: Element>(
    backend: &dyn Backend<T>,
    shape: &ConvShape,
    memory: &[Memory; 4],
    update: Update<T>,
    seed: u64,
) -> Vec<Vec<T>> {
    let read = |memory: &Memory, dims: &[usize], seed| {
        let (strides, origin, len) = memory.lay_out(dims, true);
        (integers::<T>(len, seed), strides, origin)
    };
    let (input, delta, weights) = (shape.input_dims(), shape.output_dims(), shape.weights_dims());
    let operands =
        [read(&memory[0], &input, seed), read(&memory[1], &delta, seed + 1), read(&memory[2], &weights, seed + 2)];
    let view = |i: usize, dims: &[usize]| View::strided(&operands[i].0, dims, &operands[i].1, operands[i].2).unwrap();
    let bias = integers::<T>(shape.out_channels(), seed + 3);
    let mut results = Vec::new();
    for op in [Op::WeightGradient, Op::BiasGradient, Op::Forward] {
        let dims = match op {
            Op::WeightGradient => weights.clone(),
            Op::BiasGradient => vec![shape.out_channels()],
            Op::Forward => delta.clone(),
        };
        let (strides, origin, len) = memory[3].lay_out(&dims, false);
        // Gaps must keep what they hold; what is overwritten may be NaN.
        let kept = update.accumulate && op != Op::Forward;
        let mut out = if kept { integers::<T>(len, seed + 4) } else { vec![T::from_f64(f64::NAN); len] };
        let output = ViewMut::strided(&mut out, &dims, &strides, origin).unwrap();
        match op {
            Op::WeightGradient => backend.weight_gradient(shape, view(0, &input), view(1, &delta), output, update),
            Op::BiasGradient => backend.bias_gradient(shape, view(1, &delta), output, update),
            Op::Forward => backend.forward(shape, view(0, &input), view(2, &weights), Some(&bias), output),
        }
        .unwrap();
        results.push(out.into_iter().map(|x| if x != x { T::from_f64(1e30) } else { x }).collect());
    }
    results
}

fn agrees<T: Element>(shape: &ConvShape, memory: &[Memory; 4], accumulate: bool, seed: u64) {
    let update = Update { scale: T::from_f64(if seed % 2 == 0 { 1.0 } else { -0.5 }), accumulate };
    let expected = run::<T>(&Naive, shape, memory, update, seed);
    assert_eq!(run::<T>(&Im2col, shape, memory, update, seed), expected);
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn small_problems_agree_with_the_definition(
        shape in shapes(), memory in [memory(), memory(), memory(), memory()], accumulate: bool, seed in 0..1000u64
    ) {
        agrees::<f32>(&shape, &memory, accumulate, seed);
        agrees::<f64>(&shape, &memory, accumulate, seed);
    }
}

/// Problems cut into many tasks, units, parts and pieces, in the common layouts, on several threads.
#[test]
fn large_problems_agree_with_the_definition_on_any_number_of_threads() {
    let plain = |order: [usize; 5]| Memory { order: order.to_vec(), reversed: vec![false; 5], gap: 0, repeated: None };
    let layouts = [plain([0, 1, 2, 3, 4]), plain([0, 2, 3, 4, 1]), plain([4, 1, 3, 0, 2])];
    for text in [
        "mb9ic40ih7oc24oh7kh3ph1",
        "mb2ic70ih14oc20oh7kh3sh2ph1",
        "mb3ic300ih9oc270oh9kh1",
        "mb1ic1ih120oc2oh110kh11",
        "mb3g40ic40ih30oc40oh30kh3ph1",
        "mb2g2ic8id5ih20iw31oc6od4oh18ow31kd2kh3kw1",
        "mb1ic2iw30000oc3ow29998kw3",
        "mb900ic6ih3oc40oh2kh2",
    ] {
        let shape: ConvShape = text.parse().unwrap();
        for memory in layouts.each_ref().map(|m| [(); 4].map(|_| m.clone())) {
            let update = Update::overwrite();
            let expected = run::<f32>(&Naive, &shape, &memory, update, 7);
            for threads in [1, 2, 3, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let result = pool.install(|| run::<f32>(&Im2col, &shape, &memory, update, 7));
                assert!(result == expected, "{shape} {memory:?} on {threads} threads");
            }
        }
    }
}
