//! Whether a time changed: pure functions of pairs of times, without a clock.
//!
//! A pair is the logarithm of the quotient of two times taken within a moment of each other, so that a machine that
//! drifts drifts out of it. The change is the median of the pairs, which nearly half of them may spoil; its interval is
//! found by the bootstrap, which assumes nothing of how the noise is distributed (Efron and Tibshirani, "An
//! Introduction to the Bootstrap", 1993, chapter 13: percentile intervals). What the same statistic says of one program
//! against a copy of itself is known to be no change: as far as that interval reaches is the noise, and a change has to
//! go beyond it.

use oorandom::Rand64;
use std::fmt;

/// How sure an interval is. Higher than the usual 0.95, for a run judges some fifty of them.
pub const CONFIDENCE: f64 = 0.99;

/// Resamples of the bootstrap: 10 lie beyond the interval on either side, so that its ends rest on more than a few.
const RESAMPLES: usize = 2000;

/// Any number would do, but always the same: equal pairs give equal verdicts.
const SEED: u128 = 0x636f_6e76_6772_6164;

/// Fewer pairs are not judged: all n lie on one side of the median with probability 2^(1-n), which 8 bring below 1 %.
pub const MIN_PAIRS: usize = 8;

/// A smaller change than this is not reported, however certain it is. Code that was only moved within a binary runs
/// faster or slower by that: after a change to `direct` alone, `naive` took 2.0 % less time on one thread, certainly
/// (30 pairs on a Zen 5, interval 1.0 % to 2.9 %), and 2.0 % again in fresh rounds.
pub const FLOOR: f64 = 0.03;

/// A change must exceed this share of the row's noise. As that is where a 99 % interval ends, some 2.6 standard errors, it is
/// two of them; the change's own interval has 2.6 to clear besides, and all that twice. Of 8000 rows without a change on the
/// machine of the tests, none was accused; with 1 instead, `--quick` finds a change of 10 % in 89 of 100 runs and not in 94.
pub const NOISE_FACTOR: f64 = 0.75;

/// A row's noise counts as at least this share of the typical row's: one that looks quieter still was lucky.
pub const TYPICAL_SHARE: f64 = 0.5;

/// A change as a logarithm, and the interval in which it lies with [`CONFIDENCE`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub middle: f64,
    pub low: f64,
    pub high: f64,
}

/// Why pairs cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooFewPairs(usize);

impl fmt::Display for TooFewPairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "only {} of its pairs can be used, {MIN_PAIRS} are needed", self.0)
    }
}

/// What came of a row; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Slower,
    Faster,
    NoChange,
}

/// The logarithm of `time / reference`, if both are times: positive and finite.
pub fn log_ratio(time: f64, reference: f64) -> Option<f64> {
    let is_time = |t: f64| t > 0.0 && t.is_finite();
    (is_time(time) && is_time(reference)).then(|| time.ln() - reference.ln())
}

/// The median of finite values.
///
/// # Panics
///
/// If there are none.
pub fn median(values: &mut [f64]) -> f64 {
    let even = values.len().is_multiple_of(2);
    let (below, &mut upper, _) = values.select_nth_unstable_by(values.len() / 2, f64::total_cmp);
    if !even {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (lower + upper) / 2.0
}

impl Estimate {
    /// From the pairs of a row; those that are no finite number are left out.
    pub fn of(pairs: &[f64]) -> Result<Estimate, TooFewPairs> {
        let mut pairs: Vec<f64> = pairs.iter().copied().filter(|pair| pair.is_finite()).collect();
        if pairs.len() < MIN_PAIRS {
            return Err(TooFewPairs(pairs.len()));
        }
        let mut random = Rand64::new(SEED);
        let mut resample = vec![0.0; pairs.len()];
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                resample.fill_with(|| pairs[random.rand_range(0..pairs.len() as u64) as usize]);
                median(&mut resample)
            })
            .collect();
        medians.sort_unstable_by(f64::total_cmp);
        let outside = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64) as usize;
        Ok(Estimate { middle: median(&mut pairs), low: medians[outside], high: medians[RESAMPLES - 1 - outside] })
    }

    /// The largest change the interval allows, in either direction.
    pub fn reach(&self) -> f64 {
        self.low.abs().max(self.high.abs())
    }

    /// What a change beyond `threshold` that no part of the interval denies is called.
    pub fn verdict(&self, threshold: f64) -> Verdict {
        if self.low > 0.0 && self.middle > threshold {
            Verdict::Slower
        } else if self.high < 0.0 && self.middle < -threshold {
            Verdict::Faster
        } else {
            Verdict::NoChange
        }
    }
}

/// What a change must exceed: the floor, the noise, and how coarsely its times were written down.
pub fn threshold(noise: f64, typical_noise: f64, resolution: f64) -> f64 {
    FLOOR.max(NOISE_FACTOR * noise.max(TYPICAL_SHARE * typical_noise)).max(resolution)
}

/// The verdict on a row that was measured twice: what both times say, or nothing.
pub fn confirmed(first: Verdict, again: Verdict) -> Verdict {
    if first == again { first } else { Verdict::NoChange }
}

#[cfg(test)]
mod tests;
