//! Which kernel computes a problem, and how it cuts it: plain data, computed from the shape and the registers.

use super::depthwise_plan::DepthwisePlan;
use super::dot_plan::DotPlan;
use super::outer_plan::OuterPlan;
use super::plain;
use super::planar_plan::PlanarPlan;
use super::slide_plan::SlidePlan;
use crate::shape::ConvShape;
use crate::simd::Registers;

/// Work below which the sliding kernel is left out, for its estimate is too rough there: with it, 777 problems of that size
/// took between a third and two and a half times as long, and 8 % longer in the mean (Zen 5, AVX-512).
const MIN_SLIDE_FLOPS: f64 = 1e5;

/// Cycles up to which loops on one thread may be preferred to kernels that pack: some 50 microseconds. Strided depthwise layers
/// of 4 to 32 channels on 7x7 took 2.8 times as long packed.
const MAX_PLAIN_CYCLES: f64 = 200e3;

/// How a weight gradient is computed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// Those that are faster where the operands lie as they read them, the fastest first.
    pub in_place: [Option<Kernel>; 3],
    /// However the operands lie.
    pub anywhere: Kernel,
}

/// A kernel and how it cuts a problem.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kernel {
    Plain,
    Slide(SlidePlan),
    Depthwise(DepthwisePlan),
    Planar(PlanarPlan),
    Outer(OuterPlan),
    Dot(DotPlan),
}

impl Plan {
    /// The plan whose kernels need the fewest cycles; `element` is the size of a sum in bytes.
    pub fn new(shape: &ConvShape, registers: Registers, element: usize) -> Plan {
        if plain::suits(shape) {
            return Plan { in_place: [None, None, None], anywhere: Kernel::Plain };
        }
        let outer = Kernel::Outer(OuterPlan::new(shape, registers, element));
        let dot = Kernel::Dot(DotPlan::new(shape, registers));
        let packed = if outer.cycles(shape) <= dot.cycles(shape) { outer } else { dot };
        // What is not tiny, but has few positions for each of many planes, is still not worth packing.
        let is_faster = plain::cycles(shape) < packed.cycles(shape).min(MAX_PLAIN_CYCLES);
        let anywhere = if is_faster { Kernel::Plain } else { packed };
        let is_large = shape.flops() >= MIN_SLIDE_FLOPS;
        let slide = is_large.then(|| SlidePlan::new(shape, registers)).flatten().map(Kernel::Slide);
        let depthwise = is_large.then(|| DepthwisePlan::new(shape, registers)).flatten().map(Kernel::Depthwise);
        let planar = Some(Kernel::Planar(PlanarPlan::new(shape, registers, element)));
        let limit = anywhere.cycles(shape);
        let mut in_place =
            [slide, depthwise, planar].map(|kernel| kernel.filter(|kernel| kernel.cycles(shape) < limit));
        let cycles = |kernel: &Option<Kernel>| kernel.as_ref().map_or(limit, |kernel| kernel.cycles(shape));
        in_place.sort_by(|a, b| cycles(a).total_cmp(&cycles(b)));
        Plan { in_place, anywhere }
    }

    /// All kernels, the one that is preferred first.
    fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.in_place.iter().flatten().chain([&self.anywhere])
    }

    /// Elements of scratch that suffice for each kernel.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        self.kernels().map(|kernel| kernel.scratch_len(shape)).fold(0, usize::max)
    }

    /// Cycles of the kernel that is preferred, on one core.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        self.kernels().next().map_or(0.0, |kernel| kernel.cycles(shape))
    }

    /// The name of the kernel that is preferred.
    pub fn name(&self) -> &'static str {
        match self.kernels().next() {
            None | Some(Kernel::Plain) => "plain",
            Some(Kernel::Slide(_)) => "slide",
            Some(Kernel::Depthwise(_)) => "depthwise",
            Some(Kernel::Planar(_)) => "planar",
            Some(Kernel::Outer(plan)) if plan.bundle > 1 => "grouped",
            Some(Kernel::Outer(_)) => "outer",
            Some(Kernel::Dot(_)) => "dot",
        }
    }

    /// Whether the kernel that is preferred takes the bias gradient along.
    pub fn fuses_bias(&self) -> bool {
        matches!(self.kernels().next(), Some(Kernel::Planar(_) | Kernel::Outer(_)))
    }

    /// Tasks of the kernel that is preferred.
    pub fn tasks(&self, shape: &ConvShape) -> usize {
        self.kernels().next().map_or(1, |kernel| kernel.tasks(shape))
    }

    /// Additions the longest chain of roundings has, in any kernel.
    pub fn longest_chain(&self, shape: &ConvShape) -> usize {
        self.kernels().map(|kernel| kernel.longest_chain(shape)).fold(0, usize::max)
    }
}

impl Kernel {
    /// Elements of scratch.
    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        match self {
            Kernel::Plain => 0,
            Kernel::Slide(plan) => plan.scratch_len(shape),
            Kernel::Depthwise(plan) => plan.scratch_len(shape),
            Kernel::Planar(plan) => plan.scratch_len(shape),
            Kernel::Outer(plan) => plan.scratch_len(shape),
            Kernel::Dot(plan) => plan.scratch_len(shape),
        }
    }

    /// Cycles of the whole problem on one core: what the choice among kernels weighs.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        match self {
            Kernel::Plain => plain::cycles(shape),
            Kernel::Slide(plan) => plan.cycles(shape),
            Kernel::Depthwise(plan) => plan.cycles(shape),
            Kernel::Planar(plan) => plan.cycles(shape),
            Kernel::Outer(plan) => plan.cycles(shape),
            Kernel::Dot(plan) => plan.cycles(shape),
        }
    }

    /// Pieces of the main loop that do not wait for each other.
    pub fn tasks(&self, shape: &ConvShape) -> usize {
        match self {
            Kernel::Plain => 1,
            Kernel::Slide(plan) => plan.slots.count(shape),
            Kernel::Depthwise(plan) => plan.packed.slots.count(shape),
            Kernel::Planar(plan) => plan.tasks(shape),
            Kernel::Outer(plan) => plan.tasks(shape),
            Kernel::Dot(plan) => plan.slots.count(shape),
        }
    }

    /// Additions the longest chain of roundings has.
    fn longest_chain(&self, shape: &ConvShape) -> usize {
        match self {
            Kernel::Plain => shape.terms(),
            Kernel::Slide(plan) => plan.longest_chain(shape),
            Kernel::Depthwise(plan) => plan.longest_chain(shape),
            Kernel::Planar(plan) => plan.cut.longest_chain(shape),
            Kernel::Outer(plan) => plan.cut.longest_chain(shape),
            Kernel::Dot(plan) => plan.longest_chain(shape),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::public_plan::{DirectKernel, DirectPlan};
    use super::*;
    use DirectKernel::{Depthwise, Dot, Grouped, Outer, Plain, Planar, Slide};

    const AVX512: Registers = Registers { lanes: 16, count: 32 };
    const AVX2: Registers = Registers { lanes: 8, count: 16 };
    const SCALAR: Registers = Registers { lanes: 1, count: 16 };

    fn plan(registers: Registers, shape: &str) -> DirectPlan {
        DirectPlan::on(registers, 4, &shape.parse().unwrap())
    }

    #[test]
    fn telling_shapes_get_the_kernels_made_for_them() {
        type Told = (DirectKernel, [usize; 2]);
        let plans: [(Registers, &str, &[Told]); 14] = [
            // The worked example, and what is little larger.
            (AVX512, "mb1ic1ih5oc1oh4kh2", &[(Plain, [1, 1])]),
            (SCALAR, "mb1ic1ih5oc1oh4kh2", &[(Plain, [1, 1])]),
            (AVX512, "mb1g16ic16ih4oc16kh3ph1", &[(Plain, [1, 1])]),
            // Channels enough for all lanes.
            (AVX512, "mb8ic64ih56oc64oh56kh3ph1", &[(Outer, [2, 8])]),
            (AVX512, "mb8ic512ih7oc512oh7kh3ph1", &[(Outer, [2, 8])]),
            (AVX2, "mb8ic96ih56oc96oh56kh3ph1", &[(Outer, [2, 6])]),
            // One tap: only the smaller operand is packed.
            (AVX512, "mb8ic64ih56oc256oh56kh1", &[(Planar, [2, 8]), (Outer, [2, 8])]),
            // Few input channels: their taps fill the tile.
            (AVX512, "mb8ic3ih224oc64oh112kh7sh2ph3", &[(Planar, [2, 8]), (Outer, [4, 3])]),
            // Depthwise: rows where they lie, or channels, if one of them is contiguous.
            (AVX512, "mb8g32ic32ih112oc32oh112kh3ph1", &[(Slide, [3, 3]), (Depthwise, [3, 3]), (Dot, [3, 3])]),
            (AVX512, "mb8g512ic512ih14oc512oh7kh3sh2ph1", &[(Depthwise, [3, 3]), (Grouped, [1, 1])]),
            // Groups of few channels, which would leave lanes idle; and of as many as lanes.
            (AVX512, "mb8g32ic256ih28oc256kh3ph1", &[(Grouped, [4, 4])]),
            (AVX2, "mb8g32ic256ih28oc256kh3ph1", &[(Grouped, [2, 4])]),
            (AVX512, "mb8g32ic512ih14oc512kh3ph1", &[(Outer, [1, 16])]),
            // One channel.
            (AVX512, "mb1ic1ih512oc1oh510kh3", &[(Slide, [3, 3]), (Dot, [3, 3])]),
        ];
        for (registers, shape, expected) in plans {
            let plan = plan(registers, shape);
            let told = plan.in_place.iter().chain([&plan.anywhere]).map(|kernel| (kernel.kernel, kernel.tile));
            assert_eq!(told.collect::<Vec<_>>(), expected, "{shape} on {registers:?}");
        }
    }

    #[test]
    fn a_block_lies_in_its_problem_and_scratch_suffices_for_each_kernel() {
        for text in [
            "mb1ic1ih5oc1oh4kh2",
            "mb8ic64ih56oc64oh56kh3ph1",
            "mb8g32ic32ih112oc32oh112kh3ph1",
            "mb1ic1ih512oc1oh498kh15",
            "mb4ic16iw16000oc16kw2dw511",
            "mb1ic64id16ih56oc64oh56kd3kh3pd1ph1",
            "mb2ic8ih300iw2oc8kh5sh2kw1",
        ] {
            let shape: ConvShape = text.parse().unwrap();
            let [depth, height, width] = shape.axes().map(|axis| axis.output);
            for registers in [AVX512, AVX2, SCALAR] {
                let plan = plan(registers, text);
                for kernel in plan.in_place.iter().chain([&plan.anywhere]) {
                    let of_problem = [shape.batch(), depth, height, width];
                    let fits = kernel.block.iter().zip(of_problem).all(|(&len, all)| (1..=all).contains(&len));
                    assert!(fits, "{text}: {kernel:?}");
                    assert!(kernel.scratch_len <= plan.scratch_len, "{text}: {kernel:?}");
                    assert!(kernel.copies <= kernel.tasks, "{text}: {kernel:?}");
                }
            }
        }
    }

    #[test]
    fn images_are_cut_along_the_outermost_axis_with_room() {
        for (text, block) in [
            ("mb8ic64ih56oc64oh56kh3ph1", [1, 1, 19, 56]),
            // Wider than high: lines stay whole.
            ("mb1ic3ih496iw512oc64kh3ph1pw1", [1, 1, 6, 512]),
            // A plane finds no room, and a line of a flat image is all there is.
            ("mb1ic64id16ih56oc64kd3kh3pd1ph1", [1, 16, 2, 56]),
            ("mb1ic256iw16000oc256kw3pw1", [1, 1, 1, 4000]),
        ] {
            assert_eq!(plan(AVX512, text).anywhere.block, block, "{text}");
        }
    }

    #[test]
    fn a_plan_is_told_in_one_line() {
        assert_eq!(plan(AVX512, "mb1ic1ih5oc1oh4kh2").to_string(), "plain, 3.36e2 cycles");
        let told = plan(AVX512, "mb8g32ic32ih112oc32oh112kh3ph1").to_string();
        let kernels: Vec<&str> = told.split("; else ").collect();
        for (told, begins) in kernels.iter().zip(["slide 3x3, 16 lanes, blocks of ", "depthwise 3x3, ", "dot 3x3, "]) {
            assert!(told.starts_with(begins), "{told}");
        }
        assert_eq!(kernels.len(), 3);
        assert!(!told.contains('\n') && told.ends_with(" cycles"), "{told}");
    }
}
