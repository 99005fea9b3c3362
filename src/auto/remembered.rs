//! The last choices, kept by each thread, so that a repeated shape costs little more than the backend it goes to.
//!
//! A choice is a function of the chooser, the operation and the shape until the chooser is changed, and then it has another
//! number; so whether a choice was remembered never shows, but in what times measured meanwhile may have changed.

use crate::op::Op;
use crate::shape::ConvShape;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Choices a thread remembers, some fifty kilobytes: the layers of a large network, three passes of each.
const SLOTS: usize = 256;

/// A choice, and what it was made for.
#[derive(Clone, Copy)]
struct Choice {
    /// The chooser's number.
    id: u64,
    op: Op,
    shape: ConvShape,
    /// The backend's place in the chooser's list, or none.
    index: Option<usize>,
}

thread_local! {
    static CHOICES: RefCell<[Option<Choice>; SLOTS]> = const { RefCell::new([None; SLOTS]) };
}

/// A number that no chooser has.
pub(super) fn new_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The choice of a chooser, made now if it is not remembered.
#[inline]
pub(super) fn choice(id: u64, op: Op, shape: &ConvShape, make: impl FnOnce() -> Option<usize>) -> Option<usize> {
    let slot = slot(id, op, shape);
    let known = CHOICES.try_with(|choices| match &choices.borrow()[slot] {
        Some(choice) if choice.id == id && choice.op == op && choice.shape == *shape => Some(choice.index),
        _ => None,
    });
    if let Ok(Some(index)) = known {
        return index;
    }
    // Not while the choices are borrowed: measuring may come back here.
    let index = make();
    // A thread that is ending remembers nothing.
    let _ = CHOICES.try_with(|choices| choices.borrow_mut()[slot] = Some(Choice { id, op, shape: *shape, index }));
    index
}

/// Where a choice is remembered, in place of another that has the same slot.
fn slot(id: u64, op: Op, shape: &ConvShape) -> usize {
    // Fibonacci hashing: the upper bits of a product with the golden ratio depend on all bits of the factor.
    (shape.digest().wrapping_mul(4).wrapping_add(op as u64).wrapping_add(id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        >> (64 - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The passes of a layer follow each other in training, and must not push each other out.
    #[test]
    fn the_passes_of_a_layer_are_remembered_beside_each_other() {
        let (id, shape) = (new_id(), "mb32ic16ih4oc32oh4kh3ph1".parse().unwrap());
        for (index, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(choice(id, op, &shape, || Some(index)), Some(index));
        }
        for (index, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(choice(id, op, &shape, || unreachable!("it was remembered")), Some(index));
        }
    }

    #[test]
    fn what_is_remembered_is_the_choice_of_the_key_whatever_came_before() {
        let shapes: Vec<ConvShape> =
            (0..3 * SLOTS).map(|i| format!("mb{}ic3ih{}oc16kh3", 1 + i % 2, 9 + i).parse().unwrap()).collect();
        let ids = [new_id(), new_id()];
        for round in 0..2 {
            for (i, shape) in shapes.iter().enumerate() {
                for (j, &id) in ids.iter().enumerate() {
                    let expected = (i % 7 > 0).then_some(i + j);
                    assert_eq!(choice(id, Op::WeightGradient, shape, || expected), expected, "{shape} {round}");
                    let again = choice(id, Op::WeightGradient, shape, || unreachable!("it was just remembered"));
                    assert_eq!(again, expected, "{shape} {round}");
                    assert_eq!(choice(id, Op::Forward, shape, || Some(999)), Some(999));
                }
            }
        }
    }
}
