//! The statistics on a machine made of random numbers, of which the truth is known.

use super::*;
use crate::compare::{QUICK_ROUNDS, ROUNDS};

/// A machine that drifts, trembles and stalls: no time it gives is worth anything by itself.
struct Machine {
    random: Rand64,
    /// Logarithm of how slow it is now, a walk between -30 % and +30 %.
    drift: f64,
}

impl Machine {
    fn new(seed: u128) -> Machine {
        let mut random = Rand64::new(seed);
        let drift = (random.rand_float() - 0.5) * 0.5;
        Machine { random, drift }
    }

    /// Roughly normal, with variance 1: a sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.random.rand_float()).sum::<f64>() - 6.0
    }

    /// The time it takes for work of one second.
    fn time(&mut self) -> f64 {
        self.drift = (self.drift + 0.01 * self.normal()).clamp(0.7f64.ln(), 1.3f64.ln());
        let jitter = 0.012 * self.normal();
        // One time in eight is disturbed, by 5 % at least; the tail is so heavy that it has no mean.
        let disturbed = self.random.rand_float() < 0.125;
        let spike = if disturbed { 0.05 / (1.0 - self.random.rand_float()) } else { 0.0 };
        (self.drift + jitter).exp() + spike
    }

    /// Pairs of B against A and of A's copy against A, where B's work takes `factor` times A's.
    fn pairs(&mut self, rounds: usize, factor: f64) -> [Vec<f64>; 2] {
        let mut pairs = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let mut times = [0.0; 3];
            for program in crate::compare::rounds::ORDERS[round % 6] {
                times[program] = self.time();
            }
            let [a, copy, b] = times;
            pairs[0].push(log_ratio(factor * b, a).unwrap());
            pairs[1].push(log_ratio(copy, a).unwrap());
        }
        pairs
    }

    fn verdict(&mut self, rounds: usize, factor: f64) -> Verdict {
        let [change, same] = self.pairs(rounds, factor).map(|pairs| Estimate::of(&pairs).unwrap());
        // Its own noise stands for the typical row's, which is less kind than a run of many rows.
        change.verdict(threshold(same.reach(), same.reach(), 0.0))
    }

    /// As a run does it: what looks changed is measured again.
    fn judged(&mut self, rounds: usize, factor: f64) -> Verdict {
        match self.verdict(rounds, factor) {
            Verdict::NoChange => Verdict::NoChange,
            first => confirmed(first, self.verdict(rounds, factor)),
        }
    }
}

/// How many of `trials` machines, each with a seed of its own, find HEAD slower and how many find it faster.
fn count(trials: u128, rounds: usize, factor: f64) -> [usize; 2] {
    let verdicts: Vec<Verdict> = (0..trials).map(|seed| Machine::new(seed).judged(rounds, factor)).collect();
    [Verdict::Slower, Verdict::Faster].map(|verdict| verdicts.iter().filter(|&&v| v == verdict).count())
}

#[test]
fn without_a_change_there_is_no_verdict_whatever_the_machine_does() {
    assert_eq!(count(300, ROUNDS, 1.0), [0, 0]);
    assert_eq!(count(300, QUICK_ROUNDS, 1.0), [0, 0]);
}

#[test]
fn a_change_of_five_percent_is_found_and_never_taken_for_its_opposite() {
    let [slower, faster] = count(300, ROUNDS, 1.05);
    assert!(slower >= 290 && faster == 0, "{slower} slower, {faster} faster");
    let [slower, faster] = count(300, ROUNDS, 1.0 / 1.05);
    assert!(slower == 0 && faster >= 290, "{slower} slower, {faster} faster");
}

#[test]
fn a_change_of_ten_percent_is_found_by_the_quick_run() {
    let [slower, faster] = count(200, QUICK_ROUNDS, 1.10);
    assert!(slower >= 175 && faster == 0, "{slower} slower, {faster} faster");
}

/// Of 2000 intervals as many miss the truth as [`CONFIDENCE`] says, give or take three standard deviations.
#[test]
fn the_interval_covers_the_truth_as_often_as_it_says() {
    let trials = 2000;
    let misses = (0..trials).filter(|&seed| {
        let [pairs, _] = Machine::new(seed).pairs(ROUNDS, 1.05);
        let Estimate { low, high, .. } = Estimate::of(&pairs).unwrap();
        !(low..=high).contains(&1.05f64.ln())
    });
    let misses = misses.count() as f64;
    let expected = (1.0 - CONFIDENCE) * trials as f64;
    assert!((misses - expected).abs() < 3.0 * expected.sqrt(), "{misses} misses, {expected} expected");
}

#[test]
fn equal_pairs_give_equal_intervals() {
    let [pairs, _] = Machine::new(7).pairs(30, 1.05);
    assert_eq!(Estimate::of(&pairs), Estimate::of(&pairs));
}

#[test]
fn times_without_any_noise_are_judged_by_the_floor() {
    let estimate = |ratio: f64| Estimate::of(&[ratio.ln(); 12]).unwrap();
    let judge = |ratio: f64| estimate(ratio).verdict(threshold(estimate(1.0).reach(), 0.0, 0.0));
    assert_eq!(estimate(1.0), Estimate { middle: 0.0, low: 0.0, high: 0.0 });
    assert_eq!(judge(1.0), Verdict::NoChange);
    assert_eq!([judge(1.0 + 0.9 * FLOOR), judge(1.0 - 0.9 * FLOOR)], [Verdict::NoChange; 2]);
    assert_eq!([judge(1.0 + 1.1 * FLOOR), judge(1.0 - 1.1 * FLOOR)], [Verdict::Slower, Verdict::Faster]);
}

#[test]
fn a_threshold_is_the_largest_of_its_reasons() {
    assert_eq!(threshold(0.0, 0.0, 0.0), FLOOR);
    assert_eq!(threshold(0.5, 0.1, 0.0), NOISE_FACTOR * 0.5);
    assert_eq!(threshold(0.0, 0.5, 0.0), NOISE_FACTOR * TYPICAL_SHARE * 0.5, "a lucky row is not a quiet row");
    assert_eq!(threshold(0.0, 0.0, 0.3), 0.3);
}

#[test]
fn an_uncertain_change_is_none_however_large() {
    // Half of the pairs say twice as slow, the other half a little faster.
    let pairs: Vec<f64> = (0..30).map(|i| if i % 2 == 0 { 0.7 } else { -0.1 }).collect();
    let estimate = Estimate::of(&pairs).unwrap();
    assert!(estimate.middle > 0.2 && estimate.low < 0.0, "{estimate:?}");
    assert_eq!(estimate.verdict(FLOOR), Verdict::NoChange);
}

#[test]
fn a_change_must_show_a_second_time() {
    use Verdict::{Faster, NoChange, Slower};
    assert_eq!(confirmed(Slower, Slower), Slower);
    assert_eq!(confirmed(Faster, Faster), Faster);
    for (first, again) in [(Slower, NoChange), (Slower, Faster), (Faster, NoChange), (Faster, Slower)] {
        assert_eq!(confirmed(first, again), NoChange);
    }
}

#[test]
fn what_is_no_time_makes_no_pair_and_few_pairs_no_verdict() {
    assert_eq!(log_ratio(2.0, 2.0), Some(0.0));
    for (time, reference) in [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (f64::NAN, 1.0), (1.0, f64::INFINITY), (0.0, 0.0)] {
        assert_eq!(log_ratio(time, reference), None, "{time} / {reference}");
    }
    assert_eq!(Estimate::of(&[]), Err(TooFewPairs(0)));
    assert_eq!(Estimate::of(&[0.1]), Err(TooFewPairs(1)));
    let mut pairs = vec![0.1; MIN_PAIRS - 1];
    pairs.extend([f64::NAN, f64::INFINITY]);
    assert_eq!(Estimate::of(&pairs), Err(TooFewPairs(MIN_PAIRS - 1)));
    pairs.push(0.1);
    assert_eq!(Estimate::of(&pairs).unwrap().middle, 0.1);
}

#[test]
fn the_median_of_few_values() {
    assert_eq!(median(&mut [3.0]), 3.0);
    assert_eq!(median(&mut [3.0, 1.0]), 2.0);
    assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&mut [4.0, 1.0, 3.0, 2.0]), 2.5);
}
