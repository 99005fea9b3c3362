//! What results are held against: entries by the definition, in double precision.
//!
//! The bound is one for all contestants, ours included. An entry sums `n` products of numbers drawn independently and
//! evenly around zero, so that after `k` of them the sum is about `s * sqrt(k)`, `s` being the root mean square of a
//! product, and adding the next one is wrong by at most `u` times that, as likely up as down. Over one long chain of
//! additions, the least favourable order in use, these errors add up like a random walk to a root mean square of at
//! most `u * s * n / sqrt(6)`, which is `0.4 * u * sqrt(n)` of the root mean square `s * sqrt(n)` of the entries. The
//! largest of millions of such errors is about five times that, `2 * u * sqrt(n)`, and the bound is eight times as much.
//! For the hundred thousand terms of a large layer it is still an order of magnitude below what operands rounded to 16
//! bits, or one position left out, do to the largest error.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// Half the distance from 1 to the next number of single precision.
const UNIT_ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;

/// The largest distance allowed, over the root mean square of the entries, for sums of `terms` products.
pub fn bound(terms: usize) -> f64 {
    16.0 * UNIT_ROUNDOFF * (terms as f64).sqrt()
}

/// Entries of a result by the definition.
pub struct Expected {
    entries: Vec<(usize, f64)>,
    root_mean_square: f64,
}

impl Expected {
    /// Reads `expected.txt`, one entry a line: index and value.
    pub fn read(directory: &Path) -> Result<Expected> {
        let path = directory.join("expected.txt");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let entry = |line: &str| Some((line.split_once(' ')?.0.parse().ok()?, line.split_once(' ')?.1.parse().ok()?));
        let entries: Option<Vec<(usize, f64)>> = text.lines().map(entry).collect();
        let entries = entries.filter(|entries| !entries.is_empty());
        Ok(Expected::new(entries.with_context(|| format!("{} does not hold entries", path.display()))?))
    }

    fn new(entries: Vec<(usize, f64)>) -> Expected {
        let squares: f64 = entries.iter().map(|(_, value)| value * value).sum();
        Expected { root_mean_square: (squares / entries.len() as f64).sqrt(), entries }
    }

    /// The largest distance of a result's entries from these, over their root mean square; infinite where any entry
    /// of the result is no finite number.
    pub fn error_of(&self, result: &[f32]) -> f64 {
        if result.iter().any(|entry| !entry.is_finite()) {
            return f64::INFINITY;
        }
        let distance = |&(index, value): &(usize, f64)| (f64::from(result[index]) - value).abs();
        match self.entries.iter().map(distance).fold(0.0, f64::max) {
            0.0 => 0.0,
            largest => largest / self.root_mean_square,
        }
    }
}

/// Reads a result that a contestant wrote.
pub fn read_result(path: &Path, len: usize) -> Result<Vec<f32>> {
    let bytes = fs::read(path).context("it wrote no result")?;
    let (numbers, rest) = bytes.as_chunks();
    ensure!(
        numbers.len() == len && rest.is_empty(),
        "it wrote a result of {} bytes, {len} entries have {}",
        bytes.len(),
        len * size_of::<f32>()
    );
    Ok(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_largest_distance_in_units_of_the_root_mean_square() {
        let expected = Expected::new(vec![(0, 3.0), (2, -4.0), (3, 0.0)]);
        let root_mean_square = (25.0f64 / 3.0).sqrt();
        assert_eq!(expected.error_of(&[3.0, 77.0, -4.0, 0.0]), 0.0);
        assert_eq!(expected.error_of(&[3.5, 77.0, -3.0, 0.25]), 1.0 / root_mean_square);
        for wrong in [f32::NAN, f32::INFINITY] {
            assert_eq!(expected.error_of(&[3.0, wrong, -4.0, 0.0]), f64::INFINITY);
        }
        let zero = Expected::new(vec![(0, 0.0)]);
        assert_eq!(zero.error_of(&[0.0]), 0.0);
        assert_eq!(zero.error_of(&[1e-30]), f64::INFINITY);
    }

    /// Numbers drawn evenly from [-1, 1) by a linear congruential generator.
    fn numbers(seed: u64) -> impl Iterator<Item = f32> {
        let mut state = seed;
        std::iter::repeat_with(move || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
    }

    /// The error of many sums of `n` products by `sum`.
    fn error(n: usize, sum: impl Fn(&[f32], &[f32]) -> f32) -> f64 {
        let sums = (0..200u64).map(|i| {
            let a: Vec<f32> = numbers(2 * i + 1).take(n).collect();
            let b: Vec<f32> = numbers((2 * i + 2) << 32).take(n).collect();
            let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            (exact, sum(&a, &b))
        });
        let (exact, computed): (Vec<f64>, Vec<f32>) = sums.unzip();
        Expected::new(exact.into_iter().enumerate().collect()).error_of(&computed)
    }

    fn dot<'a>(a: impl IntoIterator<Item = &'a f32>, b: impl IntoIterator<Item = &'a f32>) -> f32 {
        a.into_iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn sums_in_single_precision_keep_the_bound_and_worse_ones_do_not() {
        let half = |x: &f32| f32::from_bits((x.to_bits() + (1 << 15)) & !0xffff);
        for n in [1, 16, 500, 10_000] {
            let plain = error(n, |a, b| dot(a, b));
            assert!(plain <= bound(n) / 2.0, "{n} terms: {plain:e} with a bound of {:e}", bound(n));
            let rounded = error(n, |a, b| a.iter().zip(b).map(|(a, b)| half(a) * half(b)).sum());
            assert!(rounded > 5.0 * bound(n), "{n} terms: {rounded:e} with a bound of {:e}", bound(n));
            let short = error(n, |a, b| dot(&a[1..], b.iter().skip(1)));
            assert!(short > 5.0 * bound(n), "{n} terms: {short:e} with a bound of {:e}", bound(n));
        }
    }

    #[test]
    fn files_of_another_size_or_form_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("result.f32");
        assert_eq!(read_result(&path, 1).unwrap_err().to_string(), "it wrote no result");
        fs::write(&path, [0, 0, 128, 63, 0]).unwrap();
        assert_eq!(read_result(&path, 1).unwrap_err().to_string(), "it wrote a result of 5 bytes, 1 entries have 4");
        fs::write(&path, [0, 0, 128, 63]).unwrap();
        assert_eq!(read_result(&path, 1).unwrap(), [1.0]);
        for text in ["", "1", "a 1.0", "1 b"] {
            fs::write(directory.path().join("expected.txt"), text).unwrap();
            assert!(Expected::read(directory.path()).is_err(), "{text}");
        }
        fs::write(directory.path().join("expected.txt"), "0 1e0\n2 -2.5e-1\n").unwrap();
        assert_eq!(Expected::read(directory.path()).unwrap().entries, [(0, 1.0), (2, -0.25)]);
    }
}
