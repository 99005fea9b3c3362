//! The rate at which data arrives from each level of memory: the other roof of every kernel, beside the peak.
//!
//! Every thread reads a buffer of its own, over and over, of a size that fits the level in question and no nearer one. It
//! is read by full vectors that cross no cache line, each added to one of several independent sums: an addition waits
//! three or four cycles for the one before, and two loads a cycle must find a free sum.
//!
//! On AVX-512 the inner loop is eight `vaddps zmm, zmm, [memory]` and the loop's own three instructions (rustc 1.95); on
//! Zen 5 that is 470 GB/s a core from L1 at 3.7 GHz, two loads a cycle, where nothing else runs.

use super::cache::{Cache, Caches};
use super::together;
use crate::element::Element;
use crate::simd::{Isa, Lane};
use pulp::{Simd, WithSimd};
use std::hint::black_box;
use std::time::Duration;

/// Independent sums, and vectors of a block.
const SUMS: usize = 8;

/// Buffers begin on a multiple of this. Cache lines are a part of it; and Zen 5, which finds a line in L1 by a hash of its
/// address, read 360 GB/s instead of 470 from a buffer that lay across a multiple of 32 MiB, where high bits change.
const ALIGNMENT: usize = 64 << 10;

/// Buffers are whole pages, so that they are whole blocks of vectors on every instruction set.
const PAGE: usize = 4096;

const MIB: usize = 1 << 20;

/// Bytes a thread reads from a cache before the clock is read again: a fifth of a millisecond or more.
const READ: usize = 64 * MIB;

/// Memory for the buffers of all threads together.
const MOST: usize = 512 * MIB;

/// Repetitions, of which the best counts.
const REPETITIONS: usize = 200;

/// Time after which no further repetition begins, for each level.
const LONGEST: Duration = Duration::from_millis(150);

/// How fast all threads together read from each level of memory, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadBandwidth {
    /// From the first level of cache.
    pub l1: f64,
    /// From the second.
    pub l2: f64,
    /// From the third, or from the last there is.
    pub l3: f64,
    /// From memory outside the processor.
    pub dram: f64,
}

/// The rates of the current rayon pool, all its threads reading at once, in vectors of `T` on the instruction set; takes
/// less than a second, and up to 512 MiB of memory or half of what is free.
///
/// Buffers are sized by [`Caches::of_this_machine`]. On [`Isa::SCALAR`] it is the rate of reading number by number.
///
/// ```
/// use convgrad::{Isa, measure::read_bandwidth};
/// let rates = read_bandwidth::<f32>(Isa::best());
/// assert!(rates.l1 > 1e8 && rates.dram > 1e7);
/// ```
pub fn read_bandwidth<T: Element>(isa: Isa) -> ReadBandwidth {
    let threads = rayon::current_num_threads();
    let sizes = Sizes::of(&Caches::of_this_machine(), threads, free_memory());
    // Each thread fills its own, so that its memory is near it. Ones, since pages of zeros may be all the same page.
    let buffers: Vec<Vec<T::Acc>> =
        rayon::broadcast(|_| vec![T::Acc::from_f64(1.0); (sizes.dram + ALIGNMENT) / size_of::<T::Acc>()]);
    let rate = |bytes: usize| {
        let passes = READ.div_ceil(bytes);
        let shortest = together::shortest(REPETITIONS, LONGEST, |thread| {
            let data = &aligned(&buffers[thread])[..bytes / size_of::<T::Acc>()];
            black_box(isa.run(ReadAll { data: black_box(data), passes }));
        });
        (threads * passes * bytes) as f64 / shortest
    };
    ReadBandwidth { l1: rate(sizes.l1), l2: rate(sizes.l2), l3: rate(sizes.l3), dram: rate(sizes.dram) }
}

/// Bytes each thread reads, for each level.
#[derive(Debug, PartialEq, Eq)]
struct Sizes {
    l1: usize,
    l2: usize,
    l3: usize,
    dram: usize,
}

impl Sizes {
    fn of(caches: &Caches, threads: usize, free_memory: Option<usize>) -> Sizes {
        // Half, since other data of the thread and of the system passes through as well.
        let half = |cache: Cache| cache.bytes / 2 / cache.shared_by.clamp(1, threads);
        // Enough more than the second level holds that little of it is found there. Where threads are many, so much is more
        // than their part of the third; but that one then mostly takes what the second drops, and they hold it together.
        let l2 = half(caches.l2);
        let l3 = match caches.l3.bytes > caches.l2.bytes {
            true => half(caches.l3).min(8 * l2).max(3 * l2),
            false => l2,
        };
        let last_levels = caches.l3.bytes * threads.div_ceil(caches.l3.shared_by.max(1));
        let most = free_memory.map_or(MOST, |bytes| MOST.min(bytes / 2));
        let dram = (4 * last_levels).min(most) / threads;
        let pages = |bytes: usize| (bytes / PAGE).max(1) * PAGE;
        // The buffer is one, as long as the longest of these.
        let dram = pages(dram.max(l3));
        Sizes { l1: pages(half(caches.l1)), l2: pages(l2), l3: pages(l3), dram }
    }
}

/// Bytes that can be had without taking them from anyone, where the operating system tells.
fn free_memory() -> Option<usize> {
    available(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The line `MemAvailable` of Linux's description, in bytes.
fn available(text: &str) -> Option<usize> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    value.trim().strip_suffix(" kB")?.parse::<usize>().ok()?.checked_mul(1024)
}

/// The slice from its first multiple of the alignment.
fn aligned<L>(buffer: &[L]) -> &[L] {
    let offset = buffer.as_ptr().align_offset(ALIGNMENT);
    &buffer[offset.min(buffer.len())..]
}

/// Adds up `data`, which is whole blocks of vectors, `passes` times.
struct ReadAll<'a, L> {
    data: &'a [L],
    passes: usize,
}

impl<L: Lane> WithSimd for ReadAll<'_, L> {
    type Output = L;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> L {
        let (vectors, numbers_left) = L::as_vectors::<S>(self.data);
        let (blocks, vectors_left) = vectors.as_chunks::<SUMS>();
        assert!(numbers_left.is_empty() && vectors_left.is_empty(), "buffers are whole pages");
        let mut sums = [L::splat(simd, L::default()); SUMS];
        for _ in 0..self.passes {
            for block in blocks {
                for (sum, vector) in sums.iter_mut().zip(block) {
                    *sum = L::add(simd, *sum, *vector);
                }
            }
        }
        let total = sums.into_iter().fold(L::splat(simd, L::default()), |a, b| L::add(simd, a, b));
        L::reduce_sum(simd, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    /// Sums of whole numbers below 2^24 are exact, so one number left out or read twice shows.
    fn every_number_is_read_in_every_pass<T: Element>() {
        for isa in Isa::available() {
            let data: Vec<T::Acc> = (0..PAGE / size_of::<T>()).map(|i| T::Acc::from_f64(i as f64)).collect();
            let expected = (data.len() * (data.len() - 1) / 2) as f64;
            for passes in [0, 1, 3] {
                let sum = isa.run(ReadAll { data: &data, passes }).to_f64();
                assert_eq!(sum, passes as f64 * expected, "{passes} passes of {} on {isa}", T::NAME);
            }
        }
    }

    #[test]
    fn what_is_counted_is_read() {
        every_number_is_read_in_every_pass::<f32>();
        every_number_is_read_in_every_pass::<f64>();
    }

    #[test]
    fn buffers_begin_on_a_multiple_and_lose_less_than_one() {
        let buffer = vec![0.0f32; 2 * ALIGNMENT / size_of::<f32>()];
        for begin in [0, 1, 15, 16, 4096] {
            let slice = aligned(&buffer[begin..]);
            assert_eq!(slice.as_ptr() as usize % ALIGNMENT, 0);
            assert!((slice.len() + begin) * size_of::<f32>() > ALIGNMENT);
        }
    }

    fn caches(l1: (usize, usize), l2: (usize, usize), l3: (usize, usize)) -> Caches {
        let cache = |(bytes, shared_by)| Cache { bytes, shared_by };
        Caches { l1: cache(l1), l2: cache(l2), l3: cache(l3) }
    }

    #[test]
    fn a_level_is_read_by_what_fits_it_and_no_nearer_one() {
        let desktop = caches((48 * KIB, 1), (MIB, 1), (32 * MIB, 8));
        let sizes = |threads| Sizes::of(&desktop, threads, None);
        let of = |l1, l2, l3, dram| Sizes { l1, l2, l3, dram };
        assert_eq!(sizes(1), of(24 * KIB, 512 * KIB, 4 * MIB, 128 * MIB));
        assert_eq!(sizes(2), of(24 * KIB, 512 * KIB, 4 * MIB, 64 * MIB));
        assert_eq!(sizes(8), of(24 * KIB, 512 * KIB, 2 * MIB, 16 * MIB));
        // Two of the last level, of which both must be left behind.
        assert_eq!(sizes(16), of(24 * KIB, 512 * KIB, 2 * MIB, 16 * MIB));
    }

    #[test]
    fn threads_that_share_a_cache_share_it() {
        let sizes = |threads| Sizes::of(&caches((32 * KIB, 2), (256 * KIB, 2), (6 * MIB, 8)), threads, None);
        assert_eq!((sizes(1).l1, sizes(1).l2), (16 * KIB, 128 * KIB));
        assert_eq!((sizes(8).l1, sizes(8).l2), (8 * KIB, 64 * KIB));
        assert_eq!(sizes(8).l3, 384 * KIB);
    }

    #[test]
    fn a_last_level_smaller_than_the_second_ones_together_is_still_left_to_the_third() {
        let server = caches((48 * KIB, 2), (2 * MIB, 2), (105 * MIB, 112));
        assert_eq!(Sizes::of(&server, 56, None).l3, 3 * MIB / 2);
        let without_third = caches((64 * KIB, 1), (4 * MIB, 4), (4 * MIB, 4));
        let sizes = Sizes::of(&without_third, 4, None);
        assert_eq!((sizes.l2, sizes.l3, sizes.dram), (512 * KIB, 512 * KIB, 4 * MIB));
    }

    #[test]
    fn memory_is_bounded() {
        let large = caches((48 * KIB, 1), (MIB, 1), (384 * MIB, 1));
        assert_eq!(Sizes::of(&large, 1, None).dram, MOST);
        assert_eq!(Sizes::of(&large, 2, None).dram, MOST / 2);
        assert_eq!(Sizes::of(&large, 1, Some(100 * MIB)).dram, 50 * MIB);
        // Never nothing, and never less than the other levels take.
        let hardly = Sizes::of(&large, 1, Some(0));
        assert_eq!(hardly.dram, hardly.l3);
        let nothing = Sizes::of(&caches((0, 0), (0, 0), (0, 0)), 3, Some(0));
        assert_eq!(nothing, Sizes { l1: PAGE, l2: PAGE, l3: PAGE, dram: PAGE });
    }

    #[test]
    fn free_memory_is_read_as_linux_writes_it() {
        let text = "MemTotal:       24610000 kB\nMemAvailable:   23500000 kB\nBuffers: 1 kB\n";
        assert_eq!(available(text), Some(23_500_000 * 1024));
        for text in ["", "MemTotal: 1 kB", "MemAvailable: many kB", "MemAvailable: 5"] {
            assert_eq!(available(text), None, "{text}");
        }
    }
}
