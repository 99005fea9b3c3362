//! Random shapes, updates and memory orders for property tests.
//!
//! Sizes cluster where kernels change their path: channels around vector widths, kernels longer than the input, strides
//! longer than the kernel, padding beyond the kernel's reach. The work of a shape is bounded, so that a thousand of them
//! take seconds.

use super::Arrangement;
use convgrad::{ConvBuilder, ConvShape};
use proptest::prelude::*;
use proptest::sample::select;

/// Channels per group at and beside the vector widths of 4, 8 and 16 lanes, and the tiles built from them.
const CHANNELS: [usize; 20] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 65];

/// Multiplications a random shape may cost.
const WORK: usize = 1_200_000;

#[derive(Debug, Clone, Copy)]
struct PlannedAxis {
    input: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    begin: usize,
    end: usize,
}

fn axis(longest_kernel: usize) -> impl Strategy<Value = PlannedAxis> {
    let kernel = prop_oneof![6 => 1..=3usize, 1 => 1..=longest_kernel];
    // A third of the paddings reach beyond the kernel, so that whole outputs see nothing but zeros.
    let padding = || (0..=4usize, prop::bool::weighted(0.3));
    (1..=20usize, kernel, 1..=4usize, 1..=3usize, padding(), padding()).prop_map(
        |(input, kernel, stride, dilation, begin, end)| {
            let extent = (kernel - 1) * dilation + 1;
            let [begin, end] = [begin, end].map(|(size, beyond)| if beyond { extent + size } else { size });
            PlannedAxis { input, kernel, stride, dilation, begin, end }
        },
    )
}

/// Groups, input channels per group, output channels per group.
fn channels() -> impl Strategy<Value = (usize, usize, usize)> {
    let wide = || select(&CHANNELS[..]);
    prop_oneof![
        3 => (Just(1), wide(), wide()),
        2 => (2..=4usize, wide(), wide()),
        2 => (wide(), Just(1), Just(1)),
        1 => (wide(), Just(1), 2..=3usize),
        1 => (wide(), 2..=3usize, 1..=3usize),
        1 => (Just(1), 1..=3usize, 1..=3usize),
    ]
}

fn configured<const R: usize>(builder: ConvBuilder<R>, groups: usize, axes: &[PlannedAxis]) -> ConvShape {
    let each = |size: fn(&PlannedAxis) -> usize| -> [usize; R] { std::array::from_fn(|i| size(&axes[i])) };
    let builder = builder.groups(groups).stride(each(|a| a.stride)).dilation(each(|a| a.dilation));
    builder.padding_begin_end(each(|a| a.begin), each(|a| a.end)).build().expect("a shape planned to be valid")
}

/// The shape, with end padding added where the kernel would not fit.
fn shape_of(batch: usize, (groups, ic, oc): (usize, usize, usize), axes: &[PlannedAxis]) -> ConvShape {
    let mut axes = axes.to_vec();
    for a in &mut axes {
        let extent = (a.kernel - 1) * a.dilation + 1;
        a.end += extent.saturating_sub(a.input + a.begin + a.end);
    }
    let (ic, oc) = (groups * ic, groups * oc);
    let each = |i: usize| (axes[i].input, axes[i].kernel);
    match axes.len() {
        1 => configured(ConvShape::conv1d(batch, ic, each(0).0, oc, each(0).1), groups, &axes),
        2 => {
            let [(h, kh), (w, kw)] = [each(0), each(1)];
            configured(ConvShape::conv2d(batch, ic, [h, w], oc, [kh, kw]), groups, &axes)
        }
        _ => {
            let [(d, kd), (h, kh), (w, kw)] = [each(0), each(1), each(2)];
            configured(ConvShape::conv3d(batch, ic, [d, h, w], oc, [kd, kh, kw]), groups, &axes)
        }
    }
}

/// Shapes of one to three dimensions with every feature a shape can have, of bounded work.
pub fn shapes() -> impl Strategy<Value = ConvShape> {
    let axes = prop_oneof![
        2 => prop::collection::vec(axis(31), 1),
        4 => prop::collection::vec(axis(9), 2),
        2 => prop::collection::vec(axis(3), 3),
    ];
    (1..=3usize, channels(), axes).prop_map(|(mut batch, (mut groups, mut ic, mut oc), mut axes)| {
        loop {
            let shape = shape_of(batch, (groups, ic, oc), &axes);
            if shape.terms() * shape.weights_len() <= WORK {
                return shape;
            }
            let longest = axes.iter_mut().max_by_key(|a| a.input).expect("at least one axis");
            match longest.input {
                5.. => longest.input -= longest.input / 3,
                _ if batch > 1 => batch -= 1,
                _ if ic.max(oc) > 1 && ic >= oc => ic /= 2,
                _ if oc > 1 => oc /= 2,
                // One channel of inputs up to 4 is never too much, so this ends.
                _ => groups = groups.div_ceil(2),
            }
        }
    })
}

/// Memory orders of operands to be read (`repeatable`: stride 0 occurs) or written.
pub fn arrangements(repeatable: bool) -> impl Strategy<Value = Arrangement> {
    let flags = |chance: f64| prop::array::uniform5(prop::bool::weighted(chance));
    let repeated = flags(if repeatable { 0.1 } else { 0.0 });
    let gaps = prop::array::uniform5(prop_oneof![3 => Just(0), 1 => 1..=3usize]);
    let any = (prop::array::uniform5(0..=4u8), gaps, flags(0.25), repeated, 0..=5usize)
        .prop_map(|(order, gaps, reversed, repeated, margin)| Arrangement { order, gaps, reversed, repeated, margin });
    prop_oneof![2 => Just(Arrangement::NCHW), 2 => Just(Arrangement::NHWC), 3 => any]
}
