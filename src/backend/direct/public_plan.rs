//! The plan of the direct backend as its users see it: what it chose for a shape, without the kernels' inner workings.

use super::plan::{Kernel, Plan};
use crate::element::Element;
use crate::shape::ConvShape;
use crate::simd::{Isa, Registers};
use std::fmt;

/// How the backend `direct` computes the weight gradient of a shape: which kernel, and how it cuts the problem.
///
/// A plan depends on the shape, the instruction set and the number type alone, never on the number of threads; so the
/// result's bits do not depend on them either.
///
/// ```
/// use convgrad::{ConvShape, DirectKernel, DirectPlan, Isa};
///
/// let shape: ConvShape = "mb8ic64ih56oc64oh56kh3ph1".parse()?;
/// let plan = DirectPlan::new::<f32>(&shape, Isa::best());
/// assert_eq!(plan.anywhere.kernel, DirectKernel::Outer);
/// println!("{plan}");
/// # Ok::<(), convgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DirectPlan {
    /// Kernels that are faster where the operands lie as they read them, the fastest first.
    pub in_place: Vec<KernelPlan>,
    /// The kernel that computes the problem however its operands lie.
    pub anywhere: KernelPlan,
    /// Elements of scratch, which suffice for each kernel.
    pub scratch_len: usize,
}

/// A kernel of the backend `direct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DirectKernel {
    /// The definition as loops, without preparation.
    Plain,
    /// Positions in lanes, nothing packed: rows of delta past rows of the input.
    Slide,
    /// Channels in lanes, for depthwise convolutions: columns of delta past columns of the input.
    Depthwise,
    /// Channels of one operand in lanes, packed; the other operand broadcast from where it lies.
    Planar,
    /// Output channels in lanes, input channels broadcast, both packed.
    Outer,
    /// Groups in lanes, for groups of few channels: one channel of each of several groups, both operands packed.
    Grouped,
    /// Positions in lanes, packed so that every tap is a shift.
    Dot,
}

/// A kernel and how it cuts a problem.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KernelPlan {
    /// The kernel.
    pub kernel: DirectKernel,
    /// Vectors of the one operand by vectors, or broadcast numbers, of the other: the sums that registers hold.
    pub tile: [usize; 2],
    /// Numbers in a vector.
    pub lanes: usize,
    /// Images, and outputs along depth, height and width, of which operands are prepared at a time.
    pub block: [usize; 4],
    /// Pieces of the main loop that do not wait for each other: more threads than these are of no use.
    pub tasks: usize,
    /// Copies of the sums, which are merged in their order.
    pub copies: usize,
    /// Elements of scratch this kernel needs.
    pub scratch_len: usize,
    /// Cycles it is estimated to take on one core.
    pub cycles: f64,
}

impl DirectPlan {
    /// The plan of a shape, on an instruction set, for elements of type `T`.
    pub fn new<T: Element>(shape: &ConvShape, isa: Isa) -> DirectPlan {
        DirectPlan::on(isa.registers::<T::Acc>(), size_of::<T::Acc>(), shape)
    }

    /// The plan for such registers and sums of so many bytes.
    pub(super) fn on(registers: Registers, element: usize, shape: &ConvShape) -> DirectPlan {
        let plan = Plan::new(shape, registers, element);
        DirectPlan {
            in_place: plan.in_place.iter().flatten().map(|kernel| KernelPlan::new(kernel, shape)).collect(),
            anywhere: KernelPlan::new(&plan.anywhere, shape),
            scratch_len: plan.scratch_len(shape),
        }
    }
}

impl KernelPlan {
    fn new(kernel: &Kernel, shape: &ConvShape) -> KernelPlan {
        let [depth, height, width] = shape.axes().map(|axis| axis.output);
        let (name, tile, lanes, block, copies) = match kernel {
            Kernel::Plain => (DirectKernel::Plain, [1, 1], 1, [shape.batch(), depth, height, width], 1),
            Kernel::Slide(plan) => {
                let block = [plan.images, depth, plan.band.min(height), width];
                (DirectKernel::Slide, [plan.tile.v, plan.tile.n], plan.lanes, block, plan.slots.parts())
            }
            Kernel::Depthwise(plan) => {
                let block = [plan.packed.images, 1, plan.packed.rows, width];
                (DirectKernel::Depthwise, [plan.tile.v, plan.tile.n], plan.lanes, block, plan.packed.slots.unit_parts)
            }
            Kernel::Planar(plan) => {
                let [depth, height, width] = plan.cut.outputs(shape);
                let block = [plan.cut.images, depth, height, width];
                (DirectKernel::Planar, [plan.tile.v, plan.tile.n], plan.lanes, block, plan.cut.parts)
            }
            Kernel::Outer(plan) => {
                let [depth, height, width] = plan.cut.outputs(shape);
                let block = [plan.cut.images, depth, height, width];
                let kernel = if plan.bundle == 1 { DirectKernel::Outer } else { DirectKernel::Grouped };
                (kernel, [plan.tile.v, plan.tile.n], plan.lanes, block, plan.cut.parts)
            }
            Kernel::Dot(plan) => {
                let [depth, height, width] = plan.axes.map(|axis| axis.outputs);
                let block = [1, depth, height, width];
                (DirectKernel::Dot, [plan.tile.v, plan.tile.n], plan.lanes, block, plan.slots.unit_parts)
            }
        };
        let (tasks, scratch_len, cycles) = (kernel.tasks(shape), kernel.scratch_len(shape), kernel.cycles(shape));
        KernelPlan { kernel: name, tile, lanes, block, tasks, copies, scratch_len, cycles }
    }
}

impl fmt::Display for DirectKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DirectKernel::Plain => "plain",
            DirectKernel::Slide => "slide",
            DirectKernel::Depthwise => "depthwise",
            DirectKernel::Planar => "planar",
            DirectKernel::Outer => "outer",
            DirectKernel::Grouped => "grouped",
            DirectKernel::Dot => "dot",
        })
    }
}

/// In one line: the preferred kernel, and after each `; else` one for operands that lie otherwise.
impl fmt::Display for DirectPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for in_place in &self.in_place {
            write!(f, "{in_place}; else ")?;
        }
        self.anywhere.fmt(f)
    }
}

impl fmt::Display for KernelPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KernelPlan { kernel, tile: [v, n], lanes, block, tasks, copies, scratch_len, cycles } = self;
        write!(f, "{kernel}")?;
        if *kernel != DirectKernel::Plain {
            let [images, depth, height, width] = block;
            write!(f, " {v}x{n}, {lanes} lanes, blocks of {images}x{depth}x{height}x{width}")?;
            write!(f, ", {}", counted(*tasks, "task"))?;
            if *copies > 1 {
                write!(f, ", {copies} copies of the sums")?;
            }
            write!(f, ", scratch of {}", counted(*scratch_len, "element"))?;
        }
        write!(f, ", {cycles:.2e} cycles")
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
