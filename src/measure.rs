//! Measuring: how long calls take beside each other, and how fast this machine can compute and read at all.
//!
//! Machines are shared and clocks drift, so two calls timed one after the other say little about which is faster.
//! [`interleaved`] gives each a short turn, round after round, so that a disturbance meets all of them; within a turn a
//! call repeats, so that each is timed with its own data in the caches; [`interleaved_cold`] empties them before each call.
//! [`peak_flops`] and [`read_bandwidth`] are measured
//! in the same run: a rate is then a share of what the machine had to give at that time.

mod backends;
mod bandwidth;
mod cache;
mod cold;
mod peak;
mod processor;
mod together;

pub(crate) use backends::contest_of_passes;
pub use backends::{Temperature, passes};
pub use bandwidth::{ReadBandwidth, read_bandwidth};
pub use cache::{Cache, Caches};
pub use cold::interleaved_cold;
pub use peak::peak_flops;
pub use processor::cpu_name;

use std::time::{Duration, Instant};

/// The shortest sample taken: a reading of the clock costs some 30 ns, which is then below a thousandth.
const SAMPLE_SECONDS: f64 = 50e-6;

/// Turns the measuring time of a call is dealt to.
const ROUNDS: f64 = 10.0;

/// A first call longer than this many measuring times is not repeated.
const TOO_LONG: f64 = 20.0;

/// How long one call takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// The shortest sample: what the call costs when nothing disturbs it.
    pub best: f64,
    /// The median sample.
    pub median: f64,
    /// Samples taken.
    pub samples: usize,
}

/// Times calls beside each other, in turns, until each has been sampled for `min_time`.
///
/// A first call warms up. A call shorter than 50 microseconds is sampled in batches of at least that length, and its
/// timing is the batch's mean. A call whose first run exceeds 20 times `min_time` is not repeated: that run is its only
/// sample. Every call is run at least once, whatever `min_time`.
///
/// ```
/// use convgrad::measure::interleaved;
/// use std::time::Duration;
///
/// let (mut short, mut long) = (0u64, 0u64);
/// let timings = interleaved(
///     Duration::from_millis(5),
///     &mut [
///         Box::new(|| short = std::hint::black_box((0..100).sum())) as Box<dyn FnMut()>,
///         Box::new(|| long = (0..100_000).fold(0, |sum, i| std::hint::black_box(sum + i))),
///     ],
/// );
/// assert!(timings[0].best < timings[1].best);
/// ```
pub fn interleaved<F: FnMut()>(min_time: Duration, calls: &mut [F]) -> Vec<Timing> {
    let min_time = min_time.as_secs_f64();
    let mut runs: Vec<Sampling> = calls.iter_mut().map(|call| Sampling::warm_up(call, min_time)).collect();
    while runs.iter().any(|run| run.remaining > 0.0) {
        for (run, call) in runs.iter_mut().zip(calls.iter_mut()) {
            run.turn(call, min_time / ROUNDS);
        }
    }
    runs.into_iter().map(|run| timing(run.samples)).collect()
}

/// A call whose shortest sample is so many times as long as another's is not going to be the fastest.
const OUTRUN: f64 = 1.2;

/// The shortest sample of each call, in seconds, where nothing matters but which call is the fastest: one that is outrun takes
/// no more turns, and what is left of `time` goes to the others.
///
/// Every call is run twice at least, and once where that takes more than 20 times `time`.
pub(crate) fn contest<F: FnMut()>(time: Duration, calls: &mut [F]) -> Vec<f64> {
    let (begin, time) = (Instant::now(), time.as_secs_f64());
    let mut runs: Vec<Sampling> = calls.iter_mut().map(|call| Sampling::warm_up(call, time)).collect();
    let turn = time / (ROUNDS * runs.len() as f64);
    loop {
        let shortest = runs.iter().map(Sampling::best).fold(f64::INFINITY, f64::min);
        let mut leaders: Vec<_> =
            runs.iter_mut().zip(calls.iter_mut()).filter(|(run, _)| run.best() <= OUTRUN * shortest).collect();
        if leaders.len() < 2 || begin.elapsed().as_secs_f64() >= time {
            return runs.iter().map(Sampling::best).collect();
        }
        leaders.iter_mut().for_each(|(run, call)| run.turn(call, turn));
    }
}

/// The samples of one call so far.
struct Sampling {
    /// Calls in a sample.
    batch: u32,
    samples: Vec<f64>,
    /// Seconds of sampling still to be done.
    remaining: f64,
}

impl Sampling {
    fn warm_up(call: &mut impl FnMut(), min_time: f64) -> Sampling {
        let first = seconds(call, 1);
        if first > TOO_LONG * min_time {
            return Sampling { batch: 1, samples: vec![first], remaining: 0.0 };
        }
        let mut batch = 1;
        loop {
            let elapsed = seconds(call, batch);
            if elapsed >= SAMPLE_SECONDS || batch == u32::MAX {
                // Warm and long enough, it is the first sample.
                return Sampling { batch, samples: vec![elapsed / f64::from(batch)], remaining: min_time - elapsed };
            }
            // Aims a little beyond, and grows at least twofold, lest a batch just too short be tried forever.
            let aim = f64::from(batch) * (1.2 * SAMPLE_SECONDS / elapsed.max(1e-9)).clamp(2.0, 100.0);
            batch = aim.ceil() as u32;
        }
    }

    fn best(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn turn(&mut self, call: &mut impl FnMut(), length: f64) {
        let end = self.remaining - length;
        while self.remaining > 0.0 && self.remaining > end {
            let elapsed = seconds(call, self.batch);
            self.samples.push(elapsed / f64::from(self.batch));
            self.remaining -= elapsed;
        }
    }
}

fn seconds(call: &mut impl FnMut(), batch: u32) -> f64 {
    let start = Instant::now();
    for _ in 0..batch {
        call();
    }
    start.elapsed().as_secs_f64()
}

fn timing(mut samples: Vec<f64>) -> Timing {
    samples.sort_unstable_by(f64::total_cmp);
    let middle = samples.len() / 2;
    let median = match samples.len() % 2 {
        0 => (samples[middle - 1] + samples[middle]) / 2.0,
        _ => samples[middle],
    };
    Timing { best: samples[0], median, samples: samples.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::sleep;

    #[test]
    fn best_and_median() {
        assert_eq!(timing(vec![3.0, 1.0, 2.0]), Timing { best: 1.0, median: 2.0, samples: 3 });
        assert_eq!(timing(vec![4.0, 1.0, 2.0, 3.0]), Timing { best: 1.0, median: 2.5, samples: 4 });
        assert_eq!(timing(vec![5.0]), Timing { best: 5.0, median: 5.0, samples: 1 });
    }

    #[test]
    fn calls_take_turns() {
        let order = RefCell::new(Vec::new());
        let call = |name| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                sleep(Duration::from_millis(1));
            }
        };
        interleaved(Duration::from_millis(40), &mut [call('a'), call('b')]);
        let mut order = order.into_inner();
        order.dedup();
        // One change of hands in the warm-up and two a round, unless the machine stalls for a whole turn or more.
        assert!(order.len() >= 6, "{order:?}");
    }

    #[test]
    fn a_long_call_runs_once() {
        let mut runs = 0;
        let timings = interleaved(
            Duration::from_micros(1),
            &mut [|| {
                runs += 1;
                sleep(Duration::from_millis(2));
            }],
        );
        assert_eq!(runs, 1);
        assert_eq!(timings[0].samples, 1);
        assert!(timings[0].best >= 0.002);
    }

    #[test]
    fn a_contest_is_between_the_leaders() {
        let nap = |runs: &'static AtomicUsize, millis| {
            move || {
                runs.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(millis));
            }
        };
        static RUNS: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
        let mut calls: Vec<Box<dyn FnMut()>> =
            vec![Box::new(nap(&RUNS[0], 1)), Box::new(nap(&RUNS[1], 40)), Box::new(nap(&RUNS[2], 1))];
        let times = contest(Duration::from_millis(200), &mut calls);
        let [first, outrun, last] = RUNS.each_ref().map(|runs| runs.load(Ordering::Relaxed));
        // Forty times as long as the others: it falls out after its two runs unless the machine stalls in all of theirs.
        assert_eq!(outrun, 2);
        assert!(first > 2 && last > 2, "{first} and {last} runs");
        assert!(times[0] < times[1] && times[2] < times[1], "{times:?}");
    }

    #[test]
    fn a_contest_without_time_runs_each_call_once() {
        let mut runs = 0;
        contest(
            Duration::from_nanos(1),
            &mut [|| {
                runs += 1;
                sleep(Duration::from_millis(1));
            }],
        );
        assert_eq!(runs, 1);
    }

    #[test]
    fn a_short_call_is_sampled_in_batches() {
        let mut runs = 0u64;
        let start = Instant::now();
        let [timing] = interleaved(Duration::from_millis(10), &mut [|| runs = std::hint::black_box(runs + 1)])[..]
        else {
            panic!("one call gives one timing")
        };
        // Times are those of a call, not of a batch: were each call as long as the best, all fitted the time they took.
        // Twice that, for the warm-up's calls may have been a little faster.
        assert!(timing.best * (runs as f64) < 2.0 * start.elapsed().as_secs_f64(), "{timing:?}, {runs} runs");
        assert!(runs > 100 * timing.samples as u64, "{timing:?}, {runs} runs");
    }
}
