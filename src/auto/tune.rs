//! Timing the candidates on the caller's shape, with operands and scratch of its own, within a budget.

use super::explanation::Candidate;
use crate::backend::Backend;
use crate::element::Element;
use crate::measure;
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

impl Budget {
    fn of_a_shape(&self) -> Duration {
        self.shape.min(self.process)
    }
}

/// Candidates whose estimate is within this factor of the shortest are worth timing. Were they timed without error, as
/// many as a tenth of a second allows, the choice would be 0.14 % slower than the fastest in the geometric mean over 1349 problems held
/// out from the fit (all its settings of one thread); with a factor of 3, 0.27 %, with 2, 1.2 %. One that is far slower costs two
/// calls.
const PLAUSIBLE: f64 = 6.0;

/// Calls without which a time says little: one warms up.
const LEAST_CALLS: f64 = 2.0;

/// Nanoseconds that measuring took in this process.
static SPENT: AtomicU64 = AtomicU64::new(0);

/// The candidates that may be the fastest, by their places, in the order of their times, or of their estimates where there is no
/// time.
pub(super) fn plausible(candidates: &[Candidate]) -> Vec<usize> {
    let legal = candidates.iter().enumerate().filter(|(_, candidate)| candidate.refusal.is_none());
    let mut estimates: Vec<(usize, f64)> =
        legal.filter_map(|(i, c)| Some((i, c.measured_ms.or(c.handicapped_ms())?))).collect();
    estimates.sort_by(|a, b| a.1.total_cmp(&b.1));
    let most = estimates.first().map_or(0.0, |&(_, shortest)| PLAUSIBLE * shortest);
    estimates.into_iter().take_while(|&(_, estimate)| estimate <= most).map(|(index, _)| index).collect()
}

/// As many of these candidates, from the first, as the budget is thought to suffice for.
pub(super) fn affordable<'a>(candidates: &[Candidate], plausible: &'a [usize], budget: &Budget) -> &'a [usize] {
    let mut left = 1e3 * budget.of_a_shape().as_secs_f64();
    let fits = |&&index: &&usize| {
        let Candidate { measured_ms, predicted_ms, .. } = candidates[index];
        left -= LEAST_CALLS * measured_ms.or(predicted_ms).unwrap_or(f64::INFINITY);
        left >= 0.0
    };
    &plausible[..plausible.iter().take_while(fits).count()]
}

/// Milliseconds that each backend takes, or none where nothing is left of the budget of the process, or of memory.
pub(super) fn milliseconds<T: Element>(
    op: Op,
    shape: &ConvShape,
    layout: Layout,
    threads: usize,
    backends: &[&dyn Backend<T>],
    budget: &Budget,
) -> Option<Vec<f64>> {
    let left = budget.process.saturating_sub(Duration::from_nanos(SPENT.load(Ordering::Relaxed)));
    if left < budget.of_a_shape() {
        return None;
    }
    let begin = Instant::now();
    let measure = || measure::contest_of_passes(op, shape, layout, backends, budget.of_a_shape());
    let times = if rayon::current_num_threads() == threads {
        measure()
    } else {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok()?.install(measure)
    };
    SPENT.fetch_add(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    Some(times.ok()?.iter().map(|seconds| 1e3 * seconds).collect())
}
