//! The builder of a [`ConvShape`] and the one place where its sizes are checked against each other.

use super::{AXIS_NAMES, Axis, ConvShape};
use crate::error::Error;

/// One value per spatial axis: an array, or a single number for all of them.
pub trait PerAxis<const R: usize> {
    /// The value of each axis.
    fn per_axis(self) -> [usize; R];
}

impl<const R: usize> PerAxis<R> for usize {
    fn per_axis(self) -> [usize; R] {
        [self; R]
    }
}

impl<const R: usize> PerAxis<R> for [usize; R] {
    fn per_axis(self) -> [usize; R] {
        self
    }
}

/// A problem being described: stride and dilation 1, no padding, one group, until said otherwise.
#[derive(Debug, Clone, Copy)]
#[must_use = "a builder describes nothing until `build` is called"]
pub struct ConvBuilder<const R: usize> {
    batch: usize,
    groups: usize,
    in_channels: usize,
    out_channels: usize,
    input: [usize; R],
    kernel: [usize; R],
    stride: [usize; R],
    dilation: [usize; R],
    padding_begin: [usize; R],
    padding_end: [usize; R],
}

impl ConvShape {
    /// A one-dimensional convolution of `batch` signals of `in_channels` by `input` samples.
    pub fn conv1d(
        batch: usize,
        in_channels: usize,
        input: usize,
        out_channels: usize,
        kernel: usize,
    ) -> ConvBuilder<1> {
        ConvBuilder::new(batch, in_channels, [input], out_channels, [kernel])
    }

    /// A two-dimensional convolution; sizes are `[height, width]`.
    ///
    /// ```
    /// use convgrad::ConvShape;
    /// let shape = ConvShape::conv2d(8, 3, [224, 224], 64, [7, 7]).stride(2).padding(3).build()?;
    /// assert_eq!(shape.output_dims(), [8, 64, 112, 112]);
    /// # Ok::<(), convgrad::Error>(())
    /// ```
    pub fn conv2d(
        batch: usize,
        in_channels: usize,
        input: [usize; 2],
        out_channels: usize,
        kernel: [usize; 2],
    ) -> ConvBuilder<2> {
        ConvBuilder::new(batch, in_channels, input, out_channels, kernel)
    }

    /// A three-dimensional convolution; sizes are `[depth, height, width]`.
    pub fn conv3d(
        batch: usize,
        in_channels: usize,
        input: [usize; 3],
        out_channels: usize,
        kernel: [usize; 3],
    ) -> ConvBuilder<3> {
        ConvBuilder::new(batch, in_channels, input, out_channels, kernel)
    }
}

impl<const R: usize> ConvBuilder<R> {
    fn new(batch: usize, in_channels: usize, input: [usize; R], out_channels: usize, kernel: [usize; R]) -> Self {
        ConvBuilder {
            batch,
            groups: 1,
            in_channels,
            out_channels,
            input,
            kernel,
            stride: [1; R],
            dilation: [1; R],
            padding_begin: [0; R],
            padding_end: [0; R],
        }
    }

    /// Groups the channels are dealt to; `in_channels` groups make a depthwise convolution.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Input positions between two neighbouring outputs.
    pub fn stride(mut self, stride: impl PerAxis<R>) -> Self {
        self.stride = stride.per_axis();
        self
    }

    /// Input positions between two neighbouring taps; 1 is a dense kernel.
    pub fn dilation(mut self, dilation: impl PerAxis<R>) -> Self {
        self.dilation = dilation.per_axis();
        self
    }

    /// Zeros around the input, as many before as after.
    pub fn padding(self, padding: impl PerAxis<R>) -> Self {
        let padding = padding.per_axis();
        self.padding_begin_end(padding, padding)
    }

    /// Zeros before and after the input, each its own.
    pub fn padding_begin_end(mut self, begin: impl PerAxis<R>, end: impl PerAxis<R>) -> Self {
        self.padding_begin = begin.per_axis();
        self.padding_end = end.per_axis();
        self
    }

    /// Checks the sizes against each other.
    ///
    /// # Errors
    /// [`Error::ZeroSize`], [`Error::Groups`], [`Error::KernelTooLarge`] (no output position exists) or
    /// [`Error::TooLarge`] (an operand could not be addressed).
    pub fn build(self) -> Result<ConvShape, Error> {
        let mut axes = [Axis::ABSENT; 3];
        let first = 3 - R;
        for i in 0..R {
            let [input, kernel, stride, dilation] = [self.input[i], self.kernel[i], self.stride[i], self.dilation[i]];
            for (field, size) in [("input", input), ("kernel", kernel), ("stride", stride), ("dilation", dilation)] {
                if size == 0 {
                    return Err(Error::ZeroSize { field });
                }
            }
            let overflow = Error::TooLarge { what: "an axis of the problem" };
            let extent = checked_extent(kernel, dilation).ok_or(overflow.clone())?;
            let padded = input
                .checked_add(self.padding_begin[i])
                .and_then(|n| n.checked_add(self.padding_end[i]))
                .ok_or(overflow)?;
            let Some(span) = padded.checked_sub(extent) else {
                return Err(Error::KernelTooLarge { axis: AXIS_NAMES[first + i], extent, padded });
            };
            let padding = self.padding_begin[i];
            axes[first + i] = Axis { input, kernel, output: span / stride + 1, stride, dilation, padding };
        }
        ConvShape::checked(R, self.batch, self.groups, self.in_channels, self.out_channels, axes)
    }
}

/// `(kernel - 1) * dilation + 1`, for a kernel and dilation of at least 1.
pub(super) fn checked_extent(kernel: usize, dilation: usize) -> Option<usize> {
    (kernel - 1).checked_mul(dilation)?.checked_add(1)
}

impl ConvShape {
    /// The checks every shape passes, however it was described. The sizes of each axis are at least 1.
    pub(super) fn checked(
        rank: usize,
        batch: usize,
        groups: usize,
        in_channels: usize,
        out_channels: usize,
        mut axes: [Axis; 3],
    ) -> Result<ConvShape, Error> {
        let counts =
            [("batch", batch), ("groups", groups), ("in_channels", in_channels), ("out_channels", out_channels)];
        for (field, size) in counts {
            if size == 0 {
                return Err(Error::ZeroSize { field });
            }
        }
        for (field, channels) in [("in_channels", in_channels), ("out_channels", out_channels)] {
            if channels % groups != 0 {
                return Err(Error::Groups { field, channels, groups });
            }
        }
        for a in &mut axes {
            if a.output == 1 {
                // Nothing is a stride apart. A stride of 1 is the same problem, however absurd the one given was.
                a.stride = 1;
            }
            // Positions are computed as isize: the last one touched, and the padding before it, must fit.
            let last =
                (a.output - 1).checked_mul(a.stride).and_then(|n| n.checked_add(checked_extent(a.kernel, a.dilation)?));
            let reach = last.and_then(|n| n.checked_add(a.input)).and_then(|n| n.checked_add(a.padding));
            if reach.is_none_or(|n| n > MAX_ELEMENTS) {
                return Err(Error::TooLarge { what: "an axis of the problem" });
            }
        }
        let operands: [(&'static str, [usize; 5]); 3] = [
            ("the input", [batch, in_channels, axes[0].input, axes[1].input, axes[2].input]),
            ("the output", [batch, out_channels, axes[0].output, axes[1].output, axes[2].output]),
            ("the weights", [out_channels, in_channels / groups, axes[0].kernel, axes[1].kernel, axes[2].kernel]),
        ];
        for (what, dims) in operands {
            let len = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            if len.is_none_or(|n| n > MAX_ELEMENTS) {
                return Err(Error::TooLarge { what });
            }
        }
        Ok(ConvShape { rank, batch, groups, in_channels, out_channels, axes })
    }
}

/// Elements an operand may have: 64 bytes each would still be addressable, which leaves room for an f64 and for the
/// rounding up that packed copies need.
const MAX_ELEMENTS: usize = isize::MAX as usize / 64;
