//! Calls that find nothing of theirs in the caches, as the first call after other work does.
//!
//! Timings of calls that repeat are those of a loop: operands and scratch that fit stay where the call before left them. In
//! training, all other layers run in between. The two timings bound what is seen there.

use super::{Caches, TOO_LONG, Timing, seconds, timing};
use std::hint::black_box;
use std::time::Duration;

/// How many times the size of the last cache is read to empty it: once would do if lines were replaced in their order.
const SWEEPS: usize = 2;

/// Bytes between the numbers that are read: a line of the caches, or half of one.
const LINE: usize = 64;

/// Times calls beside each other, in turns, each with caches that hold other numbers, until each has been sampled for
/// `min_time`.
///
/// Before each sample, which is a single call, every thread of the current pool reads more memory than all caches hold. A
/// first call warms up everything else, as [`interleaved`](super::interleaved)'s does; if it takes more than 20 times
/// `min_time`, it is the only sample.
///
/// ```
/// use convgrad::measure::interleaved_cold;
/// use std::time::Duration;
///
/// let numbers = vec![1.0f32; 1000];
/// let timings = interleaved_cold(Duration::from_micros(1), &mut [|| {
///     std::hint::black_box(numbers.iter().sum::<f32>());
/// }]);
/// assert!(timings[0].best > 0.0);
/// ```
pub fn interleaved_cold<F: FnMut()>(min_time: Duration, calls: &mut [F]) -> Vec<Timing> {
    let min_time = min_time.as_secs_f64();
    let others = OtherNumbers::new();
    let mut samples: Vec<Vec<f64>> = calls.iter_mut().map(|call| vec![seconds(call, 1)]).collect();
    let mut remaining: Vec<f64> =
        samples.iter().map(|first| if first[0] > TOO_LONG * min_time { 0.0 } else { min_time }).collect();
    while remaining.iter().any(|&remaining| remaining > 0.0) {
        for ((call, samples), remaining) in calls.iter_mut().zip(&mut samples).zip(&mut remaining) {
            if *remaining > 0.0 {
                others.fill_the_caches();
                samples.push(seconds(call, 1));
                *remaining -= samples[samples.len() - 1];
            }
        }
    }
    let of_call = |mut samples: Vec<f64>| {
        // The call that warmed up is no sample where there are others.
        if samples.len() > 1 {
            samples.remove(0);
        }
        timing(samples)
    };
    samples.into_iter().map(of_call).collect()
}

/// Memory that calls have nothing to do with.
struct OtherNumbers(Vec<f64>);

impl OtherNumbers {
    fn new() -> OtherNumbers {
        let caches = Caches::of_this_machine();
        let bytes = SWEEPS * caches.l3.bytes.max(caches.l2.bytes * rayon::current_num_threads());
        OtherNumbers((0..bytes / size_of::<f64>()).map(|i| i as f64).collect())
    }

    /// Reads all of it on every thread: caches next to a processor are its own.
    fn fill_the_caches(&self) {
        rayon::broadcast(|_| {
            let total: f64 = self.0.iter().step_by(LINE / size_of::<f64>()).sum();
            black_box(total);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn the_call_that_warms_up_is_no_sample_unless_it_is_the_only_one() {
        let calls = Cell::new(0);
        let mut call = || {
            calls.set(calls.get() + 1);
            std::thread::sleep(Duration::from_millis(if calls.get() == 1 { 40 } else { 1 }));
        };
        let [timing] = interleaved_cold(Duration::from_millis(10), &mut [&mut call])[..] else { unreachable!() };
        assert!(timing.samples == calls.get() - 1 && timing.samples > 1, "{timing:?}");
        let [timing] = interleaved_cold(Duration::ZERO, &mut [&mut call])[..] else { unreachable!() };
        assert_eq!(timing.samples, 1);
    }
}
