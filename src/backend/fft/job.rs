//! A job: the gradient of some output channels and input channels, of some lags, from transforms to sums.

use super::plan::Plan;
use super::sheet::{Channel, Sheets};
use crate::element::Element;
use crate::partition::add_in_order;
use crate::problem::WeightGradient;
use crate::shape::ConvShape;
use crate::simd::fourier::{MultiplyAdd, Part, Row, Transform, Turn, WIDTH};
use crate::simd::{Isa, Lane};
use std::ops::Range;

/// What all jobs share.
pub(super) struct Context<'a, 'v, T: Element> {
    pub problem: &'a WeightGradient<'v, T>,
    pub plan: &'a Plan,
    pub isa: Isa,
    /// Factors of the transforms down the height, and along the width.
    pub factors: [&'a [T::Acc]; 2],
}

/// The sums of a block of channels, for a tap along depth and a block of lags along height and width.
#[derive(Debug, Clone)]
pub(super) struct Job {
    group: usize,
    ocs: Range<usize>,
    streams: Range<usize>,
    tap: usize,
    lags: [usize; 2],
}

/// The scratch of a task, by rows of numbers but for the lags.
struct Room<'a, A> {
    sums: &'a mut [Row<A>],
    columns: &'a mut [Row<A>],
    spectra: &'a mut [Row<A>],
    lags: &'a mut [A],
}

impl<'a, A> Room<'a, A> {
    fn new(plan: &Plan, scratch: &'a mut [A]) -> Self {
        let [sums, columns, spectra, _] = plan.lens();
        let (sums, rest) = scratch.split_at_mut(sums);
        let (columns, rest) = rest.split_at_mut(columns);
        let (spectra, lags) = rest.split_at_mut(spectra);
        let [sums, columns, spectra] = [sums, columns, spectra].map(|place| place.as_chunks_mut().0);
        Room { sums, columns, spectra, lags }
    }
}

impl Job {
    /// The job of a number.
    pub fn new(number: usize, shape: &ConvShape, plan: &Plan) -> Job {
        let (rest, w) = (number / plan.width.lag_blocks, number % plan.width.lag_blocks);
        let (rest, h) = (rest / plan.height.lag_blocks, rest % plan.height.lag_blocks);
        let depth = shape.axes()[0].kernel;
        let (rest, tap) = (rest / depth, rest % depth);
        let blocks = plan.streams.div_ceil(plan.stream_block);
        let (rest, stream) = (rest / blocks, rest % blocks * plan.stream_block);
        let blocks = shape.group_out_channels().div_ceil(plan.oc_block);
        let (group, oc) = (rest / blocks, rest % blocks * plan.oc_block);
        Job {
            group,
            ocs: oc..(oc + plan.oc_block).min(shape.group_out_channels()),
            streams: stream..(stream + plan.stream_block).min(plan.streams),
            tap,
            lags: [h * plan.height.lags, w * plan.width.lags],
        }
    }

    /// The input channel of a stream, within its group, and its phases of height and width.
    fn stream(stream: usize, plan: &Plan) -> (usize, [usize; 2]) {
        let [height, width] = [plan.height, plan.width].map(|axis| axis.sampling.input_phases);
        (stream / (height * width), [stream / width % height, stream % width])
    }

    /// Sums the products of the spectra of a part of the pairs of sheets, into the scratch of its task.
    pub fn sum<T: Element>(&self, context: &Context<'_, '_, T>, part: usize, scratch: &mut [T::Acc]) {
        let Context { problem, plan, isa, factors } = context;
        let shape = problem.shape;
        let Room { sums, columns, spectra, .. } = Room::new(plan, scratch);
        sums.as_flattened_mut().fill(T::Acc::default());
        let channels = self.ocs.len() + self.streams.len();
        let (n1, n2) = (plan.height.length(), plan.width.length());
        let sums_of_block = sums.len() / (n1 / WIDTH);
        for pair in part * plan.pairs / plan.parts..(part + 1) * plan.pairs / plan.parts {
            for (channel, columns) in columns.chunks_exact_mut(plan.sheet_rows()).take(channels).enumerate() {
                let channel = self.channel(channel, shape, plan);
                let operand = if matches!(channel, Channel::Delta(_)) { &problem.delta } else { &problem.input };
                let sheets = Sheets { shape, plan, isa: *isa, operand, channel };
                for (block, rows) in columns.chunks_exact_mut(n1).enumerate() {
                    sheets.fill(2 * pair, block, Part::Real, rows);
                    sheets.fill(2 * pair + 1, block, Part::Imaginary, rows);
                    if !plan.strips {
                        isa.run(Transform { stages: &plan.height.stages, factors: factors[0], rows });
                    }
                }
            }
            for (block, sums) in sums.chunks_exact_mut(sums_of_block).enumerate() {
                let sheets = columns.chunks_exact(plan.sheet_rows());
                for (columns, spectrum) in sheets.zip(spectra.chunks_exact_mut(n2)).take(channels) {
                    let row = |i: usize| &columns[i / WIDTH * n1 + block * WIDTH + i % WIDTH];
                    isa.run(Turn { row, out: spectrum });
                    isa.run(Transform { stages: &plan.width.stages, factors: factors[1], rows: spectrum });
                }
                let (delta, input) = spectra[..channels * n2].split_at(self.ocs.len() * n2);
                multiply(*isa, n2, delta, input, sums);
            }
        }
    }
}

impl Job {
    /// A channel, counted through the output channels and then the streams.
    fn channel(&self, index: usize, shape: &ConvShape, plan: &Plan) -> Channel {
        if index < self.ocs.len() {
            return Channel::Delta(self.group * shape.group_out_channels() + self.ocs.start + index);
        }
        let (channel, phases) = Job::stream(self.streams.start + index - self.ocs.len(), plan);
        let channel = self.group * shape.group_in_channels() + channel;
        Channel::Input { channel, phases, tap: self.tap, lags: self.lags }
    }

    /// Adds up the sums of all parts, in their order, and transforms them back to lags, which are left in the scratch of the
    /// first part, `[oc][stream][lag of height][lag of width]`.
    pub fn finish<T: Element>(&self, context: &Context<'_, '_, T>, scratch: &mut [T::Acc]) {
        let Context { plan, isa, factors, .. } = context;
        let (scratch, others) = scratch.split_at_mut(plan.task_len());
        let Room { sums, columns, spectra, lags } = Room::new(plan, scratch);
        let sums_len = plan.lens()[0];
        let copies = others.chunks_exact(plan.task_len()).map(|copy| &copy[..sums_len]);
        add_in_order(sums.as_flattened_mut(), copies);

        let (n1, n2) = (plan.height.length(), plan.width.length());
        let [rows, columns_of] = [&plan.height, &plan.width].map(|axis| &axis.stages);
        let scale = T::Acc::from_f64(1.0 / if plan.strips { n2 as f64 } else { (n1 * n2) as f64 });
        let spectrum = &mut spectra[..n2];
        let (columns, ordered) = columns.split_at_mut(plan.sheet_rows());
        let pairs = self.ocs.len() * self.streams.len();
        for (pair, lags) in lags.chunks_exact_mut(plan.lags()).take(pairs).enumerate() {
            for (block, sums) in sums.chunks_exact(sums.len() / (n1 / WIDTH)).enumerate() {
                let sums = &sums[pair * n2..][..n2];
                for (row, from) in spectrum.iter_mut().zip(columns_of.rows()) {
                    *row = sums[from];
                }
                isa.run(Transform { stages: columns_of, factors: factors[1], rows: spectrum });
                if plan.strips {
                    for (lag, out) in lags.iter_mut().enumerate() {
                        let strips = Part::Real.of(&spectrum[columns_of.row(lag)]);
                        *out = scale * strips.iter().fold(T::Acc::default(), |sum, &strip| sum + strip);
                    }
                    continue;
                }
                // The rows that are lags, to columns; each of their rows is a frequency of the height.
                for (first, columns) in (0..plan.width.lags).step_by(WIDTH).zip(columns.chunks_exact_mut(n1)) {
                    let row = |lag: usize| &spectrum[columns_of.row(first + lag)];
                    isa.run(Turn { row, out: &mut columns[block * WIDTH..][..WIDTH] });
                }
            }
            if plan.strips {
                continue;
            }
            for (first, columns) in (0..plan.width.lags).step_by(WIDTH).zip(columns.chunks_exact(n1)) {
                for (row, from) in ordered[..n1].iter_mut().zip(rows.rows()) {
                    *row = columns[from];
                }
                isa.run(Transform { stages: rows, factors: factors[0], rows: &mut ordered[..n1] });
                for (h, lags) in lags.chunks_exact_mut(plan.width.lags).enumerate() {
                    let row = &ordered[rows.row(h)];
                    for (lag, &sum) in lags[first..].iter_mut().zip(Part::Real.of(row)) {
                        *lag = scale * sum;
                    }
                }
            }
        }
    }
}

impl Job {
    /// Gives each weight of this job its sum, `put(weight, sum)`, from the scratch of its first task.
    pub fn for_each_weight<A: Copy>(
        &self,
        shape: &ConvShape,
        plan: &Plan,
        scratch: &[A],
        mut put: impl FnMut(usize, A),
    ) {
        let [sums, columns, spectra, _] = plan.lens();
        let lags = &scratch[sums + columns + spectra..];
        let [depth, height, width] = shape.axes().map(|axis| axis.kernel);
        let channels = self.ocs.clone().flat_map(|oc| self.streams.clone().map(move |stream| (oc, stream)));
        for ((oc, stream), lags) in channels.zip(lags.chunks_exact(plan.lags())) {
            let (ic, phases) = Job::stream(stream, plan);
            let oc = self.group * shape.group_out_channels() + oc;
            let first = ((oc * shape.group_in_channels() + ic) * depth + self.tap) * height;
            for (h, lags) in lags.chunks_exact(plan.width.lags).enumerate() {
                let Some(h) = plan.height.sampling.tap(phases[0], self.lags[0] + h) else { continue };
                for (w, &sum) in lags.iter().enumerate() {
                    if let Some(w) = plan.width.sampling.tap(phases[1], self.lags[1] + w) {
                        put((first + h) * width + w, sum);
                    }
                }
            }
        }
    }
}

/// Adds the products of all spectra of delta and of the input, of `len` rows each, to `sums[delta][input]`.
fn multiply<A: Lane>(isa: Isa, len: usize, delta: &[Row<A>], input: &[Row<A>], sums: &mut [Row<A>]) {
    for (delta, sums) in delta.chunks(2 * len).zip(sums.chunks_mut(2 * input.len())) {
        let (a, b) = delta.split_at(len);
        let (sums_a, sums_b) = sums.split_at_mut(input.len());
        for (i, input) in input.chunks(2 * len).enumerate() {
            let at = 2 * i * len..2 * i * len + input.len();
            let (c, d) = input.split_at(len);
            let (ac, ad) = sums_a[at.clone()].split_at_mut(len);
            match (b.is_empty(), d.is_empty()) {
                (true, true) => isa.run(MultiplyAdd { delta: [a], input: [c], sums: [[ac]] }),
                (true, false) => isa.run(MultiplyAdd { delta: [a], input: [c, d], sums: [[ac, ad]] }),
                (false, is_single) => {
                    let (bc, bd) = sums_b[at].split_at_mut(len);
                    if is_single {
                        isa.run(MultiplyAdd { delta: [a, b], input: [c], sums: [[ac], [bc]] });
                    } else {
                        isa.run(MultiplyAdd { delta: [a, b], input: [c, d], sums: [[ac, ad], [bc, bd]] });
                    }
                }
            }
        }
    }
}
