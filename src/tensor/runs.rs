//! Several axes of a view walked as one, in runs of a single stride.
//!
//! A kernel often numbers the positions of four axes (batch and space, or channels and taps) in one count and asks for a
//! range of it. Where neighbouring axes continue each other in memory they are one axis, so the range falls into a few
//! long runs; where a range lies in a single run, memory already holds what the kernel wants and nothing need be copied.

use std::ops::Range;

/// Four axes counted as one, the last fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runs {
    axes: [(usize, isize); 4],
    /// How many of the axes lie outside a run.
    outer: usize,
    len: usize,
    stride: isize,
}

impl Runs {
    /// Runs over axes given as `(length, stride)`.
    pub fn new(axes: [(usize, isize); 4]) -> Runs {
        let (outer, stride) =
            (0..4).find_map(|outer| Some((outer, common_stride(&axes[outer..])?))).unwrap_or((3, axes[3].1));
        Runs { axes, outer, len: axes[outer..].iter().map(|axis| axis.0).product(), stride }
    }

    /// Positions in a run; position `i` of the count lies in run `i / len`.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Elements from one position of a run to the next.
    pub fn stride(&self) -> isize {
        self.stride
    }

    /// Where position `at` of the count lies, relative to position 0.
    #[inline(always)]
    pub fn offset(&self, at: usize) -> isize {
        let (mut run, within) = (at / self.len, at % self.len);
        let mut offset = within as isize * self.stride;
        for &(len, stride) in self.axes[..self.outer].iter().rev() {
            offset += (run % len) as isize * stride;
            run /= len;
        }
        offset
    }

    /// Where a range begins, if all of it lies in one run.
    pub fn single(&self, range: &Range<usize>) -> Option<isize> {
        (range.start / self.len == (range.end - 1) / self.len).then(|| self.offset(range.start))
    }

    /// Calls `body(offset of the first position, length)` for each run of a range, in order.
    #[inline(always)]
    pub fn for_each(&self, range: Range<usize>, mut body: impl FnMut(isize, usize)) {
        let mut at = range.start;
        while at < range.end {
            let len = (self.len - at % self.len).min(range.end - at);
            body(self.offset(at), len);
            at += len;
        }
    }
}

/// The one stride with which a walk over these axes steps through memory; `None` when its steps differ.
///
/// Axes of length 1 do not matter, and without any other the stride is 0.
fn common_stride(axes: &[(usize, isize)]) -> Option<isize> {
    let mut steps = axes.iter().rev().filter(|&&(len, _)| len > 1);
    let Some(&(len, common)) = steps.next() else { return Some(0) };
    let mut reach = common.checked_mul(len as isize)?;
    for &(len, stride) in steps {
        if stride != reach {
            return None;
        }
        reach = reach.checked_mul(len as isize)?;
    }
    Some(common)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_as_far_as_memory_continues() {
        // [axes], (length, stride) of a run: contiguous; rows apart; channels last; an axis of length 1 between;
        // backwards; repeated.
        for (axes, run) in [
            ([(2, 60), (3, 20), (4, 5), (5, 1)], (120, 1)),
            ([(2, 120), (3, 40), (4, 10), (5, 1)], (5, 1)),
            ([(2, 60), (1, 60), (4, 15), (5, 3)], (40, 3)),
            ([(2, 60), (3, 20), (4, 5), (1, 77)], (24, 5)),
            ([(2, 7), (3, -20), (4, -5), (5, -1)], (60, -1)),
            ([(2, 0), (3, 0), (4, 0), (5, 0)], (120, 0)),
            ([(1, 9), (1, 9), (1, 9), (1, 9)], (1, 0)),
        ] {
            let runs = Runs::new(axes);
            assert_eq!((runs.len(), runs.stride()), run, "{axes:?}");
        }
    }

    #[test]
    fn runs_visit_every_position_in_order() {
        let axes = [(2, 100), (3, 30), (4, -6), (5, 1)];
        let runs = Runs::new(axes);
        let all: Vec<isize> = (0..120)
            .map(|i| [i / 60, i / 20 % 3, i / 5 % 4, i % 5].iter().zip(axes).map(|(&p, (_, s))| p as isize * s).sum())
            .collect();
        for range in [0..120, 0..1, 3..4, 3..17, 59..61, 119..120] {
            let mut visited = Vec::new();
            runs.for_each(range.clone(), |offset, len| {
                visited.extend((0..len).map(|i| offset + i as isize * runs.stride()))
            });
            assert_eq!(visited, all[range.clone()]);
            let expected = (range.start / 5 == (range.end - 1) / 5).then_some(all[range.start]);
            assert_eq!(runs.single(&range), expected);
        }
    }
}
