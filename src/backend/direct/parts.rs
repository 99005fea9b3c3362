//! Parts of a problem in parallel, each with sums of its own, merged in their order.

use super::cut::{Cut, Window};
use super::rooms::Rooms;
use crate::partition::{add_in_order, for_each_chunk};
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Lane;

/// Elements of scratch that [`sum_parts`] takes for sums and panels of so many elements a part, of so many sets of channels.
pub(super) fn scratch_len(cut: &Cut, sets: usize, sums: usize, panels: usize) -> usize {
    saturating_product([cut.parts, sets, sums.saturating_add(panels)])
}

/// Runs `add(window, set, is_first, sums, panels)` on all windows of all sets of channels, those of a part one after the other
/// with the same sums, and gives the sums of all parts together, set by set. The first window of a part finds anything in its
/// sums, and each window anything in its panels.
pub(super) fn sum_parts<'s, A: Lane + std::ops::Add<Output = A>>(
    shape: &ConvShape,
    cut: &Cut,
    sets: usize,
    scratch: &'s mut [A],
    [sums_len, panels_len]: [usize; 2],
    add: impl Fn(&Window, usize, bool, &mut [A], &mut [A]) + Sync,
) -> &'s [A] {
    let scratch = &mut scratch[..scratch_len(cut, sets, sums_len, panels_len)];
    let (sums, panels) = scratch.split_at_mut(cut.parts * sets * sums_len);
    let rooms = Rooms::new(panels, panels_len);
    for_each_chunk(sums, sums_len, shape.flops(), |task, sums| {
        let (part, set) = (task / sets, task % sets);
        let room = rooms.take();
        let windows = cut.windows_of_part(shape, part);
        for index in windows.clone() {
            add(&cut.window(shape, index), set, index == windows.start, sums, room);
        }
        rooms.give(room);
    });
    let (first, others) = sums.split_at_mut(sets * sums_len);
    add_in_order(first, others.chunks(sets * sums_len));
    first
}
