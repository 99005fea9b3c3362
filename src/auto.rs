//! The chooser: a backend that hands each problem to the one that is fastest for it, and can say why.
//!
//! ```text
//! legal      backends that compute the problem, within the limits on workspace, error, names, reproducibility
//! estimate   seconds of each, from what it says it spends and the processor's rates
//! remember   times measured earlier, in this process or in a file, go before estimates
//! measure    if the policy has it: those whose estimates are near are timed, within a budget, on operands of their own
//! ```
//!
//! The choice is made for an operation, a shape, a number type, one memory order of the operands and one number of threads, all
//! known before any operand is seen; so scratch can be asked for ahead, and the bits do not depend on the pool a call is made
//! in. By default it is an estimate at the rates of a reference processor: the same on every machine of this instruction set
//! and number of threads.
//!
//! A choice is remembered by each thread, so that a repeated shape costs some tens of nanoseconds more than the backend.
//!
//! ```
//! use convgrad::{Auto, Backend, ConvShape, Op};
//! let auto = Auto::<f32>::new();
//! let shape: ConvShape = "mb8ic64ih56oc64oh56kh3ph1".parse()?;
//! let explanation = auto.explain(Op::WeightGradient, &shape);
//! println!("{explanation}");
//! assert!(explanation.choice.is_some());
//! # Ok::<(), convgrad::Error>(())
//! ```

mod backend;
mod estimate;
mod explanation;
mod fitted;
mod limits;
#[cfg(feature = "wisdom")]
mod rates_file;
mod remembered;
mod tune;
mod wisdom;
#[cfg(feature = "wisdom")]
mod wisdom_file;

pub use estimate::{Rates, Terms, Weights};
pub use explanation::{Candidate, Explanation, Rule};
pub use limits::{Accuracy, Refusal};
pub use tune::Budget;
pub use wisdom::{Wisdom, WisdomKey};
#[cfg(feature = "wisdom")]
pub use wisdom_file::WisdomWarning;

use crate::backend::Backend;
use crate::element::Element;
use crate::op::Op;
use crate::registry::Registered;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::tensor::Layout;
use limits::Limits;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Where a choice comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Policy {
    /// From estimates alone: nothing is measured or remembered, and a choice never changes.
    #[default]
    Estimate,
    /// From times remembered; else the candidates are timed if the budget allows, and that is remembered; else from estimates.
    Measure(Budget),
    /// From times remembered, else from estimates.
    RememberedOnly,
}

/// A backend that chooses one of others; see the [module](self).
pub struct Auto<T: Element> {
    backends: Vec<Box<dyn Backend<T>>>,
    isa: Isa,
    layout: Layout,
    threads: usize,
    rates: Rates,
    policy: Policy,
    limits: Limits,
    wisdom: Mutex<Wisdom>,
    /// Of this one in its present form, so that what threads remember of others is not taken for its choice.
    id: u64,
}

impl<T: Registered> Auto<T> {
    /// All backends, on the best instruction set of this processor, chosen by estimate.
    pub fn new() -> Auto<T> {
        Auto::on(Isa::best())
    }

    /// All backends, on an instruction set of the caller's choice.
    pub fn on(isa: Isa) -> Auto<T> {
        Auto::of(T::backends_on(isa), isa)
    }

    /// Those backends that give the same bits on every processor, and a choice that is the same on every processor as well:
    /// by estimate, at the reference rates, as for one thread, whatever is set besides.
    ///
    /// They compute number by number, so that it takes many times as long.
    pub fn reproducible() -> Auto<T> {
        let mut auto = Auto::on(Isa::SCALAR);
        auto.limits.reproducible = true;
        auto
    }
}

impl<T: Registered> Default for Auto<T> {
    fn default() -> Auto<T> {
        Auto::new()
    }
}

impl<T: Element> Auto<T> {
    /// These backends, the caller's own among them, in the order of preference; their estimates assume `isa`.
    ///
    /// What was never measured is estimated from what it says that it spends, see [`Backend::cost`].
    pub fn of(backends: Vec<Box<dyn Backend<T>>>, isa: Isa) -> Auto<T> {
        Auto {
            backends,
            isa,
            layout: Layout::Nchw,
            threads: rayon::current_num_threads(),
            rates: Rates::reference::<T>(isa),
            policy: Policy::Estimate,
            limits: Limits::default(),
            wisdom: Mutex::default(),
            id: remembered::new_id(),
        }
    }

    /// Sets where a choice comes from.
    pub fn policy(self, policy: Policy) -> Auto<T> {
        self.changed(|auto| auto.policy = policy)
    }

    /// Sets the memory order for which a choice is made; operands of any other are computed as well.
    pub fn layout(self, layout: Layout) -> Auto<T> {
        self.changed(|auto| auto.layout = layout)
    }

    /// Sets the number of threads for which a choice is made, at least 1. At first it is that of the rayon pool in which the
    /// chooser is made; calls may be made in any.
    pub fn threads(self, threads: usize) -> Auto<T> {
        self.changed(|auto| auto.threads = threads.max(1))
    }

    /// Sets the processor's rates, as [`Rates::measure`] finds them.
    pub fn rates(self, rates: Rates) -> Auto<T> {
        self.changed(|auto| auto.rates = rates)
    }

    /// Forbids backends that need more than so many bytes of workspace.
    pub fn max_workspace(self, bytes: usize) -> Auto<T> {
        self.changed(|auto| auto.limits.max_workspace = Some(bytes))
    }

    /// Sets how large errors may be.
    pub fn accuracy(self, accuracy: Accuracy) -> Auto<T> {
        self.changed(|auto| auto.limits.accuracy = accuracy)
    }

    /// Allows the backends of these names only.
    pub fn allow(self, names: &[&str]) -> Auto<T> {
        self.changed(|auto| auto.limits.allowed = Some(owned(names)))
    }

    /// Forbids the backends of these names.
    pub fn forbid(self, names: &[&str]) -> Auto<T> {
        self.changed(|auto| auto.limits.forbidden = owned(names))
    }

    /// Adds times measured earlier, for the policies that use them.
    pub fn with_wisdom(self, wisdom: &Wisdom) -> Auto<T> {
        self.changed(|auto| auto.wisdom().merge(&wisdom.of_here()))
    }

    /// The times it was given and those it measured.
    pub fn known(&self) -> Wisdom {
        self.wisdom().clone()
    }

    /// The backend chosen, and none if every one is refused.
    pub fn choose(&self, op: Op, shape: &ConvShape) -> Option<&dyn Backend<T>> {
        let choice = remembered::choice(self.id, op, shape, || self.decide(op, shape, &self.limits).1.map(|(i, _)| i));
        choice.map(|index| &*self.backends[index])
    }

    /// All that a choice is made from, with the choice and its reason.
    pub fn explain(&self, op: Op, shape: &ConvShape) -> Explanation {
        let (candidates, choice) = self.decide(op, shape, &self.limits);
        let choice = choice.map(|(index, rule)| (candidates[index].backend, rule));
        Explanation { op, shape: *shape, layout: self.layout, threads: self.choice_threads(), candidates, choice }
    }

    fn changed(mut self, change: impl FnOnce(&mut Auto<T>)) -> Auto<T> {
        change(&mut self);
        self.id = remembered::new_id();
        self
    }

    fn wisdom(&self) -> MutexGuard<'_, Wisdom> {
        // Whoever panicked while it was locked left whole entries.
        self.wisdom.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The candidates, and the one chosen by the rule.
    fn decide(&self, op: Op, shape: &ConvShape, limits: &Limits) -> (Vec<Candidate>, Option<(usize, Rule)>) {
        let mut candidates: Vec<_> = self.backends.iter().map(|b| self.candidate(&**b, op, shape, limits)).collect();
        let Some((estimated, _)) = fastest(&candidates, |candidate| candidate.handicapped_ms()) else {
            return (candidates, None);
        };
        if candidates.iter().filter(|candidate| candidate.refusal.is_none()).count() == 1 {
            return (candidates, Some((estimated, Rule::Only)));
        }
        let measures = match self.policy {
            _ if limits.reproducible => None,
            Policy::Estimate => None,
            Policy::RememberedOnly => Some(None),
            Policy::Measure(budget) => Some(Some(budget)),
        };
        let Some(budget) = measures else {
            return (candidates, Some((estimated, Rule::Estimated)));
        };
        let key = WisdomKey::here::<T>(op, shape, self.layout, self.isa, self.threads);
        for candidate in &mut candidates {
            candidate.measured_ms = self.wisdom().milliseconds(&key, candidate.backend);
        }
        let mut rule = Rule::Remembered;
        if let Some(mut budget) = budget {
            // A time may turn out so long that candidates which its estimate ruled out are plausible after all.
            loop {
                let plausible = tune::plausible(&candidates);
                let is_unknown = |&index: &usize| candidates[index].measured_ms.is_none();
                let timed = tune::affordable(&candidates, &plausible, &budget);
                let suffices = timed.len() >= plausible.len().min(2);
                if !plausible.iter().any(is_unknown) || suffices && !timed.iter().any(is_unknown) {
                    break;
                }
                let begin = Instant::now();
                if !suffices || !self.measure(op, &key, shape, &mut candidates, timed, &budget) {
                    rule = if rule == Rule::Measured { rule } else { Rule::BudgetSpent };
                    break;
                }
                rule = Rule::Measured;
                budget.shape = budget.shape.saturating_sub(begin.elapsed());
            }
        }
        let choice = match (rule, fastest(&candidates, |candidate| candidate.measured_ms)) {
            (Rule::Remembered | Rule::Measured, Some((index, _))) => (index, rule),
            (Rule::BudgetSpent, _) => (estimated, rule),
            _ => (estimated, Rule::Estimated),
        };
        (candidates, Some(choice))
    }

    /// Times some candidates and remembers it, if the budget allows.
    fn measure(
        &self,
        op: Op,
        key: &WisdomKey,
        shape: &ConvShape,
        candidates: &mut [Candidate],
        timed: &[usize],
        budget: &Budget,
    ) -> bool {
        let backends: Vec<&dyn Backend<T>> = timed.iter().map(|&i| &*self.backends[i]).collect();
        let times = tune::milliseconds(op, shape, self.layout, self.threads, &backends, budget);
        for (&index, &ms) in timed.iter().zip(times.iter().flatten()) {
            candidates[index].measured_ms = Some(ms);
            self.wisdom().insert(key.clone(), candidates[index].backend, ms);
        }
        times.is_some()
    }

    fn candidate(&self, backend: &dyn Backend<T>, op: Op, shape: &ConvShape, limits: &Limits) -> Candidate {
        let workspace = backend.scratch_len(op, shape).saturating_mul(size_of::<T::Acc>());
        let refusal = limits.refusal(backend, op, shape, workspace);
        let computes = !matches!(refusal, Some(Refusal::Unsupported(_)));
        let estimate = computes.then(|| self.estimate(backend, op, shape, workspace));
        Candidate {
            backend: backend.name(),
            predicted_ms: estimate.map(|(seconds, _)| 1e3 * seconds),
            handicap: estimate.map_or(1.0, |(_, handicap)| handicap),
            measured_ms: None,
            workspace,
            error_bound: if computes { backend.error_bound(op, shape) } else { f64::INFINITY },
            typical_error: if computes { backend.typical_error(op, shape) } else { f64::INFINITY },
            refusal,
        }
    }

    /// Seconds a backend is estimated to take, and its handicap.
    fn estimate(&self, backend: &dyn Backend<T>, op: Op, shape: &ConvShape, workspace: usize) -> (f64, f64) {
        let rates = if self.limits.reproducible { Rates::reference::<T>(self.isa) } else { self.rates };
        let cost = backend.cost(op, shape);
        let weights = Weights::of(backend.name(), cost.kernel, self.isa.name(), T::NAME, self.layout);
        let terms = Terms::new::<T>(shape, &cost, workspace as f64, &rates, self.isa);
        (terms.seconds(&weights, shape, &cost, self.choice_threads()), weights.handicap)
    }

    fn choice_threads(&self) -> usize {
        if self.limits.reproducible { 1 } else { self.threads }
    }
}

/// The candidate with the least of these times, the first of equals, and its time.
fn fastest(candidates: &[Candidate], time: impl Fn(&Candidate) -> Option<f64>) -> Option<(usize, f64)> {
    let legal = candidates.iter().enumerate().filter(|(_, candidate)| candidate.refusal.is_none());
    let times = legal.filter_map(|(index, candidate)| Some((index, time(candidate)?)));
    times.min_by(|a, b| a.1.total_cmp(&b.1))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

impl<T: Element> std::fmt::Debug for Auto<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.backends.iter().map(|backend| backend.name()).collect();
        let Auto { isa, layout, threads, rates, policy, limits, .. } = self;
        f.debug_struct("Auto")
            .field("backends", &names)
            .field("isa", isa)
            .field("layout", layout)
            .field("threads", threads)
            .field("rates", rates)
            .field("policy", policy)
            .field("limits", limits)
            .finish_non_exhaustive()
    }
}
