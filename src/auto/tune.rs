//! Timing the candidates on the caller's shape, with operands and scratch of its own, within a budget.

use super::explanation::Candidate;
use crate::backend::Backend;
use crate::element::Element;
use crate::measure::{self, Temperature};
use crate::op::Op;
use crate::shape::ConvShape;
use crate::tensor::Layout;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How much time measuring may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// For all candidates of a shape.
    pub shape: Duration,
    /// For all shapes that this process measures, by whatever [`Auto`](super::Auto).
    pub process: Duration,
}

impl Default for Budget {
    /// A tenth of a second for a shape, ten seconds for a process.
    fn default() -> Budget {
        Budget { shape: Duration::from_millis(100), process: Duration::from_secs(10) }
    }
}

/// Candidates whose estimate is within this factor of the shortest are worth timing. Of 600 random problems (f32, AVX-512 on
/// Zen 5) the fastest backend's estimate was never further from it.
const PLAUSIBLE: f64 = 3.0;

/// Calls without which a time says little: one warms up.
const LEAST_CALLS: f64 = 3.0;

/// Nanoseconds that measuring took in this process.
static SPENT: AtomicU64 = AtomicU64::new(0);

/// Whether a candidate may be the fastest, `shortest` being the shortest estimate in milliseconds.
pub(super) fn is_plausible(candidate: &Candidate, shortest: f64) -> bool {
    candidate.refusal.is_none() && candidate.predicted_ms.is_some_and(|ms| ms <= PLAUSIBLE * shortest)
}

/// Milliseconds that each backend takes, or none where the budget does not suffice, or memory.
///
/// `predicted` is how long a call of all of them is thought to take.
pub(super) fn milliseconds<T: Element>(
    op: Op,
    shape: &ConvShape,
    layout: Layout,
    threads: usize,
    backends: &[&dyn Backend<T>],
    predicted: Duration,
    budget: &Budget,
) -> Option<Vec<f64>> {
    let left = budget.process.saturating_sub(Duration::from_nanos(SPENT.load(Ordering::Relaxed)));
    let allowed = budget.shape.min(left);
    if predicted.mul_f64(LEAST_CALLS) > allowed {
        return None;
    }
    let begin = Instant::now();
    // Warming up and finding the length of a sample take a share as well.
    let min_time = allowed.div_f64(2.0 * backends.len() as f64);
    let measure = || measure::passes(op, shape, layout, backends, min_time, Temperature::Warm);
    let timings = if rayon::current_num_threads() == threads {
        measure()
    } else {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok()?.install(measure)
    };
    SPENT.fetch_add(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    Some(timings.ok()?.iter().map(|timing| 1e3 * timing.best).collect())
}
