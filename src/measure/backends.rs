//! Backends timed beside each other on the same problem.

use super::{Timing, contest, interleaved, interleaved_cold};
use crate::backend::Backend;
use crate::element::Element;
use crate::error::Error;
use crate::op::Op;
use crate::problem::{BiasGradient, Forward, InputGradient, Problem, Update, WeightGradient};
use crate::shape::{ConvShape, saturating_product};
use crate::tensor::{Layout, View, ViewMut};
use std::time::{Duration, Instant};

/// Whether a call finds its data in the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Temperature {
    /// From the call before.
    #[default]
    Warm,
    /// They are emptied before each call.
    Cold,
}

/// How long each backend takes for a pass of a layer, sampled in turns for `min_time` each, on operands of its own, of which
/// input, output and delta are in this memory order, and with scratch that is allocated beforehand.
///
/// # Errors
/// [`Error::Unsupported`] for the first backend that does not compute it, and [`Error::OutOfMemory`].
///
/// ```
/// use convgrad::measure::{self, Temperature};
/// use convgrad::{Backend, Layout, Op};
/// use std::time::Duration;
///
/// let backends = convgrad::backends::<f32>();
/// let first: &dyn Backend<f32> = &*backends[0];
/// let shape = "mb1ic4ih8oc4kh5".parse()?;
/// let millisecond = Duration::from_millis(1);
/// let times =
///     measure::passes(Op::WeightGradient, &shape, Layout::Nchw, &[first], millisecond, Temperature::Warm)?;
/// assert!(times[0].best > 0.0);
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn passes<T: Element>(
    op: Op,
    shape: &ConvShape,
    layout: Layout,
    backends: &[&dyn Backend<T>],
    min_time: Duration,
    temperature: Temperature,
) -> Result<Vec<Timing>, Error> {
    with_calls(op, shape, layout, backends, |calls| match temperature {
        Temperature::Warm => interleaved(min_time, calls),
        Temperature::Cold => interleaved_cold(min_time, calls),
    })
}

/// The shortest time of each backend in seconds, where nothing matters but which is the fastest: measuring, which begins now and
/// takes `time`, is for those that may be.
///
/// # Errors
/// As [`passes`].
pub(crate) fn contest_of_passes<T: Element>(
    op: Op,
    shape: &ConvShape,
    layout: Layout,
    backends: &[&dyn Backend<T>],
    time: Duration,
) -> Result<Vec<f64>, Error> {
    let begin = Instant::now();
    with_calls(op, shape, layout, backends, |calls| contest(time.saturating_sub(begin.elapsed()), calls))
}

/// What `measure` makes of the calls of each backend, on operands of their own.
fn with_calls<T: Element, R>(
    op: Op,
    shape: &ConvShape,
    layout: Layout,
    backends: &[&dyn Backend<T>],
    measure: impl FnOnce(&mut [Box<dyn FnMut() + '_>]) -> R,
) -> Result<R, Error> {
    for backend in backends {
        backend.supports(op, shape)?;
    }
    let (input_dims, weights_dims, output_dims) = (shape.input_dims(), shape.weights_dims(), shape.output_dims());
    let bias_dims = vec![shape.out_channels()];
    // What is read, each with its memory order; weights keep theirs.
    let usual = Layout::Nchw;
    let (read, (written, order)) = match op {
        Op::WeightGradient => (vec![(&input_dims, layout), (&output_dims, layout)], (&weights_dims, usual)),
        Op::BiasGradient => (vec![(&output_dims, layout)], (&bias_dims, usual)),
        Op::Forward => {
            (vec![(&input_dims, layout), (&weights_dims, usual), (&bias_dims, usual)], (&output_dims, layout))
        }
        Op::InputGradient => (vec![(&weights_dims, usual), (&output_dims, layout)], (&input_dims, layout)),
    };
    let scratch_lens = backends.iter().map(|backend| backend.scratch_len(op, shape));
    expect_room::<T>(read.iter().map(|&(dims, _)| &**dims), written, scratch_lens)?;

    let mut seed = 0;
    let data = read.iter().map(|(dims, _)| numbers::<T>(dims, &mut seed)).collect::<Result<Vec<_>, _>>()?;
    let operands = data.iter().zip(&read).map(|(data, &(dims, layout))| View::new(data, dims, layout));
    let operands = operands.collect::<Result<Vec<_>, _>>()?;
    let strides = order.strides(written);
    let mut calls: Vec<Box<dyn FnMut() + '_>> = Vec::new();
    for &backend in backends {
        let mut result = filled(written.iter().product(), T::default)?;
        let mut scratch = filled(backend.scratch_len(op, shape), T::Acc::default)?;
        let (operands, strides) = (&operands, &strides);
        let mut call = move || {
            // Strides are given, since a view that computes its own allocates: much, beside the smallest problems.
            let result = ViewMut::strided(&mut result, written, strides, 0)?;
            let update = Update::overwrite();
            let problem = match (op, &operands[..]) {
                (Op::WeightGradient, &[input, delta]) => {
                    Problem::WeightGradient(WeightGradient::new(shape, input, delta, result, update)?)
                }
                (Op::InputGradient, &[weights, delta]) => {
                    Problem::InputGradient(InputGradient::new(shape, weights, delta, result, update)?)
                }
                (Op::Forward, &[input, weights, bias]) => {
                    Problem::Forward(Forward::new(shape, input, weights, Some(bias.data()), result)?)
                }
                (_, operands) => Problem::BiasGradient(BiasGradient::new(shape, operands[0], result, update)?),
            };
            backend.execute(problem, &mut scratch)
        };
        // What could be refused was refused above: here are the operands, and scratch of the length asked for.
        calls.push(Box::new(move || call().unwrap_or_else(|error| unreachable!("{error}"))));
    }
    Ok(measure(&mut calls))
}

/// Refuses early what cannot be held all at once: an allocator that promises each part may kill the program over the sum.
fn expect_room<'d, T: Element>(
    operands: impl Iterator<Item = &'d [usize]>,
    result: &[usize],
    scratch_lens: impl ExactSizeIterator<Item = usize>,
) -> Result<(), Error> {
    let len = |dims: &[usize]| saturating_product(dims.iter().copied());
    let results = len(result).saturating_mul(scratch_lens.len());
    let elements = operands.map(len).chain([results]);
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
        for op in [Op::WeightGradient, Op::BiasGradient, Op::Forward, Op::InputGradient] {
            let millisecond = Duration::from_millis(1);
            let refused = passes::<f32>(op, &shape, Layout::Nchw, &[&Naive], millisecond, Temperature::Warm);
            assert!(matches!(refused, Err(Error::OutOfMemory { .. })), "{op}: {refused:?}");
        }
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
