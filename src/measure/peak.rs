//! The rate of fused multiply-adds the processor sustains when nothing else is asked of it: the roof of every kernel.
//!
//! A unit starts a multiply-add every cycle but needs four or five to finish it, and there are up to two units: at
//! least ten independent sums must be on their way to keep them busy. Twelve, with the two operands, still fit the
//! sixteen registers of AVX2.

use super::together;
use crate::element::Element;
use crate::simd::{Isa, Lane};
use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::time::Duration;

/// Independent sums.
const CHAINS: usize = 12;

/// Multiply-adds in each, some half a millisecond's worth: long beside a thread's start, short beside the time slices in
/// which a busy machine takes its processors away.
const STEPS: usize = 1 << 18;

/// Repetitions, of which the best counts.
const REPETITIONS: usize = 200;

/// Time after which no further repetition begins: threads by the hundred take turns on the same processors.
const LONGEST: Duration = Duration::from_secs(1);

/// Floating point operations a second of the current rayon pool, all its threads at once, in multiply-adds of `T` on
/// the instruction set; takes about a tenth of a second, and up to a second where threads outnumber processors.
///
/// On [`Isa::SCALAR`] it is what the compiler makes of a multiplication and an addition.
///
/// ```
/// use convgrad::{Isa, measure::peak_flops};
/// assert!(peak_flops::<f32>(Isa::best()) > 1e8);
/// ```
pub fn peak_flops<T: Element>(isa: Isa) -> f64 {
    let threads = rayon::current_num_threads();
    let flops = (2 * threads * CHAINS * STEPS * isa.registers::<T::Acc>().lanes) as f64;
    let shortest = together::shortest(REPETITIONS, LONGEST, |_| {
        black_box(isa.run(Chains::<T::Acc>::new(STEPS)));
    });
    flops / shortest
}

/// `x = x * 1/2 + 1` in every lane of every chain, from 0: a half is missing to 2 at first, a half of that, ...
struct Chains<L> {
    factor: L,
    term: L,
    steps: usize,
}

impl<L: Element<Acc = L> + Lane> Chains<L> {
    fn new(steps: usize) -> Self {
        // Hidden from the compiler, which could otherwise compute the limit itself.
        Chains { factor: black_box(L::from_f64(0.5)), term: black_box(L::from_f64(1.0)), steps }
    }
}

impl<L: Lane> WithSimd for Chains<L> {
    type Output = L;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> L {
        let factor = L::splat(simd, self.factor);
        let term = L::splat(simd, self.term);
        let mut sums = [L::splat(simd, L::default()); CHAINS];
        for _ in 0..self.steps {
            for sum in &mut sums {
                *sum = L::mul_add(simd, *sum, factor, term);
            }
        }
        let total = sums.into_iter().fold(L::splat(simd, L::default()), |a, b| L::add(simd, a, b));
        L::reduce_sum(simd, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every chain and lane must take part in every step, or the operations counted were not done.
    fn chains_reach_their_sum<T: Element>() {
        for isa in Isa::available() {
            let sums = (CHAINS * isa.registers::<T::Acc>().lanes) as f64;
            for (steps, expected) in [(0, 0.0), (1, 1.0), (2, 1.5), (3, 1.75), (100, 2.0)] {
                let total = isa.run(Chains::<T::Acc>::new(steps)).to_f64();
                assert_eq!(total, expected * sums, "{} steps of {} on {isa}", steps, T::NAME);
            }
        }
    }

    #[test]
    fn chains_compute_what_is_counted() {
        chains_reach_their_sum::<f32>();
        chains_reach_their_sum::<f64>();
    }

    #[test]
    fn a_pool_of_any_size_is_measured() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let peak = pool.install(|| peak_flops::<f64>(Isa::best()));
            assert!(peak.is_finite() && peak > 1e8, "{peak} on {threads} threads");
        }
    }
}
