//! Parts of a problem in parallel, each with sums of its own, merged in their order.

use super::cut::{Cut, Window};
use super::rooms::Rooms;
use crate::partition::{add_in_order, for_each_chunk};
use crate::shape::ConvShape;
use crate::simd::Lane;

/// Elements of scratch that [`sum_parts`] takes for sums and panels of so many elements a part.
pub(super) fn scratch_len(cut: &Cut, sums: usize, panels: usize) -> usize {
    cut.parts.saturating_mul(sums.saturating_add(panels))
}

/// Runs `add(window, is_first, sums, panels)` on all windows, those of a part one after the other with the same sums, and
/// gives the sums of all parts together. The first window of a part finds anything in its sums, and each window anything in
/// its panels.
pub(super) fn sum_parts<'s, A: Lane + std::ops::Add<Output = A>>(
    shape: &ConvShape,
    cut: &Cut,
    scratch: &'s mut [A],
    [sums_len, panels_len]: [usize; 2],
    add: impl Fn(&Window, bool, &mut [A], &mut [A]) + Sync,
) -> &'s [A] {
    let (sums, panels) = scratch[..scratch_len(cut, sums_len, panels_len)].split_at_mut(cut.parts * sums_len);
    let rooms = Rooms::new(panels, panels_len);
    for_each_chunk(sums, sums_len, shape.flops(), |part, sums| {
        let room = rooms.take();
        let windows = cut.windows_of_part(shape, part);
        for index in windows.clone() {
            add(&cut.window(shape, index), index == windows.start, sums, room);
        }
        rooms.give(room);
    });
    let (first, others) = sums.split_at_mut(sums_len);
    add_in_order(first, others.chunks(sums_len));
    first
}
