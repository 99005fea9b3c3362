//! The fit: least squares of the logarithms, so that a tenth too long counts the same for a microsecond and a minute.
//!
//! ```text
//! log seconds = log sum_k w_k * term_k          w_k = exp(v_k), so that no weight is negative
//! d log seconds / d v_k = w_k * term_k / sum    the share of a term
//! ```
//!
//! by Gauss and Newton's method, damped as Levenberg and Marquardt have it. Deviations count by Huber's function, as times that
//! something disturbed are no reason to move all the others; those of a backend far slower than the fastest count little. A
//! weak pull to the prior keeps weights that no time depends on.

use super::times::{Record, Setting, Times, Use};
use convgrad::auto::{Rates, Terms, Weights};
use convgrad::{Isa, Op, Registered};
use std::collections::{BTreeMap, BTreeSet};

/// Where the weights start, and whereto they are pulled: a backend at its word.
const PRIOR: [f64; TERMS] = [500.0, 5.0, 1.0, 0.1, 0.1, 0.1];

const TERMS: usize = 6;

/// The setting with the most times.
const USUAL: [&str; 3] = ["avx512", "f32", "nchw"];

/// A deviation of the prior's logarithm counts as so many times that of a measured one.
const PULL: f64 = 0.02;

/// Deviations beyond this, of the logarithm, count linearly.
const HUBER: f64 = 0.2;

/// Times beyond this many times the fastest count a tenth.
const FAR: f64 = 4.0;

/// What a fit is for: backend and kernel, instruction set, number type, memory order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub backend: String,
    pub kernel: String,
    pub isa: String,
    pub dtype: String,
    pub layout: String,
}

impl Subject {
    pub fn new(backend: &str, kernel: &str, setting: &Setting) -> Subject {
        let Setting { isa, dtype, layout, .. } = setting.clone();
        Subject { backend: backend.to_owned(), kernel: kernel.to_owned(), isa, dtype, layout }
    }
}

/// The weights of every backend in every setting.
pub type Fitted = BTreeMap<Subject, Weights>;

/// One measured time, and what it is made of.
struct Sample {
    terms: [f64; TERMS],
    seconds: f64,
    weight: f64,
}

/// Fits to the times that are for it.
pub fn fit(times: &Times) -> Fitted {
    let mut samples: BTreeMap<Subject, Vec<Sample>> = BTreeMap::new();
    for record in of_fit(times).filter(|record| record.setting.threads == 1) {
        for (backend, terms, cost) in terms_of(times, record) {
            let (seconds, weight) = measured(record, &backend);
            let sample = Sample { terms: terms.0, seconds, weight };
            samples.entry(Subject::new(&backend, cost.kernel, &record.setting)).or_default().push(sample);
        }
    }
    // Settings with few times begin where the same kernel arrived with many.
    let mut fitted = Fitted::new();
    let is_usual =
        |subject: &Subject| subject.isa == USUAL[0] && subject.dtype == USUAL[1] && subject.layout == USUAL[2];
    let (usual, others): (Vec<_>, Vec<_>) = samples.iter().partition(|(subject, _)| is_usual(subject));
    for (subject, samples) in usual.into_iter().chain(others) {
        let [isa, dtype, layout] = USUAL.map(str::to_owned);
        let alike = fitted.get(&Subject { isa, dtype, layout, ..subject.clone() });
        let prior = alike.map_or(PRIOR, Weights::of_terms);
        fitted.insert(subject.clone(), weights(&descend(samples, &prior), 0.0));
    }
    handicap(times, &mut fitted);
    for (subject, weights) in &mut fitted {
        weights.serial = serial(times, subject, *weights);
    }
    fitted
}

/// Makes backends wait: estimates err, and where one is nearly always the fastest, another one's short estimate is more often an
/// error than the truth. Of each backend's handicaps the one is taken with which the regret on the shapes of the fit is least.
fn handicap(times: &Times, fitted: &mut Fitted) {
    // Forward passes and input gradients have the same kernels, of which none computes weight gradients.
    let family = |setting: &Setting| Setting {
        pass: if setting.op() == Op::InputGradient { Op::Forward.name().to_owned() } else { setting.pass.clone() },
        ..setting.clone()
    };
    let settings: BTreeSet<Setting> = of_fit(times).map(|record| family(&record.setting)).collect();
    for setting in settings.into_iter().filter(|setting| setting.threads == 1) {
        let records: Vec<&Record> = of_fit(times).filter(|record| family(&record.setting) == setting).collect();
        let kernels: BTreeSet<(String, &str)> = records
            .iter()
            .flat_map(|record| terms_of(times, record))
            .map(|(name, _, cost)| (name, cost.kernel))
            .collect();
        let contests: Vec<Vec<(String, f64, f64)>> =
            records.into_iter().map(|record| contest(times, record, fitted)).collect();
        let names: BTreeSet<&String> = contests.iter().flatten().map(|(name, ..)| name).collect();
        let mut handicaps: BTreeMap<String, f64> = names.iter().map(|&name| (name.clone(), 1.0)).collect();
        // Each in its turn, twice, as they depend on each other.
        for name in names.iter().chain(&names) {
            let with = |handicap: f64| BTreeMap::from([((*name).clone(), handicap)]);
            let steps = (0..=40).map(|step| 1.05f64.powi(step - 10));
            let regret = |handicap: f64| mean_regret(&contests, &handicaps, &with(handicap));
            let best = steps.min_by(|&a, &b| regret(a).total_cmp(&regret(b))).unwrap_or(1.0);
            handicaps.insert((*name).clone(), best);
        }
        for (name, handicap) in handicaps {
            let of_backend = |subject: &Subject| {
                *subject == Subject::new(&name, &subject.kernel, &setting)
                    && kernels.contains(&(name.clone(), &subject.kernel))
            };
            for (_, weights) in fitted.iter_mut().filter(|(subject, _)| of_backend(subject)) {
                weights.handicap = handicap;
            }
        }
    }
}

/// Each backend's estimate and time.
fn contest(times: &Times, record: &Record, fitted: &Fitted) -> Vec<(String, f64, f64)> {
    let terms = terms_of(times, record).into_iter().filter_map(|(name, terms, cost)| {
        let weights = fitted.get(&Subject::new(&name, cost.kernel, &record.setting))?;
        let estimate = terms.seconds(weights, &record.shape, &cost, 1);
        let ms = record.ms[&name];
        Some((name, estimate, ms))
    });
    terms.collect()
}

/// Of the logarithms, with handicaps on the estimates.
fn mean_regret(
    contests: &[Vec<(String, f64, f64)>],
    handicaps: &BTreeMap<String, f64>,
    changed: &BTreeMap<String, f64>,
) -> f64 {
    let handicap = |name: &String| changed.get(name).or_else(|| handicaps.get(name)).copied().unwrap_or(1.0);
    let regrets = contests.iter().filter_map(|contest| {
        let weighed = contest.iter().map(|(name, estimate, ms)| (estimate * handicap(name), ms));
        let (_, chosen) = weighed.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let best = contest.iter().map(|(.., ms)| *ms).fold(f64::INFINITY, f64::min);
        Some((chosen / best).ln())
    });
    regrets.sum::<f64>() / contests.len() as f64
}

fn of_fit(times: &Times) -> impl Iterator<Item = &Record> {
    times.records.iter().filter(|record| record.purpose == Use::Fit)
}

/// The seconds a backend took, and how much that counts.
fn measured(record: &Record, backend: &str) -> (f64, f64) {
    let best = record.ms.values().copied().fold(f64::INFINITY, f64::min);
    let ms = record.ms[backend];
    (ms / 1e3, if ms > FAR * best { 0.1 } else { 1.0 })
}

fn weights(w: &[f64; TERMS], serial: f64) -> Weights {
    let &[call, loops, flops, l2, l3, dram] = w;
    Weights { call, loops, flops, l2, l3, dram, serial, handicap: 1.0 }
}

/// Prints how far the estimates on one thread are from the times, by what they are for: the root mean square of the logarithm.
pub fn print_deviations(times: &Times, fitted: &Fitted) {
    let mut squares: BTreeMap<Subject, Vec<f64>> = BTreeMap::new();
    for record in times.records.iter().filter(|record| record.setting.threads == 1) {
        for (name, terms, cost) in terms_of(times, record) {
            let subject = Subject::new(&name, cost.kernel, &record.setting);
            let Some(weights) = fitted.get(&subject) else { continue };
            let deviation = (terms.seconds(weights, &record.shape, &cost, 1) * 1e3 / record.ms[&name]).ln();
            squares.entry(subject).or_default().push(deviation * deviation);
        }
    }
    for (Subject { backend, kernel, isa, dtype, layout }, squares) in squares {
        let deviation = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
        println!("{isa}-{dtype}-{layout:5} {backend:13} {kernel:16} {:5} times  {deviation:5.2}", squares.len());
    }
}

/// What each backend that was timed says it spends.
pub fn terms_of(times: &Times, record: &Record) -> Vec<(String, Terms, convgrad::Cost)> {
    match record.setting.dtype.as_str() {
        "f64" => terms_in::<f64>(times, record),
        _ => terms_in::<f32>(times, record),
    }
}

fn terms_in<T: Registered>(times: &Times, record: &Record) -> Vec<(String, Terms, convgrad::Cost)> {
    let Setting { isa: isa_name, dtype, .. } = &record.setting;
    let Ok(isa) = Isa::by_name(isa_name) else { return Vec::new() };
    let Some(rates): Option<&Rates> = times.rates.get(&(isa_name.clone(), dtype.clone())) else { return Vec::new() };
    let all = convgrad::backends_on::<T>(isa);
    let backends = all.iter().filter(|backend| record.ms.contains_key(backend.name()));
    let terms = backends.map(|backend| {
        let cost = backend.cost(record.setting.op(), &record.shape);
        let scratch = (backend.scratch_len(record.setting.op(), &record.shape) * size_of::<T::Acc>()) as f64;
        (backend.name().to_owned(), Terms::new::<T>(&record.shape, &cost, scratch, rates, isa), cost)
    });
    terms.collect()
}

/// The weights whose squared deviations are the least.
fn descend(samples: &[Sample], prior: &[f64; TERMS]) -> [f64; TERMS] {
    let prior = prior.map(f64::ln);
    let mut v = prior;
    let mut damping = 1e-2;
    let mut least = loss(samples, &v, &prior);
    for _ in 0..200 {
        let (matrix, slope) = normal_equations(samples, &v, &prior, damping);
        let step = solve(matrix, slope);
        let next: [f64; TERMS] = std::array::from_fn(|k| v[k] + step[k].clamp(-1.0, 1.0));
        let loss = loss(samples, &next, &prior);
        if loss < least {
            (v, damping) = (next, damping * 0.3);
            if least - loss < 1e-9 * least {
                break;
            }
            least = loss;
        } else {
            damping *= 4.0;
        }
        if damping > 1e9 {
            break;
        }
    }
    v.map(f64::exp)
}

fn predicted(terms: &[f64; TERMS], v: &[f64; TERMS]) -> f64 {
    terms.iter().zip(v).map(|(term, v)| term * v.exp()).sum()
}

fn loss(samples: &[Sample], v: &[f64; TERMS], prior: &[f64; TERMS]) -> f64 {
    let huber = |deviation: f64| match deviation.abs() {
        far if far > HUBER => HUBER * (2.0 * far - HUBER),
        near => near * near,
    };
    let of_samples: f64 = samples.iter().map(|s| s.weight * huber((predicted(&s.terms, v) / s.seconds).ln())).sum();
    let of_prior: f64 = v.iter().zip(prior).map(|(v, prior)| (v - prior).powi(2)).sum();
    of_samples + PULL * samples.len() as f64 / 100.0 * of_prior
}

/// The matrix and the right side of a step.
fn normal_equations(
    samples: &[Sample],
    v: &[f64; TERMS],
    prior: &[f64; TERMS],
    damping: f64,
) -> ([[f64; TERMS]; TERMS], [f64; TERMS]) {
    let mut matrix = [[0.0; TERMS]; TERMS];
    let mut slope = [0.0; TERMS];
    for sample in samples {
        let sum = predicted(&sample.terms, v);
        let deviation = (sum / sample.seconds).ln();
        let weight = sample.weight * (HUBER / deviation.abs()).min(1.0);
        let shares: [f64; TERMS] = std::array::from_fn(|k| sample.terms[k] * v[k].exp() / sum);
        for i in 0..TERMS {
            slope[i] -= weight * shares[i] * deviation;
            for j in 0..TERMS {
                matrix[i][j] += weight * shares[i] * shares[j];
            }
        }
    }
    let pull = PULL * samples.len() as f64 / 100.0;
    for k in 0..TERMS {
        slope[k] -= pull * (v[k] - prior[k]);
        matrix[k][k] = (matrix[k][k] + pull) * (1.0 + damping);
    }
    (matrix, slope)
}

/// Gauss's elimination; the matrix is positive definite, so no pivot is sought.
fn solve(mut matrix: [[f64; TERMS]; TERMS], mut right: [f64; TERMS]) -> [f64; TERMS] {
    for k in 0..TERMS {
        for i in k + 1..TERMS {
            let factor = matrix[i][k] / matrix[k][k];
            let pivot = matrix[k];
            matrix[i].iter_mut().zip(pivot).for_each(|(entry, above)| *entry -= factor * above);
            right[i] -= factor * right[k];
        }
    }
    for k in (0..TERMS).rev() {
        let known: f64 = (k + 1..TERMS).map(|j| matrix[k][j] * right[j]).sum();
        right[k] = (right[k] - known) / matrix[k][k];
    }
    right
}

/// The part that threads do not share: of a hundred parts the one that fits the times on several threads best.
fn serial(times: &Times, subject: &Subject, weights: Weights) -> f64 {
    let mut samples = Vec::new();
    for record in of_fit(times).filter(|record| record.setting.threads > 1) {
        let is_subject = |backend: &str, kernel| Subject::new(backend, kernel, &record.setting) == *subject;
        let of_subject = terms_of(times, record).into_iter().find(|(name, _, cost)| is_subject(name, cost.kernel));
        samples.extend(of_subject.map(|(_, terms, cost)| (record, terms, cost)));
    }
    if samples.is_empty() {
        return PRIOR_SERIAL;
    }
    let deviation = |serial: f64| -> f64 {
        let with = Weights { serial, ..weights };
        let deviations = samples.iter().map(|(record, terms, cost)| {
            let (seconds, weight) = measured(record, &subject.backend);
            weight * (terms.seconds(&with, &record.shape, cost, record.setting.threads) / seconds).ln().abs()
        });
        deviations.sum()
    };
    let parts = (0..=100).map(|part| f64::from(part) / 100.0);
    parts.min_by(|&a, &b| deviation(a).total_cmp(&deviation(b))).unwrap_or(PRIOR_SERIAL)
}

/// Where nothing was timed on several threads.
const PRIOR_SERIAL: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_made_the_times_are_found() {
        let made = [900.0, 8.0, 1.3, 0.3, 0.05, 0.5];
        let mut random = oorandom::Rand64::new(1);
        let mut samples = Vec::new();
        for i in 0..600 {
            let terms: [f64; TERMS] = std::array::from_fn(|k| 10f64.powf(4.0 * random.rand_float()) / PRIOR[k]);
            let seconds = terms.iter().zip(made).map(|(term, w)| term * w).sum::<f64>();
            // One in ten was disturbed.
            let disturbance = if i % 10 == 0 { 2.0 } else { 1.0 };
            samples.push(Sample { terms, seconds: seconds * disturbance, weight: 1.0 });
        }
        for (found, made) in descend(&samples, &PRIOR).into_iter().zip(made) {
            assert!((found / made).ln().abs() < 0.15, "{found} for {made}");
        }
    }

    #[test]
    fn a_system_of_equations_is_solved() {
        let mut matrix = [[0.5; TERMS]; TERMS];
        (0..TERMS).for_each(|k| matrix[k][k] = 3.0 + k as f64);
        let x: [f64; TERMS] = std::array::from_fn(|k| k as f64 - 2.0);
        let right = std::array::from_fn(|i| (0..TERMS).map(|j| matrix[i][j] * x[j]).sum());
        for (solved, x) in solve(matrix, right).into_iter().zip(x) {
            assert!((solved - x).abs() < 1e-12);
        }
    }
}
