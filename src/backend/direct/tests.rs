//! Every kernel on every shape it can compute, chosen by the plan or not.
//!
//! Tests of the backend meet a kernel only where the plan prefers it; seams and edges of the others would show when an
//! estimate changes. Whole numbers, whose sums do not round, must agree with the plain loops to the last bit.

use super::depthwise_plan::DepthwisePlan;
use super::dot_plan::DotPlan;
use super::outer_plan::OuterPlan;
use super::plan::Kernel;
use super::planar_plan::{LaneOperand, PlanarPlan};
use super::slide_plan::SlidePlan;
use super::{can_read, run};
use crate::element::Element;
use crate::problem::{Update, WeightGradient};
use crate::shape::ConvShape;
use crate::simd::{Isa, Lane};
use crate::tensor::{Layout, View, ViewMut};

/// 1x1 with more and with fewer channels on either side, strided, padded, in groups; stems; odd channels; three axes;
/// dilation; several windows, parts and tasks; hardly any positions; depthwise; one channel, and large kernels whose taps
/// are dealt out; groups of few channels, more than lanes and fewer, in one set and in several, with and without copies of
/// their sums.
const SHAPES: [&str; 34] = [
    "mb3ic37ih9oc70oh9kh1",
    "mb2ic70ih13iw6oc37oh7ow3kh1sh2sw2",
    "mb2g3ic15ih8oc60oh8kh1",
    "mb2g3ic60ih5oc15oh5kh1",
    "mb2ic5ih7oc9oh9kh1ph1",
    "mb1ic70ih60oc20oh60kh1",
    "mb9ic33ih40oc35oh40kh1",
    "mb2ic3ih37iw41oc20oh19ow14kh7kw5sh2sw3ph3pw2",
    "mb3ic3ih70oc40oh70kh3ph1",
    "mb5ic17ih14oc24oh14kh3ph1",
    "mb4g4ic12ih15oc20oh13kh5sh1ph1",
    "mb2ic4id5ih8iw9oc6od4oh8ow7kd2kh3kw3ph1",
    "mb2ic3id7ih6iw5oc18od3oh5ow4kd3kh2kw2sd2",
    "mb1ic6iw500oc7ow484kw3dw7",
    "mb2ic2ih30oc3oh13kh3sh2dh2ph0",
    "mb70ic6ih3oc40oh2kh2",
    "mb1ic2ih1oc3oh1kh1",
    "mb3g21ic21ih20oc21oh10kh3sh2ph1",
    "mb1ic1ih90oc2oh84kh7",
    "mb1ic1ih75oc1oh45kh31",
    "mb1ic1id5ih50oc2od3oh40kd3kh11",
    "mb3g47ic47ih3iw14oc47oh3ow21kh3kw2sh1ph2pw3dh2dw0",
    "mb2g144ic144ih19iw9oc144oh19ow9kh3ph1",
    "mb2g80ic80ih11oc80oh6kh3sh2ph1",
    "mb2g33ic33ih8iw9oc33oh3ow4kh3sh2",
    "mb1g70ic70ih13oc70oh15kh5ph3",
    "mb3g47ic47id1ih3iw14oc47od1oh3ow21kd1kh3kw2sd1sh3sw1pd1ph2pw3dd0dh2",
    "mb1g21ic21ih1iw19oc21oh3ow19kh3sh3sw1ph6pw1dh2dw0",
    "mb1ic1ih1iw40oc2oh4ow40kh3kw5sh1ph2pw2",
    "mb3g32ic128ih20oc128oh20kh3ph1",
    "mb9g19ic95ih17iw18oc114oh9ow9kh3sh2ph1",
    "mb2g300ic600ih5iw6oc900oh3ow4kh3",
    "mb2g20ic160ih15iw22oc80oh9ow16kh3dh2ph0pw0dw2",
    "mb2g6ic30id4ih5iw6oc24od3oh5ow4kd2kh3kw3pd0ph1pw0",
];

/// Memory orders of input and delta. What has one column, row or image has a stride that is never stepped, which may be
/// anything: `i64::MAX`, say.
#[derive(Debug, Clone, Copy)]
enum Order {
    Contiguous(Layout),
    RowsAreOne(Layout),
    NeverStepped(Layout),
}

impl Order {
    fn all() -> impl Iterator<Item = Order> {
        let orders = |layout| [Order::Contiguous(layout), Order::RowsAreOne(layout), Order::NeverStepped(layout)];
        [Layout::Nchw, Layout::Nhwc].into_iter().flat_map(orders)
    }

    fn strides(self, dims: &[usize]) -> Vec<isize> {
        let (Order::Contiguous(layout) | Order::RowsAreOne(layout) | Order::NeverStepped(layout)) = self;
        let mut strides = layout.strides(dims);
        match self {
            Order::Contiguous(_) => {}
            // Of a signal, which has no rows, its channels.
            Order::RowsAreOne(_) => strides[dims.len() - 2] = 0,
            Order::NeverStepped(_) => {
                let of_one = strides.iter_mut().zip(dims).filter(|(_, dim)| **dim == 1);
                of_one.for_each(|(stride, _)| *stride = isize::MAX);
            }
        }
        strides
    }
}

/// The kernels there are for a shape.
fn kernels<L: Lane>(shape: &ConvShape, isa: Isa) -> Vec<Kernel> {
    let (registers, element) = (isa.registers::<L>(), size_of::<L>());
    let planar = |in_lanes| Kernel::Planar(PlanarPlan::with(in_lanes, shape, registers, element));
    let mut kernels = vec![
        Kernel::Outer(OuterPlan::with(1, shape, registers, element)),
        Kernel::Outer(OuterPlan::with(registers.lanes, shape, registers, element)),
        Kernel::Dot(DotPlan::new(shape, registers)),
        planar(LaneOperand::Delta),
    ];
    let is_padded = shape.axes().iter().any(|axis| axis.padding > 0 || axis.padding_end() > 0);
    kernels.extend((shape.taps() == 1 && !is_padded).then(|| planar(LaneOperand::Input)));
    kernels.extend(SlidePlan::new(shape, registers).map(Kernel::Slide));
    kernels.extend(DepthwisePlan::new(shape, registers).map(Kernel::Depthwise));
    kernels
}

fn every_kernel_agrees<T: Element>() {
    let numbers = |len: usize, seed: usize| -> Vec<T> {
        (0..len).map(|i| T::from_f64(((i * 7919 + seed) % 9) as f64 - 4.0)).collect()
    };
    for text in SHAPES {
        let shape: ConvShape = text.parse().unwrap();
        let [input_dims, delta_dims] = [shape.input_dims(), shape.output_dims()];
        let [input, delta] = [&input_dims, &delta_dims].map(|dims| numbers(dims.iter().product(), dims[1]));
        for order in Order::all() {
            let compute = |body: &dyn Fn(WeightGradient<'_, T>)| {
                let mut gradient = vec![T::from_f64(f64::NAN); shape.weights_len()];
                let input = View::strided(&input, &input_dims, &order.strides(&input_dims), 0).unwrap();
                let delta = View::strided(&delta, &delta_dims, &order.strides(&delta_dims), 0).unwrap();
                let out = ViewMut::new(&mut gradient, &shape.weights_dims(), Layout::Nchw).unwrap();
                body(WeightGradient::new(&shape, input, delta, out, Update::overwrite()).unwrap());
                gradient
            };
            let expected = compute(&|problem| run(&Kernel::Plain, problem, Isa::SCALAR, &mut []));
            for isa in Isa::available() {
                for kernel in kernels::<T::Acc>(&shape, isa) {
                    let mut scratch = vec![T::from_f64(f64::NAN).to_acc(); kernel.scratch_len(&shape)];
                    let scratch = std::cell::RefCell::new(&mut scratch[..]);
                    let was_run = std::cell::Cell::new(true);
                    let given = compute(&|problem| match can_read(&kernel, &problem) {
                        true => run(&kernel, problem, isa, &mut scratch.borrow_mut()),
                        false => was_run.set(false),
                    });
                    assert!(!was_run.get() || given == expected, "{text} in {order:?} on {isa} by {kernel:?}");
                }
            }
        }
    }
}

#[test]
fn every_kernel_agrees_with_the_definition() {
    every_kernel_agrees::<f32>();
    every_kernel_agrees::<f64>();
}

#[test]
fn depthwise_bits_do_not_depend_on_addresses() {
    // Channels lie side by side and make whole vectors, which begin at cache lines where they can.
    for text in ["mb2g128ic128ih12oc128oh12kh3ph1", "mb1g64ic64ih15oc64oh8kh3sh2ph1", "mb1g96ic96ih9oc96oh9kh5ph2"] {
        let shape: ConvShape = text.parse().unwrap();
        let [input_dims, delta_dims] = [shape.input_dims(), shape.output_dims()];
        let numbers = |dims: &[usize]| -> Vec<f32> {
            (0..dims.iter().product::<usize>() + 16).map(|i| ((i * 7919) % 1013) as f32 / 997.0).collect()
        };
        for isa in Isa::available() {
            let kernel = Kernel::Depthwise(DepthwisePlan::new(&shape, isa.registers::<f32>()).unwrap());
            let compute = |input_at: usize, delta_at: usize| {
                let of = |dims: &[usize], at: usize| [vec![0.0; at], numbers(dims)].concat();
                let (input, delta) = (of(&input_dims, input_at), of(&delta_dims, delta_at));
                let input = &input[input_at..][..input_dims.iter().product()];
                let delta = &delta[delta_at..][..delta_dims.iter().product()];
                let mut gradient = vec![0.0; shape.weights_len()];
                let input = View::new(input, &input_dims, Layout::Nhwc).unwrap();
                let delta = View::new(delta, &delta_dims, Layout::Nhwc).unwrap();
                let out = ViewMut::new(&mut gradient, &shape.weights_dims(), Layout::Nchw).unwrap();
                let problem = WeightGradient::new(&shape, input, delta, out, Update::overwrite()).unwrap();
                assert!(can_read(&kernel, &problem));
                run(&kernel, problem, isa, &mut vec![0.0; kernel.scratch_len(&shape)]);
                gradient.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let expected = compute(0, 0);
            for at in 1..16 {
                assert_eq!(compute(at, 0), expected, "{text} on {isa}, input {at} elements later");
                assert_eq!(compute(at, 16 - at), expected, "{text} on {isa}, both operands later");
            }
        }
    }
}
