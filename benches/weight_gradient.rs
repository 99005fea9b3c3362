//! Every backend on every set of the catalogue: time, and nominal floating point operations as throughput.
//!
//! An id is `weight_gradient/SET/BACKEND/SHAPE`, the shape in its text form, so that criterion's filter selects any part:
//!
//! ```text
//! CONVGRAD_BENCH_SET=resnet50,vgg16 RAYON_NUM_THREADS=1 cargo bench --bench weight_gradient -- direct
//! CONVGRAD_BENCH_SET=tiny cargo bench --bench weight_gradient -- --test          every bench once, in a second or two
//! ```
//!
//! Environment variables choose what criterion has no argument for: see [`settings`].
//!
//! Scratch is allocated before the clock starts, as in a training loop. A backend is timed only after a sample of its
//! result has been held against the definition: a fast wrong answer is not a measurement.

mod settings;

use convgrad::catalog::ShapeSet;
use convgrad::{Axis, Backend, ConvShape, Element, ErrorScale, Isa, Layout, Op, Problem, Registered};
use convgrad::{Update, View, ViewMut, WeightGradient};
use criterion::{BenchmarkId, Criterion, Throughput};
use settings::NAIVE_FLOPS;
use std::cell::LazyCell;
use std::hint::black_box;
use std::process::ExitCode;

/// Input and delta of a problem, filled with the same numbers in [-1, 1) in every run.
struct Operands<T> {
    input: Vec<T>,
    delta: Vec<T>,
    layout: Layout,
}

impl<T: Element> Operands<T> {
    fn of(shape: &ConvShape, layout: Layout) -> Operands<T> {
        let mut state = 1u64;
        let mut fill = |dims: Vec<usize>| {
            let next = || {
                // Knuth's linear congruential generator (MMIX); its upper bits are the good ones.
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
            };
            std::iter::repeat_with(next).take(dims.iter().product()).collect()
        };
        Operands { input: fill(shape.input_dims()), delta: fill(shape.output_dims()), layout }
    }

    /// One call with the caller's scratch, which is what is timed.
    fn gradient(&self, backend: &dyn Backend<T>, shape: &ConvShape, gradient: &mut [T], scratch: &mut [T::Acc]) {
        let problem = WeightGradient::new(
            shape,
            View::new(&self.input, &shape.input_dims(), self.layout).expect("the input has the shape's size"),
            View::new(&self.delta, &shape.output_dims(), self.layout).expect("delta has the shape's size"),
            ViewMut::nchw(gradient, &shape.weights_dims()).expect("the gradient has the shape's size"),
            Update::overwrite(),
        );
        let problem = Problem::WeightGradient(problem.expect("the operands fit the shape"));
        backend.execute(problem, scratch).expect("the backend supports the shape, scratch has its length");
    }
}

/// Entries of the gradient by the definition in `f64`: all taps of a few pairs of an output and an input channel.
struct Sample {
    pairs: Vec<Pair>,
}

/// All taps of an output and an input channel.
struct Pair {
    /// Where they begin in the gradient.
    begin: usize,
    sums: Vec<f64>,
    /// The sums of the magnitudes of their terms.
    magnitudes: Vec<f64>,
    /// The product of the Euclidean norms of the two channels.
    norms: f64,
}

impl Sample {
    fn of<T: Element>(shape: &ConvShape, operands: &Operands<T>) -> Sample {
        let alone = one_channel(shape);
        let sums = |input: &[f64], delta: &[f64], change: fn(&f64) -> f64| {
            let changed = |values: &[f64]| values.iter().map(change).collect();
            let operands = Operands { input: changed(input), delta: changed(delta), layout: Layout::Nchw };
            let mut gradient = vec![0.0; shape.taps()];
            operands.gradient(&*convgrad::reference(), &alone, &mut gradient, &mut []);
            gradient
        };
        let mut pairs = Vec::new();
        for oc in first_middle_last(shape.out_channels()) {
            let delta = channel(&operands.delta, &shape.output_dims(), operands.layout, oc);
            let group = oc / shape.group_out_channels();
            for ic in first_middle_last(shape.group_in_channels()) {
                let in_channel = group * shape.group_in_channels() + ic;
                let input = channel(&operands.input, &shape.input_dims(), operands.layout, in_channel);
                let begin = (oc * shape.group_in_channels() + ic) * shape.taps();
                pairs.push(Pair {
                    begin,
                    sums: sums(&input, &delta, |&v| v),
                    magnitudes: sums(&input, &delta, |&v| v.abs()),
                    norms: norm(&input) * norm(&delta),
                });
            }
        }
        Sample { pairs }
    }

    /// Panics unless these entries lie within the backend's declared bound, and all others are numbers.
    fn check<T: Element>(&self, backend: &dyn Backend<T>, shape: &ConvShape, gradient: &[T]) {
        let name = backend.name();
        let unit = backend.error_bound(Op::WeightGradient, shape) * T::UNIT_ROUNDOFF;
        let own = convgrad::reference::<f64>().error_bound(Op::WeightGradient, shape) * f64::UNIT_ROUNDOFF;
        let scale = backend.error_scale(Op::WeightGradient, shape);
        for Pair { begin, sums, magnitudes, norms } in &self.pairs {
            for (i, (sum, magnitude)) in (*begin..).zip(sums.iter().zip(magnitudes)) {
                let scale = if scale == ErrorScale::Norms { norms } else { magnitude };
                let (error, bound) = ((gradient[i].to_f64() - sum).abs(), unit * scale + own * magnitude);
                let entry = gradient[i];
                assert!(error <= bound, "{name} on {shape}: entry {i} is {entry}, {error:e} off, bound {bound:e}");
            }
        }
        let missing = gradient.iter().position(|entry| !entry.to_f64().is_finite());
        assert_eq!(missing, None, "{name} on {shape}: the entry of this index is no number");
    }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

/// The problem of one output channel and one input channel that it sees.
fn one_channel(shape: &ConvShape) -> ConvShape {
    let axis = |(name, axis): (char, &Axis)| {
        let Axis { input, kernel, output, stride, dilation, padding } = axis;
        format!("i{name}{input}o{name}{output}k{name}{kernel}s{name}{stride}p{name}{padding}d{name}{}", dilation - 1)
    };
    let axes: String = ['d', 'h', 'w'].into_iter().zip(shape.axes()).map(axis).collect();
    format!("mb{}ic1oc1{axes}", shape.batch()).parse().expect("a part of a problem is one")
}

/// Kernels take channels by tiles: the first begins one, and the last ends what is left over from them.
fn first_middle_last(channels: usize) -> Vec<usize> {
    let mut chosen = vec![0, channels / 2, channels - 1];
    chosen.dedup();
    chosen
}

/// One channel of every image, as the only one.
fn channel<T: Element>(values: &[T], dims: &[usize], layout: Layout, channel: usize) -> Vec<f64> {
    let view = View::new(values, dims, layout).expect("the values have these dimensions");
    let [batch, _, depth, height, width] = view.dims5();
    let mut alone = Vec::with_capacity(batch * depth * height * width);
    for n in 0..batch {
        for d in 0..depth {
            for h in 0..height {
                alone.extend((0..width).map(|w| view.at([n, channel, d, h, w]).to_f64()));
            }
        }
    }
    alone
}

fn bench_set<T: Registered>(criterion: &mut Criterion, id: &str, set: &ShapeSet, layout: Layout, isa: Isa) {
    let mut group = criterion.benchmark_group(format!("weight_gradient/{id}"));
    for shape in set.shapes().into_iter().map(|named| named.shape) {
        group.throughput(Throughput::Elements(shape.flops() as u64));
        // Made for the first bench that the filter lets through.
        let operands = LazyCell::new(|| Operands::of(&shape, layout));
        let sample = LazyCell::new(|| Sample::of(&shape, &operands));
        for backend in convgrad::backends_on::<T>(isa) {
            let too_slow = backend.name() == "naive" && shape.flops() > NAIVE_FLOPS;
            if too_slow || backend.supports(Op::WeightGradient, &shape).is_err() {
                continue;
            }
            let checked_buffers = || {
                let not_a_number = T::from_f64(f64::NAN);
                let mut gradient = vec![not_a_number; shape.weights_len()];
                let mut scratch = vec![not_a_number.to_acc(); backend.scratch_len(Op::WeightGradient, &shape)];
                operands.gradient(&*backend, &shape, &mut gradient, &mut scratch);
                sample.check(&*backend, &shape, &gradient);
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

fn main() -> ExitCode {
    settings::run(bench_set::<f32>, bench_set::<f64>)
}
