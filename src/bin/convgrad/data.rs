//! Memory that may be refused, and the numbers put into it: the same ones in every run.

use anyhow::{Result, anyhow};
use convgrad::{
    Backend, BiasGradient, ConvShape, Element, Forward, InputGradient, Layout, Op, Problem, Update, View, ViewMut,
    WeightGradient,
};

/// What the passes of a layer read, in whatever memory order it is then read.
pub struct Operands<T> {
    /// Elements of the layer's input.
    pub input: Vec<T>,
    /// Elements of the error arriving at its output.
    pub delta: Vec<T>,
    /// Its weights.
    pub weights: Vec<T>,
    /// One number for each output channel.
    pub bias: Vec<T>,
}

/// Terms of the sum behind one entry of the result of a pass.
fn terms(op: Op, shape: &ConvShape) -> usize {
    match op {
        Op::Forward => shape.group_in_channels() * shape.taps() + 1,
        Op::InputGradient => shape.group_out_channels() * shape.taps(),
        _ => shape.terms(),
    }
}

impl<T: Element> Operands<T> {
    /// Numbers drawn uniformly from [-1, 1).
    pub fn uniform(shape: &ConvShape) -> Result<Operands<T>> {
        let mut random = Random::new();
        Operands::of(shape, || T::from_f64(random.uniform()))
    }

    /// Small integers whose products sum up exactly: no partial sum of one entry of the result exceeds `1/u`, up to which
    /// `T` has all integers.
    ///
    /// Where an entry has too many terms even for factors of 1, most deltas and weights are 0.
    pub fn integers(op: Op, shape: &ConvShape) -> Result<Operands<T>> {
        let mut random = Random::new();
        let budget = 1.0 / T::UNIT_ROUNDOFF / terms(op, shape) as f64;
        let largest = budget.sqrt().floor().clamp(1.0, 4.0);
        let mut operands = Operands::of(shape, || T::from_f64(random.integer(largest)))?;
        if budget < 1.0 {
            // Half of what fits, so that chance does not exceed it: by then the terms kept are millions.
            let kept = budget / 2.0;
            let thinned = operands.delta.iter_mut().chain(&mut operands.weights);
            for number in thinned.filter(|_| random.uniform().abs() >= kept) {
                *number = T::default();
            }
        }
        Ok(operands)
    }

    fn of(shape: &ConvShape, mut number: impl FnMut() -> T) -> Result<Operands<T>> {
        Ok(Operands {
            input: filled(shape.input_dims().iter().product(), &mut number)?,
            delta: filled(shape.output_dims().iter().product(), &mut number)?,
            weights: filled(shape.weights_len(), &mut number)?,
            bias: filled(shape.out_channels(), &mut number)?,
        })
    }

    /// The operands in double precision, changed by `change`.
    pub fn map(&self, change: impl Fn(f64) -> f64) -> Result<Operands<f64>> {
        let mapped = |numbers: &[T]| {
            let mut numbers = numbers.iter().map(|x| change(x.to_f64()));
            filled(numbers.len(), || numbers.next().unwrap_or_default())
        };
        let [input, delta] = [mapped(&self.input)?, mapped(&self.delta)?];
        Ok(Operands { input, delta, weights: mapped(&self.weights)?, bias: mapped(&self.bias)? })
    }

    /// The pass on these operands that overwrites `result`.
    fn problem<'a>(
        &'a self,
        op: Op,
        shape: &'a ConvShape,
        layout: Layout,
        result: &'a mut [T],
    ) -> Result<Problem<'a, T>> {
        let input = View::new(&self.input, &shape.input_dims(), layout)?;
        let delta = View::new(&self.delta, &shape.output_dims(), layout)?;
        let weights = View::nchw(&self.weights, &shape.weights_dims())?;
        let (dims, layout) = result_form(op, shape, layout);
        let result = ViewMut::new(result, &dims, layout)?;
        let update = Update::overwrite();
        Ok(match op {
            Op::BiasGradient => Problem::BiasGradient(BiasGradient::new(shape, delta, result, update)?),
            Op::Forward => Problem::Forward(Forward::new(shape, input, weights, Some(&self.bias), result)?),
            Op::InputGradient => Problem::InputGradient(InputGradient::new(shape, weights, delta, result, update)?),
            _ => Problem::WeightGradient(WeightGradient::new(shape, input, delta, result, update)?),
        })
    }

    /// The result of a pass, written over NaN: an entry the backend leaves out cannot pass.
    pub fn compute(&self, backend: &dyn Backend<T>, op: Op, shape: &ConvShape, layout: Layout) -> Result<Vec<T>> {
        let mut result = filled(result_len(op, shape), || T::from_f64(f64::NAN))?;
        backend.execute_within(self.problem(op, shape, layout, &mut result)?, usize::MAX)?;
        Ok(result)
    }

    /// What [`ErrorScale::Norms`](convgrad::ErrorScale) says of each entry of the result, in its memory order.
    pub fn norms(&self, op: Op, shape: &ConvShape, layout: Layout) -> Result<Vec<f64>> {
        let mut result = filled(result_len(op, shape), T::default)?;
        let norms = self.problem(op, shape, layout, &mut result)?.norms()?;
        let (dims, layout) = result_form(op, shape, layout);
        if layout == Layout::Nchw {
            return Ok(norms);
        }
        let (channels, positions) = (dims[1], dims[2..].iter().product::<usize>());
        let of_entry = |entry: usize| {
            let (image, position, channel) =
                (entry / channels / positions, entry / channels % positions, entry % channels);
            norms[(image * channels + channel) * positions + position]
        };
        Ok((0..norms.len()).map(of_entry).collect())
    }
}

/// Dimensions of the result of a pass, and how it lies in memory: weights and biases in one way only.
fn result_form(op: Op, shape: &ConvShape, layout: Layout) -> (Vec<usize>, Layout) {
    match op {
        Op::BiasGradient => (vec![shape.out_channels()], Layout::Nchw),
        Op::Forward => (shape.output_dims(), layout),
        Op::InputGradient => (shape.input_dims(), layout),
        _ => (shape.weights_dims(), Layout::Nchw),
    }
}

/// Elements of the result of a pass.
pub fn result_len(op: Op, shape: &ConvShape) -> usize {
    result_form(op, shape, Layout::Nchw).0.iter().product()
}

/// `len` values from `value`, or an error where the allocator has not enough.
pub fn filled<T>(len: usize, mut value: impl FnMut() -> T) -> Result<Vec<T>> {
    let mut values = reserved(len)?;
    values.extend((0..len).map(|_| value()));
    Ok(values)
}

/// Room for `len` values, or an error where the allocator has not enough.
pub fn reserved<T>(len: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| too_large(len as f64 * size_of::<T>() as f64))?;
    Ok(values)
}

/// Refuses early what cannot be held all at once: an allocator that promises each part may kill the program over the sum.
pub fn expect_room(bytes: f64) -> Result<()> {
    let refused = bytes >= isize::MAX as f64 || Vec::<u8>::new().try_reserve_exact(bytes as usize).is_err();
    if refused { Err(too_large(bytes)) } else { Ok(()) }
}

/// What is told of so many bytes that the allocator refuses.
pub fn too_large(bytes: f64) -> anyhow::Error {
    let gib = bytes / f64::from(1 << 30);
    anyhow!("{gib:.1} GiB of memory are not to be had; take a smaller batch, fewer backends or a smaller problem")
}

/// Sebastiano Vigna's splitmix64: short, and good enough for numbers that only have to be unlike each other.
pub struct Random(u64);

impl Random {
    /// At the beginning of the one sequence there is.
    pub fn new() -> Random {
        Random(0x9e37_79b9_7f4a_7c15)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [-1, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// A whole number from `-largest` to `largest`.
    fn integer(&mut self, largest: f64) -> f64 {
        ((self.uniform() + 1.0) / 2.0 * (2.0 * largest + 1.0)).floor() - largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_cover_their_range() {
        let mut random = Random::new();
        let mean = (0..100_000).map(|_| random.uniform()).inspect(|x| assert!((-1.0..1.0).contains(x))).sum::<f64>();
        assert!(mean.abs() < 1000.0, "{mean}");
        let mut seen = [false; 9];
        for _ in 0..1000 {
            seen[(random.integer(4.0) + 4.0) as usize] = true;
        }
        assert_eq!(seen, [true; 9]);
    }

    /// The largest sum of magnitudes any gradient entry can meet.
    fn largest_sum(shape: &str) -> f64 {
        let shape: ConvShape = shape.parse().unwrap();
        let operands = Operands::<f32>::integers(Op::WeightGradient, &shape).unwrap();
        let largest = operands.input.iter().fold(0.0, |m, x| x.abs().max(m)) as f64;
        assert!(operands.delta.iter().any(|&x| x != 0.0));
        largest * operands.delta.iter().map(|x| f64::from(x.abs())).sum::<f64>()
    }

    #[test]
    fn integers_sum_exactly() {
        // One output channel each, so that all deltas belong to one sum.
        let limit = f64::from(1 << 24);
        assert!(largest_sum("mb1ic1ih64oc1kh3") <= limit);
        assert!(largest_sum("mb8ic1ih512oc1kh3") <= limit);
        assert!(largest_sum("mb1ic1iw20000000oc1kw2") <= limit);
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(filled(usize::MAX / 16, || 0.0f64).is_err());
        assert!(expect_room(1e30).is_err());
        assert!(expect_room(1e15).is_err());
        assert!(expect_room(1e6).is_ok());
    }
}
