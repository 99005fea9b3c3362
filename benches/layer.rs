//! The passes of a layer beside the weight gradient: every backend on every set of the catalogue.
//!
//! An id is `forward/SET/BACKEND/SHAPE` or `dgrad/SET/BACKEND/SHAPE`; environment variables choose the rest: see [`settings`].
//!
//! ```text
//! CONVGRAD_BENCH_SET=resnet50 RAYON_NUM_THREADS=1 cargo bench --bench layer -- dgrad/resnet50/direct
//! ```
//!
//! Scratch is allocated before the clock starts. A backend is timed only after some channels of one image of its result have been
//! held against the definition: a fast wrong answer is not a measurement.

mod settings;

use convgrad::catalog::ShapeSet;
use convgrad::{Backend, ConvShape, Element, ErrorScale, Forward, InputGradient, Isa, Layout, Op, Problem, Registered};
use convgrad::{Update, View, ViewMut};
use criterion::{BenchmarkId, Criterion, Throughput};
use settings::NAIVE_FLOPS;
use std::cell::LazyCell;
use std::hint::black_box;
use std::process::ExitCode;

/// A pass with what it reads: an input or delta, in some memory order, and the weights in the usual one.
struct Pass<T> {
    op: Op,
    shape: ConvShape,
    layout: Layout,
    read: Vec<T>,
    weights: Vec<T>,
}

impl<T: Element> Pass<T> {
    /// Filled with the same numbers in [-1, 1) in every run.
    fn new(op: Op, shape: ConvShape, layout: Layout) -> Pass<T> {
        let mut state = 1u64;
        let mut fill = |len: usize| {
            let next = || {
                // Knuth's linear congruential generator (MMIX); its upper bits are the good ones.
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                T::from_f64((state >> 40) as f64 / (1u64 << 23) as f64 - 1.0)
            };
            std::iter::repeat_with(next).take(len).collect()
        };
        let [read, _] = dims(op, &shape);
        Pass { op, shape, layout, read: fill(read.iter().product()), weights: fill(shape.weights_len()) }
    }

    /// One call with the caller's scratch, which is what is timed.
    fn run(&self, backend: &dyn Backend<T>, result: &mut [T], scratch: &mut [T::Acc]) {
        let Pass { op, shape, layout, read, weights } = self;
        let [read_dims, result_dims] = dims(*op, shape);
        let read = View::new(read, &read_dims, *layout).expect("the operand has the shape's size");
        let weights = View::nchw(weights, &shape.weights_dims()).expect("the weights have the shape's size");
        let result = ViewMut::new(result, &result_dims, *layout).expect("the result has the shape's size");
        let problem = match op {
            Op::Forward => Forward::new(shape, read, weights, None, result).map(Problem::Forward),
            _ => InputGradient::new(shape, weights, read, result, Update::overwrite()).map(Problem::InputGradient),
        };
        let problem = problem.expect("the operands fit the shape");
        backend.execute(problem, scratch).expect("the backend supports the shape, scratch has its length");
    }

    /// Some channels of one image by the definition in `f64`: its own bound is small beside that of `f32`.
    fn sample(&self) -> Vec<Channel> {
        let [read_dims, result_dims] = dims(self.op, &self.shape);
        let image = self.shape.batch() - 1;
        let read = View::new(&self.read, &read_dims, self.layout).expect("the operand has the shape's size");
        let weights = View::nchw(&self.weights, &self.shape.weights_dims()).expect("the weights have the shape's size");
        let channels = [0, result_dims[1] / 2, result_dims[1] - 1];
        channels.map(|channel| Channel::new(self.op, &self.shape, read, weights, image, channel)).into()
    }

    /// Panics unless the sample lies within the backend's declared bound.
    fn check(&self, backend: &dyn Backend<T>, sample: &[Channel], result: &[T]) {
        let Pass { op, shape, .. } = self;
        let [_, result_dims] = dims(*op, shape);
        let result = View::new(result, &result_dims, self.layout).expect("the result has the shape's size");
        let unit = backend.error_bound(*op, shape) * T::UNIT_ROUNDOFF;
        let own = convgrad::reference::<f64>().error_bound(*op, shape) * f64::UNIT_ROUNDOFF;
        for Channel { image, channel, sums, magnitudes, norms } in sample {
            let [_, _, _, height, width] = result.dims5();
            for (i, (sum, magnitude)) in sums.iter().zip(magnitudes).enumerate() {
                let position = [*image, *channel, i / width / height, i / width % height, i % width];
                let given = result.at(position);
                let scale = if backend.error_scale(*op, shape) == ErrorScale::Norms { norms } else { magnitude };
                let (error, bound) = ((given.to_f64() - sum).abs(), unit * scale + own * magnitude);
                let name = backend.name();
                assert!(
                    error <= bound,
                    "{name}, {op} of {shape}: {given} at {position:?}, {error:e} off, bound {bound:e}"
                );
            }
        }
    }
}

/// Dimensions of what a pass reads beside the weights, and of its result.
fn dims(op: Op, shape: &ConvShape) -> [Vec<usize>; 2] {
    if op == Op::Forward {
        [shape.input_dims(), shape.output_dims()]
    } else {
        [shape.output_dims(), shape.input_dims()]
    }
}

/// A channel of an image of the result by the definition.
struct Channel {
    image: usize,
    channel: usize,
    sums: Vec<f64>,
    /// The sums of the magnitudes of their terms.
    magnitudes: Vec<f64>,
    /// The norm of the channel's weights by that of all that the image reads, which no norm of a part of it exceeds.
    norms: f64,
}

impl Channel {
    fn new<T: Element>(
        op: Op,
        shape: &ConvShape,
        read: View<'_, T>,
        weights: View<'_, T>,
        image: usize,
        channel: usize,
    ) -> Channel {
        let axes = shape.axes();
        let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
        let is_forward = op == Op::Forward;
        let group = channel / if is_forward { ocs } else { ics };
        let (read_dims, read_channels) = (read.dims5(), if is_forward { ics } else { ocs });
        let weight = |c: usize, [d, h, w]: [usize; 3]| {
            let (oc, ic) = if is_forward { (channel, c) } else { (group * ocs + c, channel % ics) };
            weights.at([oc, ic, d, h, w]).to_f64()
        };
        let taps = || boxed([0, 1, 2].map(|i| axes[i].kernel));
        let size = [0, 1, 2].map(|i| if is_forward { axes[i].output } else { axes[i].input });
        let (mut sums, mut magnitudes) = (Vec::new(), Vec::new());
        for position in boxed(size) {
            let (mut sum, mut magnitude) = (0.0, 0.0);
            for tap in taps() {
                let met = [0, 1, 2].map(|i| {
                    let axis = &axes[i];
                    if is_forward {
                        return usize::try_from(axis.input_position(position[i], tap[i])).ok();
                    }
                    let distance = (position[i] + axis.padding).checked_sub(tap[i] * axis.dilation)?;
                    distance.is_multiple_of(axis.stride).then(|| distance / axis.stride)
                });
                let [Some(d), Some(h), Some(w)] = met else { continue };
                if d >= read_dims[2] || h >= read_dims[3] || w >= read_dims[4] {
                    continue;
                }
                for c in 0..read_channels {
                    let term = weight(c, tap) * read.at([image, group * read_channels + c, d, h, w]).to_f64();
                    sum += term;
                    magnitude += term.abs();
                }
            }
            sums.push(sum);
            magnitudes.push(magnitude);
        }
        let channels = 0..read_channels;
        let weights =
            channels.clone().flat_map(|c| taps().map(move |tap| (c, tap))).map(|(c, tap)| weight(c, tap).powi(2));
        let reads = channels.flat_map(|c| boxed([read_dims[2], read_dims[3], read_dims[4]]).map(move |p| (c, p)));
        let reads = reads.map(|(c, [d, h, w])| read.at([image, group * read_channels + c, d, h, w]).to_f64().powi(2));
        let norms = (weights.sum::<f64>() * reads.sum::<f64>()).sqrt();
        Channel { image, channel, sums, magnitudes, norms }
    }
}

/// All positions of a box.
fn boxed([depth, height, width]: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    (0..depth * height * width).map(move |i| [i / width / height, i / width % height, i % width])
}

fn bench_set<T: Registered>(criterion: &mut Criterion, id: &str, set: &ShapeSet, layout: Layout, isa: Isa) {
    for op in [Op::Forward, Op::InputGradient] {
        let mut group = criterion.benchmark_group(format!("{}/{id}", op.name()));
        for shape in set.shapes().into_iter().map(|named| named.shape) {
            group.throughput(Throughput::Elements(shape.flops() as u64));
            // Made for the first bench that the filter lets through.
            let pass = LazyCell::new(|| Pass::<T>::new(op, shape, layout));
            let sample = LazyCell::new(|| pass.sample());
            for backend in convgrad::backends_on::<T>(isa) {
                let too_slow = backend.name() == "naive" && shape.flops() > NAIVE_FLOPS;
                if too_slow || backend.supports(op, &shape).is_err() {
                    continue;
                }
                let checked_buffers = || {
                    let not_a_number = T::from_f64(f64::NAN);
                    let mut result = vec![not_a_number; dims(op, &shape)[1].iter().product()];
                    let mut scratch = vec![not_a_number.to_acc(); backend.scratch_len(op, &shape)];
                    pass.run(&*backend, &mut result, &mut scratch);
                    pass.check(&*backend, &sample, &result);
                    (result, scratch)
                };
                let mut buffers = None;
                group.bench_function(BenchmarkId::new(backend.name(), shape), |bencher| {
                    let (result, scratch) = buffers.get_or_insert_with(checked_buffers);
                    bencher.iter(|| black_box(&*pass).run(&*backend, result, scratch));
                });
            }
        }
        group.finish();
    }
}

fn main() -> ExitCode {
    settings::run(bench_set::<f32>, bench_set::<f64>)
}
