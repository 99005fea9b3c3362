//! A few kilobytes for each thread, where tasks keep what they compute on its way through the caches.
//!
//! An array on a task's stack would have to be cleared for each task, which takes a twentieth of its time.

use crate::simd::Lane;
use pulp::bytemuck::cast_slice_mut;
use std::cell::RefCell;

/// Bytes of a workspace.
const BYTES: usize = 64 << 10;

thread_local! {
    static WORKSPACE: RefCell<[f64; BYTES / size_of::<f64>()]> = const { RefCell::new([0.0; BYTES / size_of::<f64>()]) };
}

/// Gives a task the workspace of its thread, whose content is arbitrary. The task must not ask for it again.
pub(super) fn with_workspace<A: Lane>(task: impl FnOnce(&mut [A])) {
    WORKSPACE.with_borrow_mut(|workspace| task(cast_slice_mut(workspace)));
}
