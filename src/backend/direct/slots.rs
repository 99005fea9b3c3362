//! Slots: how the kernels with positions in lanes deal a problem to threads.
//!
//! A slot is some groups, some of their units (images, or parts of them) and some of their tiles of taps, with scratch of its
//! own. The sums of slots that share groups are merged in the order of the slots; those of taps that a slot leaves to others
//! are zeros. Slots depend on the shape only, so the bits do not depend on the threads.

use crate::element::Element;
use crate::partition::{add_in_order, for_each_chunk};
use crate::problem::Update;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::tensor::ViewMut;
use crate::write::{SumRows, Sums, write};
use std::ops::Range;

/// Slots work is dealt to: enough for a few threads to share them evenly.
const SLOTS: usize = 64;

/// Elements all slots' copies of the sums may have together.
const MAX_PARTIAL_ELEMENTS: usize = 1 << 20;

/// Work, in floating point operations, that is worth a part of the units with sums of its own.
const PART_FLOPS: f64 = 1e6;

/// How groups and units are dealt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slots {
    /// Groups of one slot.
    pub groups: usize,
    /// Slots that share the units of a group.
    pub unit_parts: usize,
    /// Slots that share the taps of these.
    pub tap_parts: usize,
    /// Groups whose sums lie side by side, weight by weight; where that is more than one, of one output channel each.
    pub run: usize,
}

/// What a slot computes.
pub(super) struct Share {
    pub groups: Range<usize>,
    pub units: Range<usize>,
    /// Which part of the taps, of [`Slots::tap_parts`].
    pub tap_part: usize,
}

impl Slots {
    /// Slots that the work of a problem is worth, at least one.
    pub fn wanted(shape: &ConvShape) -> usize {
        SLOTS.min((shape.flops() / PART_FLOPS) as usize).max(1)
    }

    /// Deals the groups of a problem, each of so many units.
    pub fn new(shape: &ConvShape, units: usize) -> Slots {
        let copies = (MAX_PARTIAL_ELEMENTS / shape.weights_len()).max(1);
        Slots {
            groups: shape.groups().div_ceil(SLOTS),
            unit_parts: (SLOTS / shape.groups()).min(Slots::wanted(shape)).clamp(1, units.min(copies)),
            tap_parts: 1,
            run: 1,
        }
    }

    /// Deals out the taps as well, of so many tiles, where groups and units are fewer than the slots there should be.
    pub fn with_tap_tiles(self, shape: &ConvShape, tiles: usize) -> Slots {
        let copies = MAX_PARTIAL_ELEMENTS / (shape.weights_len() * self.unit_parts);
        let wanted = Slots::wanted(shape).div_ceil(self.count(shape));
        Slots { tap_parts: wanted.min(tiles).min(copies).max(1), ..self }
    }

    /// Deals the units first, each of all groups, and then runs of so many groups.
    pub fn of_runs(shape: &ConvShape, run: usize, units: usize) -> Slots {
        let copies = (MAX_PARTIAL_ELEMENTS / shape.weights_len()).max(1);
        let unit_parts = Slots::wanted(shape).clamp(1, units.min(copies));
        let runs = shape.groups().div_ceil(run);
        Slots { groups: runs.div_ceil(SLOTS / unit_parts).saturating_mul(run), unit_parts, tap_parts: 1, run }
    }

    /// Slots, those of the same groups one after the other.
    pub fn count(&self, shape: &ConvShape) -> usize {
        shape.groups().div_ceil(self.groups) * self.parts()
    }

    /// Slots of the same groups.
    pub fn parts(&self) -> usize {
        self.unit_parts * self.tap_parts
    }

    /// Elements of the sums of a slot: `[run of groups][oc][ic][tap][group of the run]`.
    pub fn sums_len(&self, shape: &ConvShape) -> usize {
        self.groups.saturating_mul(Slots::group_len(shape))
    }

    /// Elements of the sums of a group.
    pub fn group_len(shape: &ConvShape) -> usize {
        shape.weights_len() / shape.groups()
    }

    /// Computes all slots, `slot_len` elements of scratch each, by `sum_up(share, slot)`, which leaves the sums at the
    /// end of the slot; then merges them and writes the gradient.
    pub fn run<T: Element>(
        &self,
        (shape, isa, units): (&ConvShape, Isa, usize),
        (slots, slot_len): (&mut [T::Acc], usize),
        (gradient, update): (ViewMut<'_, T>, Update<T>),
        sum_up: impl Fn(Share, &mut [T::Acc]) + Sync,
    ) {
        for_each_chunk(slots, slot_len, shape.flops(), |index, slot| {
            let first = index / self.parts() * self.groups;
            let part = index / self.tap_parts % self.unit_parts;
            let share = Share {
                groups: first..shape.groups().min(first + self.groups),
                units: units * part / self.unit_parts..units * (part + 1) / self.unit_parts,
                tap_part: index % self.tap_parts,
            };
            sum_up(share, slot);
        });
        let sums_at = slot_len - self.sums_len(shape);
        for slots in slots.chunks_mut(self.parts() * slot_len) {
            let (first, others) = slots.split_at_mut(slot_len);
            add_in_order(&mut first[sums_at..], others.chunks(slot_len).map(|slot| &slot[sums_at..]));
        }
        write(isa, shape, &SlotSums { shape, dealt: self, slots, slot_len, sums_at }, gradient, update);
    }
}

/// The merged sums of all slots.
struct SlotSums<'a, A> {
    shape: &'a ConvShape,
    dealt: &'a Slots,
    slots: &'a [A],
    slot_len: usize,
    /// Where in a slot its sums begin.
    sums_at: usize,
}

impl<A: Sync> Sums<A> for SlotSums<'_, A> {
    fn neighbours(&self, channel: usize) -> Range<usize> {
        let first = channel - channel % self.dealt.run;
        first..first + self.dealt.run
    }

    fn rows(&self, channels: Range<usize>) -> SumRows<'_, A> {
        let Slots { groups, run, .. } = *self.dealt;
        let (ocs, weights) = (self.shape.group_out_channels(), self.shape.group_in_channels() * self.shape.taps());
        let (group, oc) = (channels.start / ocs, channels.start % ocs);
        let slot = group / groups * self.dealt.parts() * self.slot_len;
        let (of_slot, of_run) = if run == 1 { (group % groups, 0) } else { (group % groups / run, group % run) };
        let first = (of_slot * ocs + oc) * weights * run + of_run;
        SumRows { data: &self.slots[slot + self.sums_at + first..], pitch: run, channels: channels.len() }
    }
}
