//! Strides and dilations taken apart: along an axis, every one of them is some plain correlations.
//!
//! Output `o` and tap `k` meet at input position `o s + k d - p`. Let `g` be the greatest common divisor of stride and
//! dilation, `s = g s'` and `d = g d'`. Every output is `o = d' a + b` with a phase `b < d'`, every tap `k = s' q + r` with a
//! phase `r < s'`, and they meet at
//!
//! ```text
//! g (s' d' (a + q) + s' b + d' r) - p
//! ```
//!
//! So phase `r` of the gradient is the correlation of lags `q`, summed over all `b`, of phase `b` of delta with every
//! `g s' d'`-th number of the input. The phases of the input that belong to one `r` are disjoint, as `s'` and `d'` have no common
//! divisor. None of the transforms is spent on positions no tap meets, and the kernel is shorter by `s'`.

use crate::shape::Axis;
use std::ops::Range;

/// The correlations of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sampling {
    axis: Axis,
    /// `g`, `s'` and `d'`.
    divisor: usize,
    stride: usize,
    dilation: usize,
    /// Phases `b` of delta, and `r` of the input that have taps.
    pub delta_phases: usize,
    pub input_phases: usize,
    /// Outputs of the longest phase.
    pub outputs: usize,
    /// Lags of the longest phase.
    pub lags: usize,
}

/// Positions `first + i * step` that lie within an operand: those of `i` in a range.
#[derive(Debug, Clone)]
pub(super) struct Positions {
    pub first: isize,
    pub step: usize,
    pub inside: Range<usize>,
}

impl Sampling {
    pub fn new(axis: &Axis) -> Sampling {
        // Of one tap, or one output, it does not matter how far apart they are.
        let dilation = if axis.kernel == 1 { 1 } else { axis.dilation };
        let stride = if axis.output == 1 { 1 } else { axis.stride };
        let divisor = Axis { stride, dilation, ..*axis }.common_step();
        let (stride, dilation) = (stride / divisor, dilation / divisor);
        Sampling {
            axis: *axis,
            divisor,
            stride,
            dilation,
            delta_phases: dilation.min(axis.output),
            input_phases: stride.min(axis.kernel),
            outputs: axis.output.div_ceil(dilation),
            lags: axis.kernel.div_ceil(stride),
        }
    }

    /// Of phase `b` of delta, `count` positions from `a` on.
    pub fn delta(&self, b: usize, a: usize, count: usize) -> Positions {
        positions((self.dilation * a + b).cast_signed(), self.dilation, self.axis.output, count)
    }

    /// Of the input's phase `r` that belongs to phase `b` of delta, `count` positions from that of lag 0 and position `a` on.
    pub fn input(&self, b: usize, r: usize, a: usize, count: usize) -> Positions {
        let step = self.divisor * self.stride * self.dilation;
        let first = step * a + self.divisor * (self.stride * b + self.dilation * r);
        positions(first.cast_signed() - self.axis.padding.cast_signed(), step, self.axis.input, count)
    }

    /// The tap of phase `r` and lag `q`, if there is one.
    pub fn tap(&self, r: usize, q: usize) -> Option<usize> {
        let tap = self.stride * q + r;
        (tap < self.axis.kernel).then_some(tap)
    }
}

fn positions(first: isize, step: usize, len: usize, count: usize) -> Positions {
    let begin = first.min(0).unsigned_abs().div_ceil(step).min(count);
    let end = len.saturating_add_signed(first.saturating_neg()).div_ceil(step).clamp(begin, count);
    Positions { first, step, inside: begin..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair of an output and a tap occurs once, where the definition has it.
    #[test]
    fn phases_and_lags_are_all_outputs_and_taps() {
        let sizes = [1, 2, 3, 4, 6];
        let axes = sizes.into_iter().flat_map(|stride| sizes.map(|dilation| (stride, dilation)));
        let axes = axes.flat_map(|pair| [(1, 1), (1, 5), (7, 1), (5, 4), (9, 7)].map(|sizes| (pair, sizes)));
        for ((stride, dilation), (output, kernel)) in axes {
            for padding in [0, 3, 20] {
                let input = 13;
                let axis = Axis { input, kernel, output, stride, dilation, padding };
                let sampling = Sampling::new(&axis);
                let (mut met, mut expected) = (Vec::new(), Vec::new());
                for (b, r) in (0..sampling.delta_phases).flat_map(|b| (0..sampling.input_phases).map(move |r| (b, r))) {
                    let delta = sampling.delta(b, 0, sampling.outputs);
                    let inputs = sampling.input(b, r, 0, sampling.outputs + sampling.lags - 1);
                    for (a, q) in delta.inside.clone().flat_map(|a| (0..sampling.lags).map(move |q| (a, q))) {
                        let Some(tap) = sampling.tap(r, q) else { continue };
                        let at = |positions: &Positions, i: usize| positions.first + (i * positions.step).cast_signed();
                        if inputs.inside.contains(&(a + q)) {
                            met.push((at(&delta, a), tap, at(&inputs, a + q)));
                        }
                    }
                }
                for (o, tap) in (0..output).flat_map(|o| (0..kernel).map(move |tap| (o, tap))) {
                    let position = axis.input_position(o, tap);
                    if (0..input.cast_signed()).contains(&position) {
                        expected.push((o.cast_signed(), tap, position));
                    }
                }
                met.sort_unstable();
                expected.sort_unstable();
                assert_eq!(met, expected, "{axis:?}");
            }
        }
    }
}
