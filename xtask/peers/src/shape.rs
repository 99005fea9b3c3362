//! The sizes of a problem, as its description gives them.
//!
//! Libraries are not to be built with convgrad, which would have to be compiled anew beside each of them and at every
//! change; so what they need to know of a shape is here once more, in the words of convgrad's `ConvShape`.

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Memory order of the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels before positions.
    Nchw,
    /// Channels after positions.
    Nhwc,
}

/// A spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// Input positions.
    pub input: usize,
    /// Taps.
    pub kernel: usize,
    /// Output positions.
    pub output: usize,
    /// Input positions between two outputs.
    pub stride: usize,
    /// Input positions between two taps; 1 is a dense kernel.
    pub dilation: usize,
    /// Zeros before the input.
    pub padding: usize,
}

impl Axis {
    /// The axis a problem of fewer dimensions does not have.
    const ABSENT: Axis = Axis { input: 1, kernel: 1, output: 1, stride: 1, dilation: 1, padding: 0 };

    /// Zeros after the input that outputs read; negative when they leave the end of the input out.
    pub fn padding_end(&self) -> isize {
        let reach = (self.output - 1) * self.stride + (self.kernel - 1) * self.dilation + 1;
        reach.cast_signed() - (self.input + self.padding).cast_signed()
    }

    /// The input position that an output meets at a tap, unless it lies in the padding.
    pub fn input_position(&self, output: usize, tap: usize) -> Option<usize> {
        let position = (output * self.stride + tap * self.dilation).checked_sub(self.padding)?;
        (position < self.input).then_some(position)
    }

    /// The outputs that meet the input at a tap, and not the padding.
    pub fn valid_outputs(&self, tap: usize) -> Range<usize> {
        let shift = tap * self.dilation;
        let begin = self.padding.saturating_sub(shift).div_ceil(self.stride);
        let end = (self.input + self.padding).saturating_sub(shift).div_ceil(self.stride).min(self.output);
        begin.min(end)..end
    }

    /// Whether its outputs follow from the same padding before and after the input.
    fn is_symmetric(&self) -> bool {
        let span = (self.input + 2 * self.padding).checked_sub((self.kernel - 1) * self.dilation + 1);
        // The stride of an axis with one output has no meaning and is 1.
        self.output == 1 || span.is_some_and(|span| span / self.stride + 1 == self.output)
    }
}

/// The sizes of a layer, and the layout of its operands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The problem in convgrad's text form, for programs that read it.
    pub descriptor: String,
    /// Memory order of input and delta.
    pub layout: Layout,
    /// Images.
    pub batch: usize,
    /// Groups the channels are dealt to.
    pub groups: usize,
    /// Input channels of all groups.
    pub in_channels: usize,
    /// Output channels of all groups.
    pub out_channels: usize,
    /// The spatial axes, one to three.
    pub axes: Vec<Axis>,
}

impl Shape {
    /// The axes depth, height and width, those it does not have of length 1.
    pub fn three_axes(&self) -> [Axis; 3] {
        let mut axes = [Axis::ABSENT; 3];
        axes[3 - self.axes.len()..].copy_from_slice(&self.axes);
        axes
    }

    /// Numbers of these dimensions, which lie in the layout of the problem, with channels before positions.
    pub fn channels_first(&self, numbers: &[f32], dims: &[usize]) -> Vec<f32> {
        let (channels, positions) = (dims[1], dims[2..].iter().product::<usize>());
        match self.layout {
            Layout::Nchw => numbers.to_vec(),
            Layout::Nhwc => {
                let images = numbers.chunks(channels * positions);
                let planes = images.flat_map(|image| (0..channels).map(move |channel| &image[channel..]));
                planes.flat_map(|plane| plane.iter().step_by(channels).take(positions)).copied().collect()
            }
        }
    }

    /// Input channels of a group.
    pub fn group_in_channels(&self) -> usize {
        self.in_channels / self.groups
    }

    /// Output channels of a group.
    pub fn group_out_channels(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Taps of the kernel.
    pub fn taps(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Output positions of a channel.
    pub fn output_positions(&self) -> usize {
        self.axes.iter().map(|a| a.output).product()
    }

    /// `[batch, in channels, spatial..]`.
    pub fn input_dims(&self) -> Vec<usize> {
        [self.batch, self.in_channels].into_iter().chain(self.axes.iter().map(|a| a.input)).collect()
    }

    /// `[batch, out channels, spatial..]`.
    pub fn output_dims(&self) -> Vec<usize> {
        [self.batch, self.out_channels].into_iter().chain(self.axes.iter().map(|a| a.output)).collect()
    }

    /// `[out channels, in channels of a group, kernel..]`.
    pub fn weights_dims(&self) -> Vec<usize> {
        [self.out_channels, self.group_in_channels()].into_iter().chain(self.axes.iter().map(|a| a.kernel)).collect()
    }

    /// Entries of the gradient.
    pub fn weights_len(&self) -> usize {
        self.weights_dims().iter().product()
    }

    /// Refuses a shape whose outputs do not follow from the same padding before and after the input, the only kind
    /// that most libraries take.
    ///
    /// # Errors
    /// If they do not.
    pub fn expect_symmetric_padding(&self) -> Result<()> {
        ensure!(self.axes.iter().all(Axis::is_symmetric), "takes the same padding before and after the input only");
        Ok(())
    }
}

#[cfg(feature = "ours")]
impl Shape {
    /// What convgrad knows of a shape.
    pub fn of(shape: &convgrad::ConvShape, layout: Layout) -> Shape {
        let axis = |a: &convgrad::Axis| Axis {
            input: a.input,
            kernel: a.kernel,
            output: a.output,
            stride: a.stride,
            dilation: a.dilation,
            padding: a.padding,
        };
        Shape {
            descriptor: shape.to_string(),
            layout,
            batch: shape.batch(),
            groups: shape.groups(),
            in_channels: shape.in_channels(),
            out_channels: shape.out_channels(),
            axes: shape.spatial_axes().iter().map(axis).collect(),
        }
    }
}

#[cfg(feature = "ours")]
impl From<Layout> for convgrad::Layout {
    fn from(layout: Layout) -> convgrad::Layout {
        match layout {
            Layout::Nchw => convgrad::Layout::Nchw,
            Layout::Nhwc => convgrad::Layout::Nhwc,
        }
    }
}

#[cfg(all(test, feature = "ours"))]
mod tests {
    use super::*;
    use convgrad::ConvShape;

    #[test]
    fn it_agrees_with_convgrad() {
        for text in [
            "mb2g2ic4ih7iw9oc6kh3kw2sh2sw1ph1",
            "mb1ic2iw11oc3kw4dw1pw2",
            "mb1ic2id4ih5iw6oc2kd1kh2kw3",
            "mb1ic1iw1oc1ow1kw3pw2",
            "mb1ic1ih6oc1oh3kh3sh2ph0",
        ] {
            let theirs: ConvShape = text.parse().unwrap();
            let shape = Shape::of(&theirs, Layout::Nchw);
            assert_eq!(shape.input_dims(), theirs.input_dims());
            assert_eq!(shape.output_dims(), theirs.output_dims());
            assert_eq!(shape.weights_dims(), theirs.weights_dims());
            let sizes = (shape.weights_len(), shape.taps(), shape.output_positions());
            assert_eq!(sizes, (theirs.weights_len(), theirs.taps(), theirs.output_positions()));
            for (axis, theirs) in shape.three_axes().iter().zip(theirs.axes()) {
                assert_eq!(axis.padding_end(), theirs.padding_end());
                for tap in 0..axis.kernel {
                    assert_eq!(axis.valid_outputs(tap), theirs.valid_outputs(tap));
                    for output in 0..axis.output {
                        let position = axis.input_position(output, tap);
                        assert_eq!(position.is_some(), theirs.valid_outputs(tap).contains(&output));
                        let expected = theirs.input_position(output, tap);
                        assert!(position.is_none_or(|position| position.cast_signed() == expected));
                    }
                }
            }
        }
    }

    #[test]
    fn padding_that_differs_at_the_two_ends_is_refused() {
        for (text, symmetric) in [
            ("mb1ic1ih5oc1oh5kh3ph1", true),
            // The last input position is read by no output: symmetric all the same.
            ("mb1ic1ih6oc1oh3kh3sh2ph1", true),
            ("mb1ic1ih6oc1oh3kh3sh2ph0", false),
            ("mb1ic1ih5oc1oh4kh3ph1", false),
            ("mb1ic1iw5oc1ow5kw3pw1", true),
        ] {
            let shape = Shape::of(&text.parse().unwrap(), Layout::Nchw);
            assert_eq!(shape.expect_symmetric_padding().is_ok(), symmetric, "{text}");
        }
    }
}
