//! A training loop that owns its scratch must not meet the allocator: calls are counted, on the thread that runs them.
//!
//! matrixmultiply takes its packing buffer from the allocator on each call and cannot be told otherwise. For `im2col` the
//! promise is therefore that nothing else is taken: blocks of at most that buffer's size, one at a time, all given back.

mod reference;

use convgrad::{ConvShape, Op, Registered, Update};
use reference::{Arrangement, Layer, OPS, Operand, every_backend, result_dims};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What the current thread took from the allocator and gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Count {
    taken: usize,
    returned: usize,
    /// Bytes in use, and the most there were at once.
    live: isize,
    peak: isize,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { taken: 0, returned: 0, live: 0, peak: 0 }) };
}

struct Counting;

impl Counting {
    fn note(change: impl FnOnce(&mut Count)) {
        // A thread that is ending has no counter left, and nobody who asks for it.
        let _ = COUNT.try_with(|cell| {
            let mut count = cell.get();
            change(&mut count);
            count.peak = count.peak.max(count.live);
            cell.set(count);
        });
    }
}

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing, as the counter is
// initialised at compile time and has no destructor. The provided `realloc` and `alloc_zeroed` come through here.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::note(|count| {
            count.taken += 1;
            count.live += layout.size() as isize;
        });
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Counting::note(|count| {
            count.returned += 1;
            count.live -= layout.size() as isize;
        });
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `call` does to the allocator on this thread.
fn counted(call: impl FnOnce()) -> Count {
    COUNT.set(Count::default());
    call();
    COUNT.get()
}

#[test]
fn the_counter_counts() {
    let count = counted(|| drop(std::hint::black_box(vec![0u8; 1000])));
    assert_eq!(count, Count { taken: 1, returned: 1, live: 0, peak: 1000 });
    assert_eq!(counted(|| ()), Count::default());
}

/// Elements of matrixmultiply's packing buffer: at most 64 rows of the one and 1024 columns of the other operand by 256,
/// rounded up to whole tiles and aligned.
const PACKING: usize = 256 * (64 + 1024) + 64;

fn check<T: Registered>() {
    // Small, many channels, one channel, depthwise, 1x1, a stem, large enough to be split.
    let shapes = [
        "mb1ic1ih5oc1oh4kh2",
        "mb2ic32ih10oc48oh10kh3ph1",
        "mb1ic1ih100oc1oh96kh5",
        "mb2g24ic24ih14oc24oh14kh3ph1",
        "mb2ic64ih9oc64kh1",
        "mb2ic3ih60oc32oh30kh7sh2ph3",
        "mb1ic64ih16oc64oh16kh3ph1",
        "mb2ic20iw90oc9kw5",
        "mb1ic8id9oc8kd3",
    ];
    // One thread that is the pool's own, so that work handed to the pool is counted.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for shape in shapes.map(|s| s.parse::<ConvShape>().unwrap()) {
        for arrangement in [Arrangement::NCHW, Arrangement::NHWC] {
            let layer = Layer::<T>::new(shape, &std::array::from_fn(|_| arrangement.clone()), || 0.5);
            for backend in every_backend::<T>() {
                for op in OPS.into_iter().filter(|&op| backend.supports(op, &shape).is_ok()) {
                    let mut result = Operand::<T>::poisoned(&result_dims(&shape, op), &Arrangement::NCHW);
                    let mut scratch = vec![T::Acc::default(); backend.scratch_len(op, &shape)];
                    let count = pool.install(|| {
                        // A thread's first question makes the chooser think.
                        backend.supports(op, &shape).unwrap();
                        let problem = layer.problem(op, &mut result, Update::overwrite());
                        counted(|| backend.execute(problem, &mut scratch).unwrap())
                    });
                    let context = format!("{op} of {shape} in {} by {}: {count:?}", T::NAME, backend.description());
                    let chosen = backend.plan(op, &shape).filter(|_| backend.name() == "auto").unwrap_or_default();
                    if (backend.name() == "im2col" || chosen.starts_with("im2col")) && op != Op::BiasGradient {
                        assert_eq!((count.taken, count.live), (count.returned, 0), "{context}");
                        assert!(count.peak as usize <= PACKING * size_of::<T>(), "{context}");
                    } else {
                        assert_eq!(count, Count::default(), "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_call_with_the_callers_scratch_allocates_nothing_in_f32() {
    check::<f32>();
}

#[test]
fn a_call_with_the_callers_scratch_allocates_nothing_in_f64() {
    check::<f64>();
}
