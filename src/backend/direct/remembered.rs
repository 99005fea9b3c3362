//! Plans of the last few problems, kept by each thread.
//!
//! Planning takes a few microseconds, as long as a small problem itself, and a call needs the plan twice: for the scratch
//! and for the work. A plan is a function of its key alone, so whether it was remembered never shows in a result.

use super::plan::Plan;
use crate::shape::ConvShape;
use crate::simd::Registers;
use std::cell::RefCell;

/// Plans a thread remembers, some kilobytes: the layers of a small network, for large ones do not feel the planning.
const SLOTS: usize = 16;

/// What a plan is computed from: the shape, the registers, the size of a sum in bytes.
type Key = (ConvShape, Registers, usize);

thread_local! {
    static PLANS: RefCell<[Option<(Key, Plan)>; SLOTS]> = const { RefCell::new([const { None }; SLOTS]) };
}

/// The plan of a problem.
pub(super) fn plan(shape: &ConvShape, registers: Registers, element: usize) -> Plan {
    let key = (*shape, registers, element);
    let slot = slot(shape, element);
    let make = || Plan::new(shape, registers, element);
    let remembered = PLANS.try_with(|plans| {
        let slot = &mut plans.borrow_mut()[slot];
        match slot {
            Some((known, plan)) if *known == key => plan.clone(),
            _ => slot.insert((key, make())).1.clone(),
        }
    });
    // A thread that is ending remembers nothing.
    remembered.unwrap_or_else(|_| make())
}

/// Where a plan is remembered, in place of another that has the same slot.
fn slot(shape: &ConvShape, element: usize) -> usize {
    // Fibonacci hashing: the upper bits of a product with the golden ratio depend on all bits of the factor.
    (shape.digest().wrapping_add(element as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_the_plan_of_the_key_whatever_came_before() {
        let registers = [Registers { lanes: 16, count: 32 }, Registers { lanes: 8, count: 16 }];
        let shapes = (0..6 * SLOTS).map(|i| format!("mb{}ic{}ih{}oc16kh3ph1", 1 + i % 2, 3 + i % 5, 9 + i));
        let shapes: Vec<ConvShape> = shapes.map(|text| text.parse().unwrap()).collect();
        // Many share a slot; a second round meets what the first one left.
        for shape in shapes.iter().chain(&shapes) {
            for (registers, element) in registers.into_iter().flat_map(|r| [(r, 4), (r, 8)]) {
                let expected = Plan::new(shape, registers, element);
                assert_eq!(plan(shape, registers, element), expected, "{shape} {registers:?} {element}");
                assert_eq!(plan(shape, registers, element), expected, "again {shape} {registers:?} {element}");
            }
        }
    }

    #[test]
    fn layers_of_a_network_spread_over_the_slots() {
        let layers =
            ["ic64ih56oc64kh1", "ic64ih56oc64kh3ph1", "ic64ih56oc256kh1", "ic256ih56oc64kh1", "ic256ih28oc128kh1"];
        let more =
            ["ic128ih28oc128kh3ph1", "ic128ih28oc512kh1", "ic512ih28oc128kh1", "ic1ih32oc6kh5", "ic6ih14oc16kh5"];
        let used: std::collections::BTreeSet<usize> =
            layers.iter().chain(&more).map(|text| slot(&text.parse().unwrap(), 4)).collect();
        // Ten at random fill 7.6 of 16 slots in the mean.
        assert!(used.len() >= 6, "{used:?}");
    }
}
