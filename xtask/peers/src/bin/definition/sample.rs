//! Which entries of a result the definition is computed for: a loop over all would take minutes on large problems.
//!
//! The weights between two channels are those of a problem of their own, and so are an image's outputs in one channel, and the
//! gradients of its inputs; so a few images, groups and channels are picked, spread evenly and with the first and the last among
//! them, where blocks of channels end and their remainders lie.

use anyhow::Result;
use convgrad::ConvShape;
use peers::Pass;

/// About a fifth of a second of the definition's loops.
const FLOPS: f64 = 2e8;

/// Entries beyond which writing and reading them takes longer than computing them.
const ENTRIES: usize = 1 << 16;

/// The images and groups picked, and the channels picked in each group, counted from its first.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub images: Vec<usize>,
    pub groups: Vec<usize>,
    pub outputs: Vec<usize>,
    pub inputs: Vec<usize>,
}

impl Sample {
    /// As many as can be computed without being noticed.
    pub fn affordable(pass: Pass, shape: &ConvShape) -> Sample {
        Sample::within(pass, shape, FLOPS, ENTRIES)
    }

    /// As many as stay within both limits, but no fewer than two of each that the entries are told apart by, of those there are.
    pub fn within(pass: Pass, shape: &ConvShape, flops: f64, entries: usize) -> Sample {
        let totals = [shape.batch(), shape.groups(), shape.group_out_channels(), shape.group_in_channels()];
        let [_, _, outputs, inputs] = totals;
        // What each entry is summed over is taken whole.
        let (summed, positions) = match pass {
            Pass::Wgrad => (0, shape.taps()),
            Pass::Forward => (3, shape.output_positions()),
            Pass::Dgrad => (2, shape.axes().map(|axis| axis.input).iter().product()),
        };
        let flops_of_all = shape.flops() / (shape.batch() * shape.groups() * outputs * inputs) as f64;
        let mut counts = totals;
        loop {
            let planes: usize = (0..4).filter(|&i| i != summed).map(|i| counts[i]).product();
            let products = counts.iter().map(|&count| count as f64).product::<f64>() * flops_of_all;
            let fits = planes * positions <= entries && products <= flops;
            let largest = (0..4).filter(|&i| i != summed).max_by_key(|&i| counts[i]);
            match largest {
                Some(largest) if !fits && counts[largest] > 2 => counts[largest] = counts[largest].div_ceil(2),
                _ => break,
            }
        }
        let [images, groups, outputs, inputs] = [0, 1, 2, 3].map(|i| spread(totals[i], counts[i]));
        Sample { images, groups, outputs, inputs }
    }

    /// The problem that the picked channels of one group are.
    pub fn of_one_group(&self, shape: &ConvShape) -> Result<ConvShape> {
        let mut text = format!("mb{}ic{}oc{}", self.images.len(), self.inputs.len(), self.outputs.len());
        let letters = &["d", "h", "w"][3 - shape.rank()..];
        for (axis, letter) in shape.spatial_axes().iter().zip(letters) {
            let sizes = [axis.input, axis.output, axis.kernel, axis.stride, axis.padding, axis.dilation - 1];
            for (name, size) in ["i", "o", "k", "s", "p", "d"].into_iter().zip(sizes) {
                text += &format!("{name}{letter}{size}");
            }
        }
        Ok(text.parse()?)
    }
}

/// `count` of the numbers below `total`, evenly from the first to the last.
fn spread(total: usize, count: usize) -> Vec<usize> {
    (0..count).map(|i| i * (total - 1) / (count - 1).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(1, 1), [0]);
        assert_eq!(spread(4, 4), [0, 1, 2, 3]);
        assert_eq!(spread(64, 2), [0, 63]);
        assert_eq!(spread(10, 4), [0, 3, 6, 9]);
    }

    #[test]
    fn small_problems_are_whole_and_large_ones_within_the_limits() {
        let sample = |text: &str| {
            let shape: ConvShape = text.parse().unwrap();
            let sample = Sample::affordable(Pass::Wgrad, &shape);
            let part = sample.of_one_group(&shape).unwrap();
            (shape, sample.groups.len() as f64 * part.flops(), sample)
        };
        let (_, _, small) = sample("mb2g2ic8ih9oc6kh3");
        assert_eq!(
            small,
            Sample { images: vec![0, 1], groups: vec![0, 1], outputs: vec![0, 1, 2], inputs: vec![0, 1, 2, 3] }
        );
        let depthwise = r#"mb8g512ic512ih14oc512kh3ph1"#;
        for large in ["mb8ic512ih7oc512kh3ph1", depthwise, "mb8ic3ih224oc64oh112kh7sh2ph3", "mb8ic512ih28oc1024kh1"] {
            let (shape, flops, sample) = sample(large);
            assert!(flops <= FLOPS && flops > FLOPS / 20.0, "{large}: {flops:e}");
            assert!(sample.groups.ends_with(&[shape.groups() - 1]));
            assert!(sample.outputs.ends_with(&[shape.group_out_channels() - 1]));
            assert!(sample.inputs.ends_with(&[shape.group_in_channels() - 1]));
        }
    }

    #[test]
    fn the_part_has_the_axes_of_the_whole() {
        for text in
            ["mb2g2ic8ih9iw7oc6kh3kw5sh2sw1ph1pw2dh1dw0", "mb1ic2iw9oc2ow5kw3sw2pw1", "mb1ic2id4ih5iw6oc2kd1kh2kw3"]
        {
            let shape: ConvShape = text.parse().unwrap();
            let part = Sample::affordable(Pass::Wgrad, &shape).of_one_group(&shape).unwrap();
            assert_eq!((part.axes(), part.batch(), part.groups()), (shape.axes(), shape.batch(), 1));
        }
    }
}
