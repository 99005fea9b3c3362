//! The two formulas around the gradient: the error whose derivative starts it, and the step it is taken for.
//!
//! ```text
//! E      = 1/2 sum_p (t_p - y_p)^2        delta = dE/dy = y - t
//! w(t+1) = w(t) - eta * dE/dw
//! ```
//!
//! Both work on plain slices: an output and its target are compared element by element, weights and their gradient too,
//! so all that matters of their layouts is that they are the same.

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
