//! Room for what tasks pack, lent to one after the other: what was given back last is lent next, because the cache of the
//! thread that did so still holds it.

use std::sync::{Mutex, PoisonError};

/// Most rooms there are.
const ROOMS: usize = 64;

/// Rooms of one length.
pub(super) struct Rooms<'s, A>(Mutex<Stack<'s, A>>);

struct Stack<'s, A> {
    rooms: [&'s mut [A]; ROOMS],
    count: usize,
}

impl<'s, A> Rooms<'s, A> {
    /// Rooms of so many elements, as many as there is place for.
    pub fn new(place: &'s mut [A], len: usize) -> Self {
        let mut stack = Stack { rooms: std::array::from_fn(|_| Default::default()), count: 0 };
        for (room, place) in stack.rooms.iter_mut().zip(place.chunks_exact_mut(len)) {
            *room = place;
            stack.count += 1;
        }
        Rooms(Mutex::new(stack))
    }

    /// A room. One is never missing as long as there are as many as tasks.
    pub fn take(&self) -> &'s mut [A] {
        let mut stack = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stack.count -= 1;
        let count = stack.count;
        std::mem::take(&mut stack.rooms[count])
    }

    /// Gives a room back.
    pub fn give(&self, room: &'s mut [A]) {
        let mut stack = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = stack.count;
        stack.rooms[count] = room;
        stack.count += 1;
    }
}
