//! The part of a problem that is packed at a time: a range of outputs along each axis, and the input they read.
//!
//! Panels hold only input positions that some tap can meet. Outputs are `stride` apart and taps `dilation`, so these
//! positions are `gcd(stride, dilation)` apart, or `stride` where the kernel is a single tap: a 1x1 kernel of stride 2
//! packs a quarter of its input.

use crate::shape::Axis;
use std::ops::Range;

/// A range of outputs along one axis and the input positions packed for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AxisWindow {
    axis: Axis,
    /// The outputs.
    pub outputs: Range<usize>,
    /// Input position of the first packed one.
    pub first: usize,
    /// Input positions between neighbouring packed ones.
    pub step: usize,
    /// Packed positions; 0 when all outputs read padding only.
    pub len: usize,
}

impl AxisWindow {
    /// The window of these outputs.
    pub fn new(axis: Axis, outputs: Range<usize>) -> AxisWindow {
        let step = step(&axis);
        let low = axis.input_position(outputs.start, 0);
        let high = axis.input_position(outputs.end - 1, axis.kernel - 1).min(axis.input as isize - 1);
        // Positions before the input are padding: begin at the first one in step behind it.
        let first =
            if low < 0 { low + (-low).cast_unsigned().div_ceil(step).cast_signed() * step.cast_signed() } else { low };
        let len = if high < first { 0 } else { (high - first).cast_unsigned() / step + 1 };
        AxisWindow { axis, outputs, first: first.cast_unsigned(), step, len }
    }

    /// The longest window that `outputs` consecutive outputs can have.
    pub fn longest(axis: &Axis, outputs: usize) -> usize {
        let span = (outputs - 1) * axis.stride + axis.extent();
        span.min(axis.input).div_ceil(step(axis))
    }

    /// The outputs among `range` for which `tap` reads the input and not the padding.
    #[inline]
    pub fn valid(&self, range: &Range<usize>, tap: usize) -> Range<usize> {
        let valid = self.axis.valid_outputs(tap);
        valid.start.max(range.start)..valid.end.min(range.end)
    }

    /// Which packed position a [valid](Self::valid) output and tap meet at.
    #[inline]
    pub fn packed(&self, output: usize, tap: usize) -> usize {
        (self.axis.input_position(output, tap).cast_unsigned() - self.first) / self.step
    }

    /// Packed positions between two neighbouring outputs.
    #[inline]
    pub fn stride(&self) -> usize {
        self.axis.stride / self.step
    }
}

pub(super) fn step(axis: &Axis) -> usize {
    if axis.kernel == 1 { axis.stride } else { axis.common_step() }
}

/// The taps that meet the input, and not the padding, of an output.
pub(super) fn meeting_taps(axis: &Axis, output: usize) -> Range<usize> {
    let at = output * axis.stride;
    let taps = |positions: usize| positions.saturating_sub(at).div_ceil(axis.dilation).min(axis.kernel);
    let end = taps(axis.input + axis.padding);
    taps(axis.padding).min(end)..end
}

/// Splits `0..len` into pieces of nearly equal size, the first of them no longer than `longest` and the others no longer
/// than the first; the `index`-th of [`pieces`].
pub(super) fn piece(len: usize, longest: usize, index: usize) -> Range<usize> {
    let count = pieces(len, longest);
    // Divisions cost as much as a few rows of a small plane.
    if count == 1 {
        return 0..len;
    }
    let begin = |index: usize| index * (len / count) + index.min(len % count);
    begin(index)..begin(index + 1)
}

/// How many pieces [`piece`] makes.
pub(super) fn pieces(len: usize, longest: usize) -> usize {
    len.div_ceil(longest.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes() -> impl Iterator<Item = Axis> {
        let axes =
            [(9, 3, 1, 1, 1), (10, 3, 2, 1, 0), (11, 2, 2, 2, 3), (12, 1, 3, 1, 2), (7, 4, 3, 2, 9), (5, 2, 7, 1, 4)];
        axes.into_iter().map(|(input, kernel, stride, dilation, padding)| {
            let output = (input + 2 * padding - ((kernel - 1) * dilation + 1)) / stride + 1;
            Axis { input, kernel, output, stride, dilation, padding }
        })
    }

    #[test]
    fn windows_hold_exactly_what_taps_meet() {
        for axis in axes() {
            let Axis { kernel, output, .. } = axis;
            for start in 0..output {
                for end in start + 1..=output {
                    let window = AxisWindow::new(axis, start..end);
                    assert!(window.len <= AxisWindow::longest(&axis, end - start), "{window:?}");
                    for tap in 0..kernel {
                        for output in window.valid(&(start..end), tap) {
                            let packed = window.packed(output, tap);
                            assert!(packed < window.len, "{window:?} {output} {tap}");
                            let position = window.first + packed * window.step;
                            assert_eq!(position as isize, axis.input_position(output, tap));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_output_meets_the_taps_for_which_it_is_valid() {
        for axis in axes() {
            let Axis { kernel, output, .. } = axis;
            for o in 0..output {
                let valid: Vec<usize> = (0..kernel).filter(|&tap| axis.valid_outputs(tap).contains(&o)).collect();
                assert_eq!(meeting_taps(&axis, o).collect::<Vec<_>>(), valid, "{axis:?} {o}");
            }
        }
    }

    #[test]
    fn pieces_cover_a_length_once() {
        for len in 1..40 {
            for longest in 1..45 {
                let pieces: Vec<_> = (0..pieces(len, longest)).map(|i| piece(len, longest, i)).collect();
                assert!(pieces.iter().all(|p| !p.is_empty() && p.len() <= longest.min(pieces[0].len())));
                assert_eq!(pieces.into_iter().flatten().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
            }
        }
    }
}
