//! How a problem is cut into phases, tiles, jobs and parts: plain data, computed from the shape and the registers.

use super::axis::Sampling;
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::fourier::{Row, Stages, WIDTH};
use std::fmt;

/// Lengths a transform may have: multiples of a row's width, so that blocks have no remainders, without prime factors beyond 5.
/// 512 rows of 16 columns are 64 KiB of `f32`, just beyond an L1 cache.
const LENGTHS: [usize; 18] = [16, 32, 48, 64, 80, 96, 128, 144, 160, 192, 240, 256, 288, 320, 384, 400, 480, 512];

/// Lags computed by one transform, at most: half the longest length leaves as many positions of delta.
const MAX_LAGS: usize = 256;

/// Bytes of the sums of a job: they should stay in an L2 cache, with the spectra they come from.
const SUMS_BYTES: usize = 1 << 20;

/// Bytes of scratch for all that is computed side by side, unless a single task needs more.
const ROUND_BYTES: usize = 16 << 20;

/// Tasks threads can share: enough for a few threads to share them evenly, for each has sums of its own.
const TASKS: usize = 8;

/// Pairs of sheets that are worth a part with sums of its own: eight pairs of 512x512 in four parts took 0.23 ms on two
/// threads, in eight 0.30.
const PART_PAIRS: usize = 2;

/// An axis of a problem, cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AxisCut {
    pub sampling: Sampling,
    /// Lags of a block: those one transform gives.
    pub lags: usize,
    pub lag_blocks: usize,
    /// Points of a transform, and of delta in it.
    pub stages: Stages,
    pub tile: usize,
    pub tiles: usize,
}

impl AxisCut {
    fn new(sampling: Sampling, length: usize, registers: Registers) -> Option<AxisCut> {
        let lag_blocks = sampling.lags.div_ceil(MAX_LAGS);
        let lags = sampling.lags.div_ceil(lag_blocks);
        let reach = length.checked_sub(lags - 1).filter(|&reach| reach > 0)?;
        let tiles = sampling.outputs.div_ceil(reach);
        // Tiles of even size: zeros at the end of each cost nothing, and errors less.
        let tile = sampling.outputs.div_ceil(tiles);
        Some(AxisCut { sampling, lags, lag_blocks, stages: Stages::new(length, registers), tile, tiles })
    }

    /// Points of a transform.
    pub fn length(&self) -> usize {
        self.stages.length()
    }

    /// Positions of the input a tile meets.
    pub fn reach(&self) -> usize {
        self.tile + self.lags - 1
    }
}

/// Roundings, in the root mean square, that halving a length takes; see [`Plan::typical_error`].
const ERROR_OF_STAGE: f64 = 0.28;

/// How a problem is cut.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    pub height: AxisCut,
    pub width: AxisCut,
    /// Whether the rows of a sheet are unrelated strips, as the kernel has one row only; else a sheet is a tile.
    pub strips: bool,
    /// Planes of delta: images, planes along depth, phases of height and width.
    pub planes: usize,
    /// Pairs of sheets, of which one is the real part and the other the imaginary part.
    pub pairs: usize,
    /// Input channels of a group, times the phases of both axes.
    pub streams: usize,
    /// Output channels, and streams of the input, whose sums are formed side by side.
    pub oc_block: usize,
    pub stream_block: usize,
    /// Parts the pairs are dealt to.
    pub parts: usize,
    /// Blocks of sums, and how many of them are computed side by side.
    pub jobs: usize,
    pub round: usize,
    element: usize,
}

impl Plan {
    /// The plan of a problem that is supported; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> Plan {
        let [_, height, width] = shape.axes();
        let samplings = [Sampling::new(height), Sampling::new(width)];
        let strips = samplings[0].lags == 1;
        let cut = |axis: usize| {
            let sampling = samplings[axis];
            LENGTHS.map(|length| AxisCut::new(sampling, length, registers))
        };
        let [heights_cut, widths_cut] = [cut(0), cut(1)];
        let candidates = |cuts: [Option<AxisCut>; LENGTHS.len()]| {
            // A longer one than the first that needs no second tile is never better.
            let whole = cuts.iter().position(|cut| cut.is_some_and(|cut| cut.tiles == 1)).unwrap_or(LENGTHS.len() - 1);
            cuts.into_iter().take(whole + 1).flatten()
        };
        let mut best: Option<(f64, Plan)> = None;
        for height in candidates(heights_cut).take(if strips { 1 } else { LENGTHS.len() }) {
            for width in candidates(widths_cut) {
                let plan = Plan::with(shape, [height, width], strips, element);
                let cycles = plan.cycles();
                if best.as_ref().is_none_or(|(least, _)| cycles < *least) {
                    best = Some((cycles, plan));
                }
            }
        }
        // The longest length fits the lags of every block.
        best.map(|(_, plan)| plan).unwrap_or_else(|| unreachable!("no length fits the lags of a block"))
    }

    fn with(shape: &ConvShape, [height, width]: [AxisCut; 2], strips: bool, element: usize) -> Plan {
        let depth = shape.axes()[0];
        let planes = saturating_product([
            shape.batch(),
            depth.output,
            height.sampling.delta_phases,
            width.sampling.delta_phases,
        ]);
        let sheets = if strips {
            saturating_product([planes, height.sampling.outputs, width.tiles]).div_ceil(WIDTH)
        } else {
            saturating_product([planes, height.tiles, width.tiles])
        };
        let (ocs, ics) = (shape.group_out_channels(), shape.group_in_channels());
        let streams = ics * height.sampling.input_phases * width.sampling.input_phases;
        let mut plan = Plan {
            height,
            width,
            strips,
            planes,
            pairs: sheets.div_ceil(2),
            streams,
            oc_block: 1,
            stream_block: 1,
            parts: 1,
            jobs: 1,
            round: 1,
            element,
        };
        // As square as channels allow: each operand is transformed again for every block of the other one's channels.
        let sheet_bytes = plan.sheet_rows() * size_of::<Row<u8>>() * element;
        let room = (SUMS_BYTES / sheet_bytes).max(1);
        let side = room.isqrt();
        let even = |count: usize, block: usize| count.div_ceil(count.div_ceil(block));
        plan.stream_block = even(streams, side.max(room / ocs).min(streams));
        plan.oc_block = even(ocs, (room / plan.stream_block).clamp(1, ocs));
        plan.jobs = saturating_product([
            shape.groups(),
            ocs.div_ceil(plan.oc_block),
            streams.div_ceil(plan.stream_block),
            depth.kernel,
            height.lag_blocks,
            width.lag_blocks,
        ]);
        let task_bytes = plan.task_len().saturating_mul(element);
        let tasks = (ROUND_BYTES / task_bytes).max(1);
        // A power of two, which few threads share evenly.
        let parts = plan.pairs.div_ceil(PART_PAIRS).next_power_of_two();
        plan.parts = TASKS.div_ceil(plan.jobs).min(parts).min(tasks);
        plan.round = (tasks / plan.parts).clamp(1, plan.jobs.min(4 * TASKS));
        plan
    }

    /// Rows of a transformed pair of sheets.
    pub fn sheet_rows(&self) -> usize {
        self.height.length() / WIDTH * self.width.length()
    }

    /// Channels and streams transformed for a job.
    pub fn channels(&self) -> usize {
        self.oc_block + self.stream_block
    }

    /// Lags of a job, of one output channel and stream.
    pub fn lags(&self) -> usize {
        self.height.lags * self.width.lags
    }

    /// Elements a task has for sums, columns, spectra and lags.
    pub fn lens(&self) -> [usize; 4] {
        let row = 2 * WIDTH;
        let pairs = self.oc_block * self.stream_block;
        [
            pairs * self.sheet_rows() * row,
            self.channels() * self.sheet_rows() * row,
            self.channels() * self.width.length() * row,
            (pairs * self.lags()).next_multiple_of(row),
        ]
    }

    /// Elements of scratch of a task.
    pub fn task_len(&self) -> usize {
        self.lens().into_iter().sum()
    }

    /// Elements of the tables of factors.
    pub fn factors_lens(&self) -> [usize; 2] {
        [self.height, self.width].map(|axis| axis.stages.factors_len())
    }

    /// Elements of scratch: factors, tasks, and the finished gradient.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let [height, width] = self.factors_lens();
        let tasks = self.round * self.parts * self.task_len();
        shape.weights_len().saturating_add(height + width + tasks)
    }

    /// See [`Backend::typical_error`](super::super::Backend::typical_error): it grows with the stages of the transforms. On uniform
    /// numbers, 2.7 to 4.1 roundings were measured with 4096 to 32768 points, 1.9 with some hundreds.
    pub fn typical_error(&self) -> f64 {
        let points = self.height.length() * self.width.length();
        ERROR_OF_STAGE * (points as f64).log2()
    }

    /// Passes of Fourier transforms through all columns of a sheet, in points times the logarithm of the length.
    fn sheet_work(&self) -> f64 {
        let [n1, n2] = [self.height, self.width].map(|axis| axis.length() as f64);
        let rows = if self.strips { 0.0 } else { n1.log2() };
        n1 * n2 * (rows + n2.log2())
    }

    /// Pairs of transformed sheets of all jobs, and pairs of spectra multiplied.
    fn counts(&self) -> [f64; 3] {
        let jobs = self.jobs as f64;
        let pairs = self.pairs as f64;
        let products = (self.oc_block * self.stream_block) as f64;
        [jobs * pairs * self.channels() as f64, jobs * pairs * products, jobs * products]
    }

    /// Cycles of the whole problem, on cores with vectors of a row's width, of which two share what can be shared.
    pub fn cycles(&self) -> f64 {
        let points = (self.height.length() * self.width.length()) as f64;
        let [transforms, products, inverses] = self.counts();
        let forward = transforms * (self.sheet_work() * TRANSFORM_CYCLES + points * MOVE_CYCLES);
        let inverse = inverses * (self.sheet_work() * TRANSFORM_CYCLES / 2.0 + points * MOVE_CYCLES);
        // An odd pair keeps one waiting.
        let pairs = self.pairs as f64;
        let uneven = if self.jobs == 1 { self.pairs.next_multiple_of(2) as f64 / pairs } else { 1.0 };
        (forward + products * points * PRODUCT_CYCLES) * uneven + inverse
    }

    /// Floating point operations.
    pub fn flops(&self) -> f64 {
        let points = (self.height.length() * self.width.length()) as f64;
        let [transforms, products, inverses] = self.counts();
        // A complex transform of `n` points takes `5 n log2 n` operations, a complex product and its sum eight.
        let columns = self.width.lags.next_multiple_of(WIDTH).min(self.width.length()) as f64;
        let inverse = if self.strips { 1.0 } else { (1.0 + columns / self.width.length() as f64) / 2.0 };
        5.0 * (transforms + inverse * inverses) * self.sheet_work() + 8.0 * products * points
    }

    /// Elements read and written, of operands of so many elements, of the gradient, and of scratch: columns, spectra, sums.
    pub fn elements(&self, shape: &ConvShape, delta: f64, input: f64) -> f64 {
        let points = 2.0 * (self.height.length() * self.width.length()) as f64;
        let [transforms, products, inverses] = self.counts();
        let scratch = points * (4.0 * transforms + 2.0 * products + (2.0 + self.parts as f64) * inverses);
        let repeated = (shape.axes()[0].kernel * self.height.lag_blocks * self.width.lag_blocks) as f64;
        let overlap = |axis: &AxisCut| axis.reach() as f64 / axis.tile as f64;
        let overlaps = overlap(&self.width) * if self.strips { 1.0 } else { overlap(&self.height) };
        let delta = delta * repeated * self.streams.div_ceil(self.stream_block) as f64;
        let input = input * repeated * overlaps * shape.group_out_channels().div_ceil(self.oc_block) as f64;
        scratch + delta + input + 2.0 * shape.weights_len() as f64
    }

    /// Roundings and growth of errors; see [`Fft`](super::Fft).
    pub fn error_bound(&self, unit_roundoff: f64) -> f64 {
        let axes = if self.strips { &[self.width][..] } else { &[self.height, self.width] };
        let forward: f64 = axes.iter().map(|axis| axis.stages.norm_error()).sum();
        let backward: f64 = axes.iter().map(|axis| axis.stages.error()).sum();
        let strips = if self.strips { WIDTH as f64 } else { 0.0 };
        let products = self.pairs.div_ceil(self.parts) as f64 + 2.0 + self.parts as f64 + strips;
        // Each errs by a factor `1 + e * u / (1 - e * u)`.
        let factor = |errors: f64| (errors * unit_roundoff / (1.0 - errors * unit_roundoff).max(0.0)).ln_1p();
        let log = 2.0 * factor(forward) + factor(std::f64::consts::SQRT_2 * products) + factor(backward) + factor(2.0);
        let overlaps = axes.iter().map(|axis| axis.reach().div_ceil(axis.tile) as f64).product::<f64>();
        overlaps.sqrt() * log.exp_m1() / unit_roundoff
    }
}

/// Cycles for each point and factor two of the length, to move a point, and to multiply one: fractions of the time of 512x512
/// with 31x31 taps by tiles of 128x128 points (Zen 5, AVX-512).
const TRANSFORM_CYCLES: f64 = 0.08;
const MOVE_CYCLES: f64 = 1.0;
const PRODUCT_CYCLES: f64 = 0.7;

/// In one line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.strips {
            write!(f, "{WIDTH} strips of {} points", self.width.length())?;
        } else {
            write!(f, "tiles of {}x{} points", self.height.length(), self.width.length())?;
        }
        write!(f, ", {} of them delta's", self.width.tile)?;
        write!(f, ", {} pairs in {} parts, {}x{} channels", self.pairs, self.parts, self.oc_block, self.stream_block)?;
        write!(f, ", {} jobs", self.jobs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVX512: Registers = Registers { lanes: 16, count: 32 };
    const AVX2: Registers = Registers { lanes: 8, count: 16 };

    fn plan(registers: Registers, shape: &str) -> Plan {
        Plan::new(&shape.parse().unwrap(), registers, 4)
    }

    #[test]
    fn tiles_cover_delta_and_their_lags_fit() {
        for text in [
            "mb1ic1ih512oc1kh31",
            "mb8ic3ih224oc16kh11",
            "mb1ic1ih4222oc1kh127",
            "mb1ic1ih3000oc1kh1000",
            "mb2ic3iw70000oc2kw2000sw3dw1",
            "mb4g64ic64ih56oc64kh31ph15oh56",
            "mb1ic1ih5oc1kh2",
        ] {
            for registers in [AVX512, AVX2] {
                let plan = plan(registers, text);
                let axes = if plan.strips { &[plan.width][..] } else { &[plan.height, plan.width] };
                for axis in axes {
                    assert!(axis.tile * axis.tiles >= axis.sampling.outputs, "{text}: {plan}");
                    assert!(axis.tile + axis.lags - 1 <= axis.length(), "{text}: {plan}");
                    assert!(axis.lags * axis.lag_blocks >= axis.sampling.lags, "{text}: {plan}");
                }
                assert!((1..=plan.pairs).contains(&plan.parts) && plan.parts <= TASKS, "{text}: {plan}");
                let tasks = plan.round * plan.parts;
                assert!(tasks == 1 || tasks * plan.task_len() * 4 <= ROUND_BYTES, "{text}: {plan}");
            }
        }
    }

    #[test]
    fn telling_shapes_get_the_cuts_made_for_them() {
        // Strips of a signal; a channel of each group; the gradient of many channels in blocks.
        assert!(plan(AVX512, "mb1ic1iw9000oc1kw100").strips);
        assert_eq!(plan(AVX512, "mb2g40ic40ih30oc80kh9").jobs, 40);
        let many = plan(AVX512, "mb1ic200ih30oc200kh9");
        assert!(many.jobs > 1 && many.oc_block > 1 && many.stream_block > 1, "{many}");
        // A stride leaves the kernel its phases, a dilation delta its own.
        let strided = plan(AVX512, "mb1ic2ih90oc1kh9sh3");
        assert_eq!((strided.streams, strided.planes, strided.height.lags), (2 * 9, 1, 3));
        let dilated = plan(AVX512, "mb1ic2ih90oc1kh9dh2");
        assert_eq!((dilated.streams, dilated.planes, dilated.height.lags), (2, 9, 9));
    }
}
