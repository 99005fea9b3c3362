//! The validated problem: all sizes of one convolution layer, in one to three spatial dimensions.
//!
//! Kernels see every problem as three-dimensional, with leading axes of length 1 where there are fewer. A shape stores
//! the padding before the input and the *output size*; the padding after the input follows from them. Two ways of
//! writing the same sum (a generous end padding that no output reads, or the exact one) are therefore one shape, with
//! one hash and one text form. For the same reason the stride of an axis with a single output is 1.

mod bucket;
mod build;
mod text;

pub use build::{ConvBuilder, PerAxis};
pub use text::NamedShape;

use std::ops::Range;

/// Names of the three spatial axes, in storage order.
pub(crate) const AXIS_NAMES: [&str; 3] = ["depth", "height", "width"];

/// One spatial axis of a problem: sizes of input, kernel and output, and how they meet.
///
/// Output position `o` and kernel position `k` meet at input position `o * stride + k * dilation - padding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Input positions.
    pub input: usize,
    /// Kernel positions (taps).
    pub kernel: usize,
    /// Output positions.
    pub output: usize,
    /// Input positions between two neighbouring outputs.
    pub stride: usize,
    /// Input positions between two neighbouring taps; 1 is a dense kernel.
    pub dilation: usize,
    /// Zeros before the input.
    pub padding: usize,
}

impl Axis {
    /// An axis a problem of fewer dimensions does not have.
    pub(crate) const ABSENT: Axis = Axis { input: 1, kernel: 1, output: 1, stride: 1, dilation: 1, padding: 0 };

    /// Input positions the kernel spans: `(kernel - 1) * dilation + 1`.
    #[inline]
    pub fn extent(&self) -> usize {
        (self.kernel - 1) * self.dilation + 1
    }

    /// The greatest common divisor of stride and dilation: inputs that are met, by any outputs and taps, are multiples of it
    /// apart.
    pub(crate) fn common_step(&self) -> usize {
        let (mut a, mut b) = (self.stride, self.dilation);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// The outputs for which `tap` reads the input and not the padding.
    ///
    /// ```
    /// let axis = convgrad::Axis { input: 5, kernel: 3, output: 5, stride: 1, dilation: 1, padding: 1 };
    /// assert_eq!(axis.valid_outputs(0), 1..5);
    /// assert_eq!(axis.valid_outputs(1), 0..5);
    /// assert_eq!(axis.valid_outputs(2), 0..4);
    /// ```
    #[inline]
    pub fn valid_outputs(&self, tap: usize) -> Range<usize> {
        let shift = tap * self.dilation;
        // A division takes as long as a row of a small problem.
        let outputs = |inputs: usize| if self.stride == 1 { inputs } else { inputs.div_ceil(self.stride) };
        let begin = outputs(self.padding.saturating_sub(shift));
        let end = outputs((self.input + self.padding).saturating_sub(shift)).min(self.output);
        begin.min(end)..end
    }

    /// Pairs of an output and a tap that meet the input and not the padding, and the taps that have such a pair; of more than
    /// 64 taps, an estimate from some.
    pub(crate) fn meetings(&self) -> (f64, f64) {
        let step = self.kernel.div_ceil(64);
        let sampled = (0..self.kernel).step_by(step).map(|tap| self.valid_outputs(tap).len());
        let part = self.kernel as f64 / sampled.len() as f64;
        let (pairs, taps) =
            sampled.fold((0.0, 0.0), |(pairs, taps), outputs| (pairs + outputs as f64, taps + f64::from(outputs > 0)));
        (part * pairs, part * taps)
    }

    /// The input position where output `o` meets `tap`; negative or beyond the input means padding.
    #[inline]
    pub fn input_position(&self, o: usize, tap: usize) -> isize {
        (o * self.stride + tap * self.dilation) as isize - self.padding as isize
    }

    /// The output that meets input position `i` at `tap`, if there is one.
    #[inline]
    pub(crate) fn output_at(&self, i: usize, tap: usize) -> Option<usize> {
        let distance = (i + self.padding).checked_sub(tap * self.dilation)?;
        (distance.is_multiple_of(self.stride) && distance / self.stride < self.output).then(|| distance / self.stride)
    }

    /// Zeros after the input that outputs read; negative when trailing input positions are read by no output.
    pub fn padding_end(&self) -> isize {
        ((self.output - 1) * self.stride + self.extent()) as isize - (self.input + self.padding) as isize
    }
}

/// A convolution problem whose sizes are known to fit together.
///
/// Built by [`ConvShape::conv1d`], [`conv2d`](ConvShape::conv2d), [`conv3d`](ConvShape::conv3d) or read from text:
///
/// ```
/// use convgrad::ConvShape;
/// let built = ConvShape::conv2d(8, 64, [56, 56], 64, [3, 3]).padding(1).build()?;
/// let read: ConvShape = "mb8ic64ih56oc64oh56kh3ph1".parse()?;
/// assert_eq!(built, read);
/// assert_eq!(read.to_string(), "mb8ic64ih56oc64oh56kh3ph1");
/// # Ok::<(), convgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    rank: usize,
    batch: usize,
    groups: usize,
    in_channels: usize,
    out_channels: usize,
    axes: [Axis; 3],
}

impl ConvShape {
    /// Spatial dimensions, 1 to 3.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Images in the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Groups the channels are dealt to; each output channel sees the input channels of its own group only.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Input channels, all groups together.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// Output channels, all groups together.
    pub fn out_channels(&self) -> usize {
        self.out_channels
    }

    /// Input channels of one group: the second dimension of the weights.
    #[inline]
    pub fn group_in_channels(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of one group.
    #[inline]
    pub fn group_out_channels(&self) -> usize {
        self.out_channels / self.groups
    }

    /// The three axes depth, height, width; those the problem does not have are of length 1.
    #[inline]
    pub fn axes(&self) -> &[Axis; 3] {
        &self.axes
    }

    /// The axes the problem has, [`rank`](Self::rank) of them.
    pub fn spatial_axes(&self) -> &[Axis] {
        &self.axes[3 - self.rank..]
    }

    /// Number of taps: kernel positions over all axes.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Number of output positions of one channel of one image.
    pub fn output_positions(&self) -> usize {
        self.axes.iter().map(|a| a.output).product()
    }

    /// A layer from this one's output to its input, along the given axes.
    pub(crate) fn transposed(&self, axes: [Axis; 3]) -> ConvShape {
        ConvShape { in_channels: self.out_channels, out_channels: self.in_channels, axes, ..*self }
    }

    /// A number that tells most shapes apart: the sum of the sizes that differ between the layers of a network, each times a
    /// power of 31. As a sum of products, and not one multiplied again and again, it takes no longer than a few of them.
    #[inline]
    pub(crate) fn digest(&self) -> u64 {
        const POWERS: [u64; 9] =
            [31u64.pow(8), 31u64.pow(7), 31u64.pow(6), 31u64.pow(5), 31u64.pow(4), 29_791, 961, 31, 1];
        let [depth, height, width] = &self.axes;
        let sizes = [
            self.batch,
            self.in_channels,
            self.out_channels,
            depth.input,
            height.input,
            width.input,
            height.kernel,
            width.kernel,
            width.stride,
        ];
        let products = sizes.into_iter().zip(POWERS).map(|(size, power)| power.wrapping_mul(size as u64));
        products.fold(0, u64::wrapping_add)
    }

    /// Terms of the sum behind one entry of the weight gradient, padding counted: batch times output positions.
    pub fn terms(&self) -> usize {
        self.batch * self.output_positions()
    }

    /// Entries of the weight gradient.
    pub fn weights_len(&self) -> usize {
        self.out_channels * self.group_in_channels() * self.taps()
    }

    /// Nominal floating point operations of one pass: two per tap, channel pair and output position, padding counted.
    ///
    /// The same number for every algorithm, so that rates compare.
    pub fn flops(&self) -> f64 {
        2.0 * self.terms() as f64 * self.weights_len() as f64
    }

    /// The [`flops`](Self::flops) that are left without the taps that meet the padding, the same for every pass; where there are
    /// more than 64 taps, an estimate.
    pub(crate) fn met_flops(&self) -> f64 {
        let met = self.axes.iter().map(|axis| axis.meetings().0).product::<f64>();
        2.0 * self.batch as f64 * self.out_channels as f64 * self.group_in_channels() as f64 * met
    }

    /// Dimensions `[batch, in_channels, spatial..]` of the layer's input.
    pub fn input_dims(&self) -> Vec<usize> {
        self.with_spatial(self.batch, self.in_channels, |a| a.input)
    }

    /// Dimensions `[batch, out_channels, spatial..]` of the layer's output and of the error `delta` that arrives at it.
    pub fn output_dims(&self) -> Vec<usize> {
        self.with_spatial(self.batch, self.out_channels, |a| a.output)
    }

    /// Dimensions `[out_channels, in_channels / groups, kernel..]` of the weights and of their gradient.
    pub fn weights_dims(&self) -> Vec<usize> {
        self.with_spatial(self.out_channels, self.group_in_channels(), |a| a.kernel)
    }

    /// All taps `[kd, kh, kw]`, in the order of the weights.
    #[inline]
    pub(crate) fn tap_positions(&self) -> impl Iterator<Item = [usize; 3]> + use<> {
        positions(self.axes.map(|a| 0..a.kernel))
    }

    fn with_spatial(&self, first: usize, second: usize, size: impl Fn(&Axis) -> usize) -> Vec<usize> {
        [first, second].into_iter().chain(self.spatial_axes().iter().map(size)).collect()
    }
}

/// All positions of a box, the last axis fastest.
#[inline]
pub(crate) fn positions([d, h, w]: [Range<usize>; 3]) -> impl Iterator<Item = [usize; 3]> + Clone {
    d.flat_map(move |d| {
        let w = w.clone();
        h.clone().flat_map(move |h| w.clone().map(move |w| [d, h, w]))
    })
}

/// A product of sizes that stops at the largest one: scratch of that many elements is refused by any limit or allocator.
#[inline]
pub(crate) fn saturating_product(sizes: impl IntoIterator<Item = usize>) -> usize {
    sizes.into_iter().fold(1, usize::saturating_mul)
}
