//! Random problems, drawn over all there can be: every size log-uniform, so that small and large ones are as likely.

use convgrad::ConvShape;
use oorandom::Rand64;

/// Floating point operations of a problem, at most: more take too long for the slowest backend.
const MOST_FLOPS: f64 = 1.5e9;

/// Bytes of operands in `f32`, at most.
const MOST_BYTES: f64 = 96e6;

/// So many problems that differ; the same in every run.
pub fn shapes(seed: u128, count: usize) -> Vec<ConvShape> {
    let mut random = Random(Rand64::new(seed));
    let mut shapes: Vec<ConvShape> = Vec::new();
    while shapes.len() < count {
        let drawn = random.shape().filter(|shape| is_measurable(shape) && !shapes.contains(shape));
        // Tiny ones are the most: half of them will do.
        shapes.extend(drawn.filter(|shape| shape.flops() > 1e5 || random.chance(0.5)));
    }
    shapes
}

/// So many layers as networks have them, which are rare among random problems and frequent in life: 3x3 kernels of stride 1
/// between some channels, and large kernels on few; the same in every run.
pub fn layers(seed: u128, count: usize) -> Vec<ConvShape> {
    let mut random = Random(Rand64::new(seed));
    let mut layers: Vec<ConvShape> = Vec::new();
    while layers.len() < count {
        let drawn = if random.chance(0.6) { random.small_kernel() } else { random.large_kernel() };
        layers.extend(drawn.filter(|shape| is_measurable(shape) && !layers.contains(shape)));
    }
    layers
}

fn is_measurable(shape: &ConvShape) -> bool {
    let elements = |dims: Vec<usize>| dims.iter().product::<usize>() as f64;
    let bytes = 4.0 * (elements(shape.input_dims()) + elements(shape.output_dims()) + elements(shape.weights_dims()));
    shape.flops() <= MOST_FLOPS && bytes <= MOST_BYTES
}

struct Random(Rand64);

impl Random {
    fn chance(&mut self, probability: f64) -> bool {
        self.0.rand_float() < probability
    }

    fn one_of(&mut self, sizes: &[usize]) -> usize {
        sizes[self.0.rand_range(0..sizes.len() as u64) as usize]
    }

    /// From 1 to `most`, its logarithm uniform.
    fn size(&mut self, most: usize) -> usize {
        ((most as f64 + 1.0).ln() * self.0.rand_float()).exp() as usize
    }

    /// A problem in the text form, for that has every field; none where the kernel is larger than the input.
    fn shape(&mut self) -> Option<ConvShape> {
        let rank = self.one_of(&[1, 2, 2, 2, 2, 2, 2, 3]);
        let batch = self.size(64);
        let (groups, ins, outs) = match self.0.rand_float() {
            kind if kind < 0.15 => (self.size(512), 1, self.one_of(&[1, 1, 1, 2])),
            kind if kind < 0.3 => (self.size(64), self.size(64), self.size(64)),
            _ => (1, self.size(1024), self.size(1024)),
        };
        let mut text = format!("mb{batch}g{groups}ic{}oc{}", groups * ins, groups * outs);
        let is_cube = self.chance(0.7);
        let first = self.axis(rank);
        for (i, name) in ["w", "h", "d"][..rank].iter().enumerate() {
            let [input, kernel, stride, dilation, padding] = if i == 0 || is_cube { first } else { self.axis(rank) };
            let extent = (kernel - 1) * dilation + 1;
            let output = (input + 2 * padding).checked_sub(extent)? / stride + 1;
            let gap = dilation - 1;
            text += &format!("i{name}{input}o{name}{output}k{name}{kernel}s{name}{stride}d{name}{gap}p{name}{padding}");
        }
        text.parse().ok()
    }

    fn small_kernel(&mut self) -> Option<ConvShape> {
        let [ic, oc] = [8 * self.size(64), 8 * self.size(64)];
        let (batch, groups, image) = (self.size(32), self.one_of(&[1, 1, 1, 2]), 3 + self.size(110));
        format!("mb{batch}g{groups}ic{ic}ih{image}oc{oc}oh{image}kh3ph1").parse().ok()
    }

    fn large_kernel(&mut self) -> Option<ConvShape> {
        let [ic, oc] = [self.size(16), self.size(16)];
        let (batch, kernel) = (self.size(8), 2 + self.size(29));
        let image = kernel + self.size(250);
        format!("mb{batch}ic{ic}ih{image}oc{oc}kh{kernel}").parse().ok()
    }

    /// Input, kernel, stride, dilation, padding.
    fn axis(&mut self, rank: usize) -> [usize; 5] {
        let kernel = if self.chance(0.4) { self.size(31) } else { self.one_of(&[1, 3, 3, 3, 5, 7]) };
        let stride = self.one_of(&[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4]);
        let dilation = if self.chance(0.85) { 1 } else { self.one_of(&[2, 2, 3, 4]) };
        let padding = if self.chance(0.33) { 0 } else { (kernel - 1) * dilation / 2 };
        let input = self.size([20_000, 512, 64][rank - 1]);
        [input, kernel, stride, dilation, padding]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_the_same_every_time_and_of_every_kind() {
        let shapes = super::shapes(7, 400);
        assert_eq!(shapes, super::shapes(7, 400));
        assert_ne!(shapes, super::shapes(8, 400));
        let count = |is: fn(&ConvShape) -> bool| shapes.iter().filter(|shape| is(shape)).count();
        assert!(count(|shape| shape.rank() == 1) > 20 && count(|shape| shape.rank() == 3) > 20);
        assert!(count(|shape| shape.groups() > 1) > 60);
        assert!(count(|shape| shape.flops() < 1e6) > 40 && count(|shape| shape.flops() > 1e8) > 40);
        assert!(shapes.iter().all(is_measurable));
    }
}
