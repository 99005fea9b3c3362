//! Every backend on every set of the catalogue: time, and nominal floating point operations as throughput.
//!
//! An id is `weight_gradient/SET/BACKEND/SHAPE`, the shape in its text form, so that criterion's filter selects any part:
//!
//! ```text
//! CONVGRAD_BENCH_SET=resnet50,vgg16 RAYON_NUM_THREADS=1 cargo bench --bench weight_gradient -- direct
//! CONVGRAD_BENCH_SET=tiny cargo bench --bench weight_gradient -- --test          every bench once, in a second or two
//! ```
//!
//! `CONVGRAD_BENCH_SET` names sets, separated by commas; without it all are taken. Scratch is allocated before the clock
//! starts, as in a training loop. A backend is timed only after its result has been held against the definition: a fast
//! wrong answer is not a measurement.

use convgrad::catalog::{self, ShapeSet};
use convgrad::{Backend, ConvShape, Element, Op, Problem, Update, View, ViewMut, WeightGradient};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::cell::LazyCell;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

/// Work beyond which the definition is too slow to be timed or to judge others: about a second of its loops.
const NAIVE_FLOPS: f64 = 2e8;

/// Input and delta of a problem, filled with the same numbers in [-1, 1) in every run.
struct Operands<T> {
    input: Vec<T>,
    delta: Vec<T>,
}

impl<T: Element> Operands<T> {
    fn of(shape: &ConvShape) -> Operands<T> {
        let mut state = 1u64;
        let mut fill = |dims: Vec<usize>| {
            let next = || {
                // Knuth's linear congruential generator (MMIX); its upper bits are the good ones.
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
            };
            std::iter::repeat_with(next).take(dims.iter().product()).collect()
        };
        Operands { input: fill(shape.input_dims()), delta: fill(shape.output_dims()) }
    }

    fn map<U>(&self, f: impl Fn(T) -> U) -> Operands<U> {
        let map = |values: &[T]| values.iter().map(|&v| f(v)).collect();
        Operands { input: map(&self.input), delta: map(&self.delta) }
    }

    /// One call with the caller's scratch, which is what is timed.
    fn gradient(&self, backend: &dyn Backend<T>, shape: &ConvShape, gradient: &mut [T], scratch: &mut [T::Acc]) {
        let problem = WeightGradient::new(
            shape,
            View::nchw(&self.input, &shape.input_dims()).expect("the input has the shape's size"),
            View::nchw(&self.delta, &shape.output_dims()).expect("delta has the shape's size"),
            ViewMut::nchw(gradient, &shape.weights_dims()).expect("the gradient has the shape's size"),
            Update::overwrite(),
        );
        let problem = Problem::WeightGradient(problem.expect("the operands fit the shape"));
        backend.execute(problem, scratch).expect("the backend supports the shape, scratch has its length");
    }
}

/// Panics unless every entry is within the backend's declared bound of the definition in `f64`.
fn check(backend: &dyn Backend<f32>, shape: &ConvShape, operands: &Operands<f32>, gradient: &[f32]) {
    let definition = |operands: Operands<f64>| {
        let mut sums = vec![0.0; shape.weights_len()];
        operands.gradient(&*convgrad::reference(), shape, &mut sums, &mut []);
        sums
    };
    let exact = definition(operands.map(f64::from));
    let magnitude = definition(operands.map(|v| f64::from(v).abs()));
    let unit = backend.error_bound(Op::WeightGradient, shape) * f32::UNIT_ROUNDOFF;
    for (i, &g) in gradient.iter().enumerate() {
        let (error, bound) = ((f64::from(g) - exact[i]).abs(), unit * magnitude[i]);
        assert!(
            error <= bound,
            "{} on {shape}: entry {i} is {g}, {error:e} off with a bound of {bound:e}",
            backend.name()
        );
    }
}

fn bench_set(criterion: &mut Criterion, set: &ShapeSet) {
    let mut group = criterion.benchmark_group(format!("weight_gradient/{}", set.name()));
    for shape in set.shapes().into_iter().map(|named| named.shape) {
        group.throughput(Throughput::Elements(shape.flops() as u64));
        // Made for the first bench that the filter lets through, and checked once a backend.
        let operands = LazyCell::new(|| Operands::of(&shape));
        for backend in convgrad::backends::<f32>() {
            let small = shape.flops() <= NAIVE_FLOPS;
            if backend.supports(Op::WeightGradient, &shape).is_err() || (backend.name() == "naive" && !small) {
                continue;
            }
            let checked_buffers = || {
                let mut gradient = vec![f32::NAN; shape.weights_len()];
                let mut scratch = vec![f32::NAN; backend.scratch_len(Op::WeightGradient, &shape)];
                if small {
                    operands.gradient(&*backend, &shape, &mut gradient, &mut scratch);
                    check(&*backend, &shape, &operands, &gradient);
                }
                (gradient, scratch)
            };
            let mut buffers = None;
            group.bench_function(BenchmarkId::new(backend.name(), shape), |bencher| {
                let (gradient, scratch) = buffers.get_or_insert_with(checked_buffers);
                bencher.iter(|| operands.gradient(&*backend, black_box(&shape), gradient, scratch));
            });
        }
    }
    group.finish();
}

/// The sets `CONVGRAD_BENCH_SET` names.
fn chosen_sets() -> Result<Vec<ShapeSet>, String> {
    let all = catalog::sets();
    let Ok(names) = std::env::var("CONVGRAD_BENCH_SET") else {
        return Ok(all.to_vec());
    };
    let by_name = |name: &str| {
        all.iter().find(|set| set.name() == name).copied().ok_or_else(|| {
            let known: Vec<_> = all.iter().map(ShapeSet::name).collect();
            format!("CONVGRAD_BENCH_SET: no set is called `{name}`: choose from {}", known.join(", "))
        })
    };
    names.split(',').map(str::trim).map(by_name).collect()
}

fn main() -> ExitCode {
    let sets = match chosen_sets() {
        Ok(sets) => sets,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for set in &sets {
        bench_set(&mut criterion, set);
    }
    criterion.final_summary();
    ExitCode::SUCCESS
}
