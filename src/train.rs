//! The formulas around the gradients: the error whose derivative starts them, and the step they are taken for.
//!
//! ```text
//! E      = 1/2 sum_p (t_p - y_p)^2              delta = dE/dy = y - t
//! E      = -1/N sum_n ln p[n, label of n]       delta = (p - [label of n]) / N      p[n,c] = e^y[n,c] / sum_c e^y[n,c]
//! w(t+1) = w(t) - eta * dE/dw
//! v(t+1) = mu * v(t) + dE/dw                    w(t+1) = w(t) - eta * v(t+1)
//! ```
//!
//! All work on plain slices: an output and its target are compared element by element, weights and their gradient too,
//! so all that matters of their layouts is that they are the same. It is what examples and tests need; a framework has more.

use crate::element::Element;
use crate::error::Error;

/// Half the squared error of an output `y` against its target `t`, and its derivative with respect to the output, which
/// is what [`Backend::weight_gradient`](crate::Backend::weight_gradient) takes as delta.
///
/// The sum is formed in `f64`; a difference is rounded to `T` once, in `delta`.
///
/// # Errors
/// [`Error::Length`] when `target` or `delta` is not as long as `output`; `delta` is untouched then.
///
/// ```
/// let mut delta = [0.0f32; 3];
/// let error = convgrad::train::half_squared_error(&[1.0, 2.0, 5.0], &[1.0, 4.0, 4.0], &mut delta)?;
/// assert_eq!(error, 0.5 * (4.0 + 1.0));
/// assert_eq!(delta, [0.0, -2.0, 1.0]);
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn half_squared_error<T: Element>(output: &[T], target: &[T], delta: &mut [T]) -> Result<f64, Error> {
    expect_len("target", target.len(), output.len())?;
    expect_len("delta", delta.len(), output.len())?;
    let mut sum = 0.0;
    for ((&y, &t), delta) in output.iter().zip(target).zip(delta) {
        let difference = y.to_f64() - t.to_f64();
        sum += difference * difference;
        *delta = T::from_f64(difference);
    }
    Ok(0.5 * sum)
}

/// One step of gradient descent: `w(t+1) = w(t) - eta * dE/dw`.
///
/// # Errors
/// [`Error::Length`] when `gradient` is not as long as `weights`, which are untouched then.
///
/// ```
/// let mut weights = [1.0f32, -0.5];
/// convgrad::train::sgd_step(&mut weights, &[2.0, -1.0], 0.25)?;
/// assert_eq!(weights, [0.5, -0.25]);
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn sgd_step<T: Element>(weights: &mut [T], gradient: &[T], learning_rate: T) -> Result<(), Error> {
    expect_len("gradient", gradient.len(), weights.len())?;
    let down = T::Acc::from_f64(-1.0) * learning_rate.to_acc();
    for (weight, &slope) in weights.iter_mut().zip(gradient) {
        *weight = T::from_acc(weight.to_acc() + down * slope.to_acc());
    }
    Ok(())
}

/// The mean cross-entropy of the softmax of `logits`, `classes` of them for each label, and its derivative with respect to the
/// logits.
///
/// Exponentials and sums are formed in `f64`, of differences to the largest logit, so that none overflows.
///
/// # Errors
/// [`Error::Length`] when `logits` or `delta` is not as long as labels times classes, and [`Error::Label`] for the first label
/// that is no class; `delta` is untouched then. Without labels the error is 0.
///
/// ```
/// let mut delta = [0.0f64; 4];
/// let error = convgrad::train::softmax_cross_entropy(&[0.0, 0.0, 0.0, 3.0f64.ln()], 2, &[0, 1], &mut delta)?;
/// // The classes' probabilities are 1/2 and 1/2, 1/4 and 3/4.
/// assert!((error - 0.5 * (2.0f64.ln() + (4.0f64 / 3.0).ln())).abs() < 1e-15);
/// assert!(delta.iter().zip([-0.25, 0.25, 0.125, -0.125]).all(|(d, e)| (d - e).abs() < 1e-15));
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn softmax_cross_entropy<T: Element>(
    logits: &[T],
    classes: usize,
    labels: &[usize],
    delta: &mut [T],
) -> Result<f64, Error> {
    let expected = labels.len().saturating_mul(classes);
    expect_len("logits", logits.len(), expected)?;
    expect_len("delta", delta.len(), expected)?;
    if let Some(&label) = labels.iter().find(|&&label| label >= classes) {
        return Err(Error::Label { label, classes });
    }
    let mut sum = 0.0;
    let share = 1.0 / labels.len() as f64;
    for (label, (logits, delta)) in
        labels.iter().zip(logits.chunks_exact(classes.max(1)).zip(delta.chunks_exact_mut(classes.max(1))))
    {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, logit| largest.max(logit.to_f64()));
        let exponentials = |logit: &T| (logit.to_f64() - largest).exp();
        let total: f64 = logits.iter().map(exponentials).sum();
        sum += total.ln() + largest - logits[*label].to_f64();
        for (class, (delta, logit)) in delta.iter_mut().zip(logits).enumerate() {
            let target = f64::from(u8::from(class == *label));
            *delta = T::from_f64((exponentials(logit) / total - target) * share);
        }
    }
    Ok(if labels.is_empty() { 0.0 } else { sum * share })
}

/// One step of gradient descent with momentum: `v(t+1) = mu * v(t) + dE/dw`, `w(t+1) = w(t) - eta * v(t+1)`.
///
/// # Errors
/// [`Error::Length`] when `gradient` or `velocity` is not as long as `weights`; nothing is written then.
///
/// ```
/// let (mut weights, mut velocity) = ([1.0f32], [2.0]);
/// convgrad::train::momentum_step(&mut weights, &[1.0], &mut velocity, 0.25, 0.5)?;
/// assert_eq!((weights, velocity), ([0.5], [2.0]));
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn momentum_step<T: Element>(
    weights: &mut [T],
    gradient: &[T],
    velocity: &mut [T],
    learning_rate: T,
    momentum: T,
) -> Result<(), Error> {
    expect_len("gradient", gradient.len(), weights.len())?;
    expect_len("velocity", velocity.len(), weights.len())?;
    for (velocity, &slope) in velocity.iter_mut().zip(gradient) {
        *velocity = T::from_acc(momentum.to_acc() * velocity.to_acc() + slope.to_acc());
    }
    sgd_step(weights, velocity, learning_rate)
}

fn expect_len(argument: &'static str, given: usize, expected: usize) -> Result<(), Error> {
    if given == expected { Ok(()) } else { Err(Error::Length { argument, given, expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unequal_lengths_are_refused_and_nothing_is_written() {
        let mut delta = [9.0; 2];
        let error = half_squared_error(&[1.0, 2.0], &[1.0], &mut delta).unwrap_err();
        assert_eq!(error, Error::Length { argument: "target", given: 1, expected: 2 });
        let error = half_squared_error(&[1.0], &[1.0], &mut delta).unwrap_err();
        assert_eq!(error, Error::Length { argument: "delta", given: 2, expected: 1 });
        let error = sgd_step(&mut delta, &[1.0; 3], 0.5).unwrap_err();
        assert_eq!(error, Error::Length { argument: "gradient", given: 3, expected: 2 });
        assert_eq!(delta, [9.0; 2]);
        let error = softmax_cross_entropy(&[0.0; 4], 2, &[0, 1], &mut delta).unwrap_err();
        assert_eq!(error, Error::Length { argument: "delta", given: 2, expected: 4 });
        let error = softmax_cross_entropy(&[0.0; 3], 2, &[0], &mut delta).unwrap_err();
        assert_eq!(error, Error::Length { argument: "logits", given: 3, expected: 2 });
        let error = softmax_cross_entropy(&[0.0; 2], 2, &[2], &mut delta).unwrap_err();
        assert_eq!(error, Error::Label { label: 2, classes: 2 });
        assert_eq!(delta, [9.0; 2]);
        let mut weights = [3.0; 2];
        let error = momentum_step(&mut weights, &[1.0; 2], &mut [1.0], 0.5, 0.5).unwrap_err();
        assert_eq!(error, Error::Length { argument: "velocity", given: 1, expected: 2 });
        let error = momentum_step(&mut weights, &[1.0], &mut delta, 0.5, 0.5).unwrap_err();
        assert_eq!(error, Error::Length { argument: "gradient", given: 1, expected: 2 });
        assert_eq!((weights, delta), ([3.0; 2], [9.0; 2]));
    }

    #[test]
    fn the_derivative_of_the_cross_entropy_is_its_slope_and_large_logits_do_not_overflow() {
        let (logits, labels) = ([0.3, -1.2, 2.0, 1000.0, 999.0, -1000.0], [2, 0]);
        let error = |logits: &[f64]| softmax_cross_entropy(logits, 3, &labels, &mut [0.0; 6]).unwrap();
        let mut delta = [f64::NAN; 6];
        softmax_cross_entropy(&logits, 3, &labels, &mut delta).unwrap();
        for (i, slope) in delta.into_iter().enumerate() {
            let [above, below] = [1.0, -1.0].map(|side| {
                let mut moved = logits;
                moved[i] += side * 1e-5;
                error(&moved)
            });
            assert!(((above - below) / 2e-5 - slope).abs() < 1e-8, "{i}: {slope}");
        }
        assert_eq!(softmax_cross_entropy::<f32>(&[], 3, &[], &mut []), Ok(0.0));
        assert_eq!(softmax_cross_entropy::<f32>(&[], 0, &[], &mut []), Ok(0.0));
    }

    #[test]
    fn the_error_of_many_small_differences_is_summed_in_f64() {
        let (output, target) = (vec![1.0f32 / 1024.0; 1 << 20], vec![0.0; 1 << 20]);
        let mut delta = vec![0.0; 1 << 20];
        assert_eq!(half_squared_error(&output, &target, &mut delta).unwrap(), 0.5);
        // In f32 a squared difference of 2^-20 would vanish beside a sum of 32.
        let output = [&[8.0f32][..], &[1.0 / 1024.0; 1024]].concat();
        let error = half_squared_error(&output, &target[..1025], &mut delta[..1025]).unwrap();
        assert_eq!(error, 32.0 + 0.5 / 1024.0);
    }
}
