//! Backends timed beside each other on the same problem.

use super::{Timing, interleaved, interleaved_cold};
use crate::backend::Backend;
use crate::element::Element;
use crate::error::Error;
use crate::op::Op;
use crate::problem::{Problem, Update, WeightGradient};
use crate::shape::{ConvShape, saturating_product};
use crate::tensor::{Layout, View, ViewMut};
use std::time::Duration;

/// Whether a call finds its data in the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temperature {
    /// From the call before.
    #[default]
    Warm,
    /// They are emptied before each call.
    Cold,
}

/// How long each backend takes for the weight gradient of a shape, sampled in turns for `min_time` each, on operands of its
/// own in this memory order and with scratch that is allocated beforehand.
///
/// # Errors
/// [`Error::Unsupported`] for the first backend that does not compute it, and [`Error::OutOfMemory`].
///
/// ```
/// use convgrad::measure::{self, Temperature};
/// use convgrad::{Backend, Layout};
/// use std::time::Duration;
///
/// let backends = convgrad::backends::<f32>();
/// let first: &dyn Backend<f32> = &*backends[0];
/// let shape = "mb1ic4ih8oc4kh5".parse()?;
/// let millisecond = Duration::from_millis(1);
/// let times = measure::weight_gradients(&shape, Layout::Nchw, &[first], millisecond, Temperature::Warm)?;
/// assert!(times[0].best > 0.0);
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn weight_gradients<T: Element>(
    shape: &ConvShape,
    layout: Layout,
    backends: &[&dyn Backend<T>],
    min_time: Duration,
    temperature: Temperature,
) -> Result<Vec<Timing>, Error> {
    let op = Op::WeightGradient;
    for backend in backends {
        backend.supports(op, shape)?;
    }
    let [input_dims, delta_dims, dims] = [shape.input_dims(), shape.output_dims(), shape.weights_dims()];
    let scratch_lens = backends.iter().map(|backend| backend.scratch_len(op, shape));
    expect_room::<T>([&input_dims, &delta_dims], shape.weights_len(), scratch_lens)?;

    let mut seed = 0;
    let (input, delta) = (numbers::<T>(&input_dims, &mut seed)?, numbers::<T>(&delta_dims, &mut seed)?);
    let (input, delta) = (View::new(&input, &input_dims, layout)?, View::new(&delta, &delta_dims, layout)?);
    let strides = Layout::Nchw.strides(&dims);
    let mut calls = Vec::new();
    for &backend in backends {
        let mut gradient = filled(shape.weights_len(), T::default)?;
        let mut scratch = filled(backend.scratch_len(op, shape), T::Acc::default)?;
        let (dims, strides) = (&dims, &strides);
        let mut call = move || {
            // Strides are given, since a view that computes its own allocates: much, beside the smallest problems.
            let gradient = ViewMut::strided(&mut gradient, dims, strides, 0)?;
            let problem = WeightGradient::new(shape, input, delta, gradient, Update::overwrite())?;
            backend.execute(Problem::WeightGradient(problem), &mut scratch)
        };
        // What could be refused was refused above: here are the operands, and scratch of the length asked for.
        calls.push(move || call().unwrap_or_else(|error| unreachable!("{error}")));
    }
    Ok(match temperature {
        Temperature::Warm => interleaved(min_time, &mut calls),
        Temperature::Cold => interleaved_cold(min_time, &mut calls),
    })
}

/// Refuses early what cannot be held all at once: an allocator that promises each part may kill the program over the sum.
fn expect_room<T: Element>(
    operands: [&[usize]; 2],
    weights: usize,
    scratch_lens: impl ExactSizeIterator<Item = usize>,
) -> Result<(), Error> {
    let results = weights.saturating_mul(scratch_lens.len());
    let elements = operands.map(|dims| saturating_product(dims.iter().copied())).into_iter().chain([results]);
    let bytes = |elements: usize, size: usize| elements.saturating_mul(size);
    let bytes = elements
        .map(|elements| bytes(elements, size_of::<T>()))
        .chain(scratch_lens.map(|len| bytes(len, size_of::<T::Acc>())))
        .fold(0, usize::saturating_add);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| Error::OutOfMemory { bytes })
}

/// Numbers from -1 to 1, unlike each other.
fn numbers<T: Element>(dims: &[usize], seed: &mut u64) -> Result<Vec<T>, Error> {
    filled(saturating_product(dims.iter().copied()), || {
        // Knuth's linear congruential generator, of which the upper bits are random enough.
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        T::from_f64((*seed >> 33) as f64 / f64::from(1 << 30) - 1.0)
    })
}

fn filled<A>(len: usize, mut value: impl FnMut() -> A) -> Result<Vec<A>, Error> {
    let mut values = Vec::new();
    let bytes = len.saturating_mul(size_of::<A>());
    values.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes })?;
    values.extend((0..len).map(|_| value()));
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::naive::Naive;

    #[test]
    fn what_no_memory_holds_is_refused() {
        let shape: ConvShape = "mb1ic64iw100000000000000oc64ow100000000000000kw1".parse().unwrap();
        let refused =
            weight_gradients::<f32>(&shape, Layout::Nchw, &[&Naive], Duration::from_millis(1), Temperature::Warm);
        assert!(matches!(refused, Err(Error::OutOfMemory { .. })), "{refused:?}");
    }

    #[test]
    fn numbers_lie_between_minus_one_and_one_and_differ() {
        let numbers: Vec<f64> = numbers(&[1000], &mut 0).unwrap();
        assert!(numbers.iter().all(|number| (-1.0..1.0).contains(number)));
        assert!(numbers.iter().sum::<f64>().abs() < 100.0);
        assert_eq!(
            numbers.iter().map(|number| number.to_bits()).collect::<std::collections::BTreeSet<_>>().len(),
            1000
        );
    }
}
