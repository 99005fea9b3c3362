//! An operand as the kernels that read it where it lies see it: elements and strides.

use crate::element::Element;
use crate::tensor::View;

/// An operand by its elements and strides.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a, A> {
    pub data: &'a [A],
    origin: usize,
    pub strides: [isize; 5],
}

impl<'a, A> Operand<'a, A> {
    /// The elements and strides of a view, if its elements are those the kernels compute with.
    pub fn of<T: Element<Acc = A>>(view: &View<'a, T>) -> Option<Operand<'a, A>> {
        T::as_acc(view.data()).map(|data| Operand { data, origin: view.index([0; 5]), strides: view.strides5() })
    }

    /// Where the row of a channel begins, as an element.
    pub fn row(&self, [image, channel, depth, row]: [usize; 4]) -> isize {
        let steps = [image, channel, depth, row].into_iter().zip(self.strides);
        self.origin.cast_signed() + steps.map(|(at, stride)| at.cast_signed() * stride).sum::<isize>()
    }
}
