//! Work dealt to threads so that threads never show in the result.
//!
//! Two rules make a result the same to the last bit on any number of threads: how work is cut depends on the problem
//! alone, never on the pool; and partial results are merged in the order of the cut, never in the order of arrival.
//! Here is what they leave to decide: whether handing work to [rayon]'s current pool pays at all. Work that does not
//! stays on the caller's thread and never touches rayon, not even to ask for the number of threads, because asking
//! starts the global pool.
//!
//! Work is measured in floating point operations of a kernel near the processor's peak. Work bound by memory counts
//! [`ELEMENT_FLOPS`] for each element it reads.

use crate::element::Element;
use crate::tensor::ViewMut;
use rayon::prelude::*;
use std::ops::Add;

/// Work below this stays on the caller's thread.
///
/// It is set for calls that follow each other, as in training, whose workers are still awake: a core near its peak does
/// this much in 4 to 8 microseconds. A worker that has gone to sleep makes a join of two halves take 9 to 12 microseconds
/// where there is nothing to gain, and the join pays only for about 30 and more (rayon 1.12, Linux, two cores of Zen 5).
const PARALLEL_FLOPS: f64 = 1e6;

/// Operations a core near its peak would do while it reads one `f32` from memory, roughly: 118 GFLOP/s against 25 GB/s on a
/// core of Zen 4.
pub(crate) const ELEMENT_FLOPS: f64 = 16.0;

/// Whether this much work gains from more than one thread, here and now. The answer must decide only *who* computes.
pub(crate) fn pays(flops: f64) -> bool {
    flops >= PARALLEL_FLOPS && rayon::current_num_threads() > 1
}

/// The work worth splitting within each of `tasks` that run side by side: none while they alone keep all threads busy.
pub(crate) fn work_within(tasks: usize, flops: f64) -> f64 {
    if tasks == 1 || (pays(flops) && rayon::current_num_threads() > tasks) { flops } else { 0.0 }
}

/// Threads that share this much work: one where more [do not pay](pays).
pub(crate) fn threads_for(flops: f64) -> usize {
    if pays(flops) { rayon::current_num_threads() } else { 1 }
}

/// Runs two closures, at the same time if the work of both together [pays](pays), and gives both results.
pub(crate) fn join<A: Send, B: Send>(flops: f64, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if pays(flops) { rayon::join(a, b) } else { (a(), b()) }
}

/// Runs `body(index, chunk)` on chunks of `chunk_len` items, the last one maybe shorter; `flops` is the work of all
/// chunks together. Chunks are handed out one by one, so there may be many more chunks than threads.
///
/// # Panics
/// When `chunk_len` is 0.
pub(crate) fn for_each_chunk<A: Send>(
    items: &mut [A],
    chunk_len: usize,
    flops: f64,
    body: impl Fn(usize, &mut [A]) + Sync,
) {
    if items.len() > chunk_len && pays(flops) {
        items.par_chunks_mut(chunk_len).enumerate().with_max_len(1).for_each(|(index, chunk)| body(index, chunk));
    } else {
        items.chunks_mut(chunk_len).enumerate().for_each(|(index, chunk)| body(index, chunk));
    }
}

/// Adds copies of the sums to the first of them, in their order.
pub(crate) fn add_in_order<'a, A: Copy + Send + Sync + Add<Output = A> + 'a>(
    sums: &mut [A],
    copies: impl ExactSizeIterator<Item = &'a [A]> + Clone + Sync,
) {
    let chunk_len = 4096;
    let work = (sums.len() * copies.len()) as f64;
    for_each_chunk(sums, chunk_len, work, |index, chunk| {
        for copy in copies.clone() {
            for (sum, &term) in chunk.iter_mut().zip(&copy[index * chunk_len..]) {
                *sum = *sum + term;
            }
        }
    });
}

/// Runs `body(first, part)` on parts of a view that is to be written, cut along its first dimension at multiples of `grain`;
/// `first` is where in that dimension the part begins, itself a multiple, and `flops` the work on the whole view.
///
/// The view is halved while the work on a part pays and memory allows; where its parts interleave in memory it is left
/// whole. Unlike chunks, parts do depend on the pool: `body` must do the same for every position whatever its part.
pub(crate) fn for_each_part<T: Element>(
    view: ViewMut<'_, T>,
    first: usize,
    grain: usize,
    flops: f64,
    body: &(impl Fn(usize, ViewMut<'_, T>) + Sync),
) {
    let middle = view.dims5()[0].div_ceil(grain) / 2 * grain;
    if !pays(flops) {
        return body(first, view);
    }
    match view.split_first(middle) {
        Ok((low, high)) => {
            rayon::join(
                || for_each_part(low, first, grain, flops / 2.0, body),
                || for_each_part(high, first + middle, grain, flops / 2.0, body),
            );
        }
        Err(whole) => body(first, whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::View;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    #[test]
    fn every_chunk_is_visited_once_with_its_index() {
        for threads in [1, 2, 3] {
            for flops in [0.0, 1e9] {
                let mut items = [0usize; 23];
                pool(threads).install(|| {
                    for_each_chunk(&mut items, 5, flops, |index, chunk| {
                        for (i, item) in chunk.iter_mut().enumerate() {
                            *item += 100 + index * 5 + i;
                        }
                    })
                });
                assert!(items.iter().enumerate().all(|(i, &item)| item == 100 + i), "{threads} threads: {items:?}");
            }
        }
    }

    #[test]
    fn every_position_of_a_view_is_in_one_part() {
        // Rows apart in memory, interleaved (channels last), reversed.
        for (strides, origin) in [([12, 3, 1], 0), ([1, 9, 100], 0), ([-12, 3, 1], 96)] {
            for (threads, grain) in [(1, 1), (3, 1), (3, 2), (3, 20)] {
                let mut data = [0.0f64; 300];
                let view = ViewMut::strided(&mut data, &[9, 4, 3], &strides, origin).unwrap();
                pool(threads).install(|| {
                    for_each_part(view, 0, grain, 1e7, &|first, mut part: ViewMut<'_, f64>| {
                        assert_eq!(first % grain, 0);
                        for i in 0..part.dims5()[0] {
                            for (j, k) in (0..4).flat_map(|j| (0..3).map(move |k| (j, k))) {
                                *part.at_mut([i, j, 0, 0, k]) += (1 + (first + i) * 100 + j * 10 + k) as f64;
                            }
                        }
                    })
                });
                let view = View::strided(&data, &[9, 4, 3], &strides, origin).unwrap();
                for (i, j, k) in (0..108).map(|p| (p / 12, p / 3 % 4, p % 3)) {
                    assert_eq!(view.at([i, j, 0, 0, k]), (1 + i * 100 + j * 10 + k) as f64, "{strides:?}");
                }
            }
        }
    }

    #[test]
    fn small_work_stays_on_the_callers_thread() {
        let caller = std::thread::current().id();
        for_each_chunk(&mut [0; 8], 1, PARALLEL_FLOPS / 2.0, |_, _| assert_eq!(std::thread::current().id(), caller));
        let (a, b) = join(0.0, || std::thread::current().id(), || std::thread::current().id());
        assert_eq!((a, b), (caller, caller));
    }

    #[test]
    fn large_work_reaches_the_pool() {
        let pool = pool(2);
        let seen = std::sync::Barrier::new(2);
        // Each chunk waits for the other: this ends only if two threads work.
        pool.install(|| {
            for_each_chunk(&mut [0; 2], 1, 1e9, |_, _| {
                seen.wait();
            });
            join(1e9, || seen.wait(), || seen.wait());
        });
    }
}
