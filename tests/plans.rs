//! Plans of the direct backend for every shape of the catalogue: work enough for more threads than most machines have.
//!
//! Threads are kept busy by tasks that do not wait for each other. How many a plan has depends on the shape alone, so they
//! are counted here without running anything. What falls short is listed: the lists may only become shorter.

use convgrad::{ConvShape, DirectKernel, DirectPlan, Isa, Update, View, ViewMut, catalog};

/// Threads a plan should feed.
const THREADS: usize = 64;

/// Work, in floating point operations, that is worth a task: some ten microseconds of a core.
const TASK_FLOPS: f64 = 2e6;

/// How many shapes of a set have fewer tasks, on AVX-512, in the kernel that comes first.
///
/// One channel and a large kernel (`image`), stems, and few channels with many taps (5x5 of 16 to 48, 5x10 of 32) have few
/// tiles of channels, and their taps are not dealt out; more parts would cost the merging of more copies of the sums.
const SHORT: [(&str, usize); 10] = [
    ("core", 4),
    ("image", 19),
    ("mobilenet", 1),
    ("mobilenet_v2", 1),
    ("googlenet", 12),
    ("vgg16", 1),
    ("unet", 1),
    ("wavenet", 1),
    ("video", 2),
    ("deepbench", 7),
];

#[test]
fn plans_have_tasks_for_64_threads() {
    // Other instruction sets have narrower tiles, and so more of them.
    let Some(isa) = Isa::available().into_iter().find(|isa| isa.name() == "avx512") else { return };
    let mut found = Vec::new();
    let mut told = String::new();
    for set in catalog::sets() {
        let is_short = |shape: &ConvShape| {
            let plan = DirectPlan::new::<f32>(shape, isa);
            let kernel = plan.in_place.into_iter().next().unwrap_or(plan.anywhere);
            let wanted = ((shape.flops() / TASK_FLOPS) as usize).min(THREADS);
            (kernel.tasks < wanted).then(|| format!("{shape}: {} of {wanted}, {}\n", kernel.tasks, kernel.kernel))
        };
        let lines: Vec<String> = set.shapes().iter().filter_map(|named| is_short(&named.shape)).collect();
        told.extend(lines.iter().map(String::as_str));
        if !lines.is_empty() {
            found.push((set.name(), lines.len()));
        }
    }
    assert_eq!(found, SHORT, "\n{told}");
}

#[test]
fn more_threads_than_copies_of_the_sums_give_the_same_bits() {
    let shape: ConvShape = "mb8ic40ih20oc48oh20kh3ph1".parse().unwrap();
    let plan = DirectPlan::new::<f32>(&shape, Isa::best()).anywhere;
    assert_eq!(plan.kernel, DirectKernel::Outer);
    assert!((2..40).contains(&plan.copies) && plan.tasks > plan.copies, "{plan}");
    let numbers = |len: usize| (0..len).map(|i| (i * 7919 % 1000) as f32 / 999.0 - 0.5).collect::<Vec<_>>();
    let [input, delta] = [shape.input_dims(), shape.output_dims()].map(|dims| numbers(dims.iter().product()));
    let backend = convgrad::by_name::<f32>("direct").unwrap();
    let gradient_on = |threads| {
        let mut gradient = vec![f32::NAN; shape.weights_len()];
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let call = || {
            backend.weight_gradient(
                &shape,
                View::nchw(&input, &shape.input_dims()).unwrap(),
                View::nchw(&delta, &shape.output_dims()).unwrap(),
                ViewMut::nchw(&mut gradient, &shape.weights_dims()).unwrap(),
                Update::overwrite(),
            )
        };
        pool.install(call).unwrap();
        gradient
    };
    let alone = gradient_on(1);
    assert!(alone.iter().all(|entry| entry.is_finite()));
    assert_eq!(alone, gradient_on(40));
}
