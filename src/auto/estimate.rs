//! How long a backend will take, predicted from what it says it spends.
//!
//! ```text
//! seconds = calls * w0                                                    cycles of a call
//!         + (loops * w1 + flops / flops a cycle * w2) * cycle             computing
//!         + bytes * (w3 / L2 + w4 / L3 + w5 / DRAM)                       from the levels the problem does not fit
//! on p threads: all but the call  * (serial + (1 - serial) / min(p, tasks))
//! ```
//!
//! A processor enters by its [`Rates`] alone: cycles and bandwidths. What remains are weights near one, that say how far a
//! backend stays from those rates; they are a fit to measured times, for each backend, instruction set, number type and
//! layout, and carry over to a processor that was never measured. A backend that was never measured is taken at its word.

use super::fitted::{FITTED, REFERENCE};
use crate::cost::Cost;
use crate::element::Element;
use crate::measure::{self, Caches};
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::tensor::Layout;

/// Work below which backends stay on the caller's thread.
const PARALLEL_FLOPS: f64 = 1e6;

/// What one thread of a processor has to give to a number type and an instruction set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Floating point operations of fused multiply-adds, in a second.
    pub peak_flops: f64,
    /// Bytes read from the second level of cache, in a second.
    pub l2: f64,
    /// Bytes read from the third level, in a second.
    pub l3: f64,
    /// Bytes read from memory, in a second.
    pub dram: f64,
    /// Bytes of the second level of cache.
    pub l2_bytes: f64,
    /// Bytes of the third level, or of the last there is.
    pub l3_bytes: f64,
}

impl Rates {
    /// Those of the processor on which the estimates were fitted: the same everywhere, so that a choice is as well.
    ///
    /// ```
    /// use convgrad::{Isa, auto::Rates};
    /// assert_eq!(Rates::reference::<f32>(Isa::best()), Rates::reference::<f32>(Isa::best()));
    /// ```
    pub fn reference<T: Element>(isa: Isa) -> Rates {
        let of = |isa: &str| REFERENCE.iter().find(|known| known.0 == isa && known.1 == T::NAME);
        of(isa.name()).map_or(UNKNOWN, |known| known.2)
    }

    /// Those of this processor, measured in less than a second on one thread.
    pub fn measure<T: Element>(isa: Isa) -> Rates {
        let caches = Caches::of_this_machine();
        let measure = || {
            let read = measure::read_bandwidth::<T>(isa);
            Rates {
                peak_flops: measure::peak_flops::<T>(isa),
                l2: read.l2,
                l3: read.l3,
                dram: read.dram,
                l2_bytes: caches.l2.bytes as f64,
                l3_bytes: caches.l3.bytes as f64,
            }
        };
        // Without another thread the rates are those of whatever pool this is.
        rayon::ThreadPoolBuilder::new().num_threads(1).build().map_or_else(|_| measure(), |pool| pool.install(measure))
    }
}

/// A core that computes number by number at 2.5 GHz: where a number type was not measured on an instruction set.
const UNKNOWN: Rates =
    Rates { peak_flops: 10e9, l2: 60e9, l3: 30e9, dram: 10e9, l2_bytes: 524_288.0, l3_bytes: 8_388_608.0 };

/// What is known of a backend from measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fitted {
    pub backend: &'static str,
    pub kernel: &'static str,
    pub isa: &'static str,
    pub element: &'static str,
    pub layout: Layout,
    pub weights: Weights,
}

/// The weights of the formula above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights {
    /// Cycles of a call.
    pub call: f64,
    /// Cycles of a loop's beginning.
    pub loops: f64,
    /// Cycles for each cycle of multiply-adds.
    pub flops: f64,
    /// Seconds for each second of reading from the second level of cache.
    pub l2: f64,
    /// From the third.
    pub l3: f64,
    /// From memory.
    pub dram: f64,
    /// The part of the time that threads do not share.
    pub serial: f64,
    /// What the estimate is multiplied with beside those of other backends: where one is nearly always the fastest, a shorter
    /// estimate of another is more often an error than the truth.
    pub handicap: f64,
}

impl Weights {
    /// A backend at its word, and a fifth of it not shared.
    const UNKNOWN: Weights =
        Weights { call: 500.0, loops: 20.0, flops: 1.2, l2: 0.5, l3: 0.5, dram: 0.5, serial: 0.2, handicap: 1.0 };

    /// Those of a backend's kernel, or where the instruction set, the number type, the layout or the kernel was not measured, of
    /// what comes nearest.
    pub(super) fn of(backend: &str, kernel: &str, isa: &str, element: &str, layout: Layout) -> Weights {
        let alike = |fitted: &Fitted| {
            let is_alike =
                [fitted.kernel == kernel, fitted.isa == isa, fitted.element == element, fitted.layout == layout];
            is_alike.into_iter().fold(0, |count, is_alike| 2 * count + usize::from(is_alike))
        };
        let of_backend = FITTED.iter().filter(|fitted| fitted.backend == backend);
        of_backend.max_by_key(|fitted| alike(fitted)).map_or(Weights::UNKNOWN, |fitted| fitted.weights)
    }

    /// The weights of [`Terms`], in their order.
    pub fn of_terms(&self) -> [f64; 6] {
        [self.call, self.loops, self.flops, self.l2, self.l3, self.dram]
    }
}

/// The terms of the formula in seconds, each for a weight of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms(pub [f64; 6]);

impl Terms {
    /// Those of a problem that costs `cost`, with `scratch` bytes of workspace.
    pub fn new<T: Element>(shape: &ConvShape, cost: &Cost, scratch: f64, rates: &Rates, isa: Isa) -> Terms {
        let lanes = isa.registers::<T::Acc>().lanes as f64;
        let cycle = 4.0 * lanes / rates.peak_flops;
        let elements = |dims: Vec<usize>| dims.iter().map(|&size| size as f64).product::<f64>();
        let operands = elements(shape.input_dims()) + elements(shape.output_dims()) + elements(shape.weights_dims());
        let footprint = operands * size_of::<T>() as f64 + scratch;
        let beyond = |cache: f64| if footprint > cache { cost.bytes } else { 0.0 };
        Terms([
            cycle,
            cost.loops * cycle,
            cost.flops / rates.peak_flops,
            cost.bytes / rates.l2,
            beyond(rates.l2_bytes) / rates.l3,
            beyond(rates.l3_bytes) / rates.dram,
        ])
    }

    /// Seconds on so many threads.
    pub fn seconds(&self, weights: &Weights, shape: &ConvShape, cost: &Cost, threads: usize) -> f64 {
        let weighted =
            |range: std::ops::Range<usize>| -> f64 { range.map(|i| self.0[i] * weights.of_terms()[i]).sum() };
        let threads = if shape.flops() < PARALLEL_FLOPS { 1 } else { threads.min(cost.tasks).max(1) };
        let share = if threads == 1 { 1.0 } else { weights.serial + (1.0 - weights.serial) / threads as f64 };
        weighted(0..1) + share * weighted(1..6)
    }
}
