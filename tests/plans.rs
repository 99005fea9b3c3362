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
/// One channel and a kernel of 5 to 31 (`image`) mostly has two thirds of them or more: smaller bands would walk more rows
/// twice. 5x5 kernels of few channels on small planes have the fewest, as their taps are not dealt out: 4 tasks of 30 that
/// `inception_4a/5x5` would be worth, 0.3 ms of work on one thread.
const SHORT: [(&str, usize); 5] = [("core", 2), ("image", 8), ("googlenet", 7), ("unet", 1), ("deepbench", 1)];

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
fn more_threads_than_tiles_give_the_same_bits() {
    let shapes = [
        ("mb8ic40ih20oc48oh20kh3ph1", DirectKernel::Outer),
        // Fewer tiles than threads: these share the rows of tiles, of all parts and of the only one.
        ("mb8ic16ih28oc32oh28kh5ph2", DirectKernel::Outer),
        ("mb8ic32ih14oc64oh14kh5ph2", DirectKernel::Outer),
        ("mb4ic64ih28oc48oh28kh1", DirectKernel::Planar),
        // Groups in several sets, with copies of their sums.
        ("mb8g40ic240ih20oc320oh20kh3ph1", DirectKernel::Grouped),
        ("mb1ic1ih160oc1oh138kh23", DirectKernel::Slide),
    ];
    for (text, expected) in shapes {
        let shape: ConvShape = text.parse().unwrap();
        let plan = DirectPlan::new::<f32>(&shape, Isa::best());
        let plan = plan.in_place.first().unwrap_or(&plan.anywhere);
        assert_eq!(plan.kernel, expected, "{text}");
        assert!(plan.tasks > 8, "{text}: {plan}");
        let alone = gradient(&shape, 1);
        assert!(alone.iter().all(|entry| entry.is_finite()));
        for threads in [3, 40, THREADS] {
            assert_eq!(alone, gradient(&shape, threads), "{text} on {threads} threads");
        }
    }
}

/// The gradient of numbers that are no whole ones, by the direct backend on so many threads.
fn gradient(shape: &ConvShape, threads: usize) -> Vec<f32> {
    let numbers = |len: usize| (0..len).map(|i| (i * 7919 % 1000) as f32 / 999.0 - 0.5).collect::<Vec<_>>();
    let [input, delta] = [shape.input_dims(), shape.output_dims()].map(|dims| numbers(dims.iter().product()));
    let backend = convgrad::by_name::<f32>("direct").unwrap();
    let mut gradient = vec![f32::NAN; shape.weights_len()];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let call = || {
        backend.weight_gradient(
            shape,
            View::nchw(&input, &shape.input_dims()).unwrap(),
            View::nchw(&delta, &shape.output_dims()).unwrap(),
            ViewMut::nchw(&mut gradient, &shape.weights_dims()).unwrap(),
            Update::overwrite(),
        )
    };
    pool.install(call).unwrap();
    gradient
}
