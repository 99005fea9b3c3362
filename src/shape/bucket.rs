//! Shapes so alike that what is fastest for one is fastest for the other.
//!
//! Sentences, recordings and the last batch of an epoch have lengths of their own; a measurement for each of them would never
//! end. So long axes and large batches count as the next shorter length of which there are eight to the octave. Channels,
//! groups, kernels, strides, dilations and padding stay: on them depends which kernels fit at all.

use super::{Axis, ConvShape};

/// Lengths up to this one differ: there, one position more or less may fill a vector or a tile.
const LEAST: usize = 64;

/// Batches up to this one differ.
const LEAST_BATCH: usize = 8;

/// Lengths to the octave.
const STEPS: usize = 8;

impl ConvShape {
    /// The shape that stands for this one and those little larger or smaller.
    pub(crate) fn bucket(&self) -> ConvShape {
        let mut bucket = *self;
        bucket.batch = round_down(self.batch, LEAST_BATCH);
        for axis in &mut bucket.axes {
            if let Some(shorter) = shorter(axis) {
                *axis = shorter;
            }
        }
        bucket
    }
}

/// The axis with an input of the next length down and as many outputs as fit, if there are any.
fn shorter(axis: &Axis) -> Option<Axis> {
    let input = round_down(axis.input, LEAST);
    let fewer = (axis.input - input).div_ceil(axis.stride);
    // Tail ends of the input that no output reads stay what they are, so that the shape is a valid one.
    (axis.output > fewer + 1).then(|| {
        let output = axis.output - fewer;
        let input = axis.input - fewer * axis.stride;
        Axis { input, output, ..*axis }
    })
}

fn round_down(size: usize, least: usize) -> usize {
    if size <= least {
        return size;
    }
    // `least` is no less than the number of steps, so that a step is one position or more.
    let step = (1 << size.ilog2()) / STEPS;
    size / step * step
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(text: &str) -> String {
        text.parse::<ConvShape>().unwrap().bucket().to_string()
    }

    #[test]
    fn long_axes_and_large_batches_are_rounded_and_nothing_else() {
        for (text, expected) in [
            ("mb1ic3ih64oc8oh64kh3ph1", "mb1ic3ih64oc8oh64kh3ph1"),
            ("mb8ic3ih71oc8oh71kh3ph1", "mb8ic3ih64oc8oh64kh3ph1"),
            ("mb33ic3ih224oc64oh112kh7sh2ph3", "mb32ic3ih224oc64oh112kh7sh2ph3"),
            ("mb1ic100iw16383oc100ow16383kw5pw2", "mb1ic100iw15360oc100ow15360kw5pw2"),
            ("mb9ic3ih7oc8oh7kh3ph1", "mb9ic3ih7oc8oh7kh3ph1"),
        ] {
            assert_eq!(bucket(text), expected.parse::<ConvShape>().unwrap().to_string(), "{text}");
        }
    }

    #[test]
    fn a_bucket_is_a_valid_shape_and_its_own_bucket() {
        for input in 65..400 {
            for (kernel, stride, padding) in [(1, 1, 0), (3, 1, 1), (7, 2, 3), (65, 1, 0), (5, 3, 1), (64, 64, 0)] {
                let shape = ConvShape::conv1d(20, 4, input, 4, kernel).stride(stride).padding(padding).build().unwrap();
                let bucket = shape.bucket();
                assert_eq!(bucket.to_string().parse::<ConvShape>().unwrap(), bucket, "{shape}");
                assert!(bucket.terms() <= shape.terms() && 2 * bucket.terms() >= shape.terms(), "{shape}: {bucket}");
            }
        }
    }
}
