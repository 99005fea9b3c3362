//! Work that all threads of the current rayon pool begin at the same moment, timed from the first begin to the last end.
//!
//! A rate of the whole machine is only right if all its threads work during all of the time it is divided by.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::yield_now;
use std::time::{Duration, Instant};

/// The shortest time, in seconds, that all threads took for `work`, which is given the thread's index.
///
/// Repeats at most `repetitions` times, begins none after `longest`, and one always.
pub(super) fn shortest(repetitions: usize, longest: Duration, work: impl Fn(usize) + Sync) -> f64 {
    let threads = rayon::current_num_threads();
    let first = Instant::now();
    let repetitions = (0..repetitions.max(1)).take_while(|&done| done == 0 || first.elapsed() < longest);
    let times = repetitions.map(|_| {
        // A sleeping barrier would wake the threads one after the other.
        let awaited = AtomicUsize::new(threads);
        let spans = rayon::broadcast(|context| {
            awaited.fetch_sub(1, Ordering::AcqRel);
            while awaited.load(Ordering::Acquire) > 0 {
                yield_now();
            }
            let begin = Instant::now();
            work(context.index());
            (begin, Instant::now())
        });
        let begin = spans.iter().map(|span| span.0).min();
        let end = spans.iter().map(|span| span.1).max();
        begin.zip(end).map_or(f64::INFINITY, |(begin, end)| (end - begin).as_secs_f64())
    });
    times.fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_thread_works_in_every_repetition() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let calls = |repetitions, longest| {
            let indices = Mutex::new(Vec::new());
            let time = pool.install(|| shortest(repetitions, longest, |index| indices.lock().unwrap().push(index)));
            assert!(time.is_finite());
            let mut indices = indices.into_inner().unwrap();
            indices.sort_unstable();
            indices
        };
        assert_eq!(calls(2, Duration::MAX), [0, 0, 1, 1, 2, 2]);
        assert_eq!(calls(2, Duration::ZERO), [0, 1, 2]);
        assert_eq!(calls(0, Duration::MAX), [0, 1, 2]);
    }

    #[test]
    fn the_time_is_that_of_the_slowest_thread() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let nap = Duration::from_millis(5);
        let work = |index| {
            if index == 1 {
                std::thread::sleep(nap)
            }
        };
        assert!(pool.install(|| shortest(2, Duration::MAX, work)) >= nap.as_secs_f64());
    }
}
