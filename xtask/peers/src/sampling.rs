//! Timing one contestant's call while the others wait.

use anyhow::Result;
use std::time::Instant;

/// The shortest sample taken: a reading of the clock is then below a thousandth of it.
const SAMPLE_SECONDS: f64 = 50e-6;

/// A turn begins with untimed calls, one at least, for this long: threads of the contestant that was timed before may
/// spin for some milliseconds until they sleep, and the caches hold its data.
const WARM_UP_SECONDS: f64 = 0.01;

/// Seconds of one call, sample by sample, until `seconds` have passed; one sample at least. Short calls are sampled in
/// batches.
pub fn samples(mut call: impl FnMut() -> Result<()>, seconds: f64) -> Result<Vec<f64>> {
    let mut elapsed = |batch: u32| -> Result<f64> {
        let begin = Instant::now();
        for _ in 0..batch {
            call()?;
        }
        Ok(begin.elapsed().as_secs_f64())
    };
    let mut batch = 1;
    let begin = Instant::now();
    loop {
        let sample = elapsed(batch)?;
        let long_enough = sample >= SAMPLE_SECONDS || batch == u32::MAX;
        if long_enough && begin.elapsed().as_secs_f64() >= WARM_UP_SECONDS {
            break;
        }
        if !long_enough {
            // A little beyond the aim, and twofold at least, lest a batch just too short be tried forever.
            let factor = (1.2 * SAMPLE_SECONDS / sample.max(1e-9)).clamp(2.0, 100.0);
            batch = (f64::from(batch) * factor).ceil() as u32;
        }
    }
    let mut samples = Vec::new();
    let begin = Instant::now();
    while samples.is_empty() || begin.elapsed().as_secs_f64() < seconds {
        samples.push(elapsed(batch)? / f64::from(batch));
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::thread::sleep;
    use std::time::Duration;

    #[test]
    fn a_long_call_is_warmed_up_and_sampled_once() {
        let mut calls = 0;
        let call = || {
            calls += 1;
            sleep(Duration::from_millis(11));
            Ok(())
        };
        let samples = samples(call, 1e-3).unwrap();
        assert_eq!((samples.len(), calls), (1, 2));
        assert!(samples[0] >= 0.011);
    }

    #[test]
    fn a_short_call_is_sampled_in_batches() {
        let mut calls = 0u64;
        let begin = Instant::now();
        let samples = samples(
            || {
                calls = std::hint::black_box(calls + 1);
                Ok(())
            },
            5e-3,
        )
        .unwrap();
        let seconds = begin.elapsed().as_secs_f64();
        assert!(calls > 100 * samples.len() as u64, "{calls} calls");
        // Times are those of a call and not of a batch.
        let shortest = samples.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(shortest * calls as f64 <= 2.0 * seconds, "{calls} calls of {shortest} s in {seconds} s");
    }

    #[test]
    fn a_failure_ends_it() {
        assert!(samples(|| bail!("out of order"), 1.0).is_err());
    }
}
