//! Winograd's algorithm: a quarter of the multiplications of 3x3 kernels of stride 1. Here the weight gradient; [`forward`] has
//! the other passes.
//!
//! ```text
//! for tile of r x r outputs, r = 4 or 2:
//!     U[ic] = B^T x B         x: the (r+2) x (r+2) inputs the tile meets
//!     V[oc] = G delta G^T
//!     M[oc,ic] += U[ic] * V[oc]       point by point
//! dW[oc,ic] = A^T M[oc,ic] A
//! ```
//!
//! The sum over a tile's outputs is a correlation in which delta plays the kernel; [`toom`](crate::simd::toom) derives the
//! three maps. Both maps of operands are shared by all channels of the other operand, and the map of the gradient is applied
//! after the sum over tiles; what remains is, for each of the `(r+2)^2` points, a matrix product over all tiles.
//!
//! ```text
//! for pass over the chunks of tiles:                      so many that their transforms stay in an L3 cache
//!     for chunk, block of channels in parallel:           transform
//!         transpose what the chunk's tiles meet to [position][channel]; U or V as [point][tile][channel]
//!     for block of oc, tiles of ic in parallel:           multiply
//!         for block of chunks, tile of ic:
//!             M = for each point, sums of products over the tiles         in the L1 cache
//!             sums (+)= A^T M A
//! write the sums into the gradient
//! ```
//!
//! 1. Channels lie in lanes, so that all maps are arithmetic on whole vectors.
//! 2. `M` is large (four times the gradient) and is never written to memory: a task computes all points of a register tile
//!    of channels and maps them at once. Maps add, so that each block of tiles may be mapped by itself.
//! 3. A few tiles are summed by themselves in registers, then added to the sum of all: errors grow with the length of a sum,
//!    and this matters more to them than the points.
//! 4. Tiles that hang over an edge are filled up with zeros. Outputs that read nothing but padding have no tiles.
//! 5. Where the tiles are one block, and blocks of `oc` enough for all threads, a task writes its gradient at once.
//! 6. Chunks, blocks and passes depend on the shape and the registers: the bits are the same on any number of threads.

mod forward;
mod multiply;
mod plan;
mod strip;
mod transform;
mod workspace;

use super::{Backend, ErrorScale, RANDOM_WALK};
use crate::bias;
use crate::correlation::{for_each_correlation, phase_shapes};
use crate::cost::Cost;
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::partition::{ELEMENT_FLOPS, join, work_within};
use crate::problem::{Problem, WeightGradient};
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::winograd::TAPS;
use crate::write::write;
use forward::forward;
use forward::plan::ForwardPlan;
use multiply::{GradientSums, Multiplication};
use plan::{Plan, TileSize};
use transform::transform;

/// Channels of a group below which vectors stay mostly empty.
const MIN_CHANNELS: usize = 8;

/// Winograd's algorithm on one instruction set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Winograd {
    isa: Isa,
    /// Whether tiles are of two outputs always, and not of four where that is faster.
    small_tiles: bool,
}

impl Winograd {
    /// On an instruction set of the caller's choice.
    pub(crate) fn on(isa: Isa) -> Winograd {
        Winograd { isa, small_tiles: false }
    }

    /// The same with tiles of 2x2 outputs only, whose errors are less than half of those of 4x4.
    pub(crate) fn with_small_tiles_on(isa: Isa) -> Winograd {
        Winograd { isa, small_tiles: true }
    }

    fn name(&self) -> &'static str {
        if self.small_tiles { "winograd-2x2" } else { "winograd" }
    }

    fn plan<T: Element>(&self, shape: &ConvShape) -> Plan {
        let (registers, element) = (self.isa.registers::<T::Acc>(), size_of::<T::Acc>());
        match self.small_tiles {
            true => Plan::with(TileSize::Two, shape, registers, element),
            false => Plan::new(shape, registers, element),
        }
    }

    fn forward_plan<T: Element>(&self, shape: &ConvShape) -> ForwardPlan {
        let (registers, element) = (self.isa.registers::<T::Acc>(), size_of::<T::Acc>());
        match self.small_tiles {
            true => ForwardPlan::with(TileSize::Two, shape, registers, element),
            false => ForwardPlan::new(shape, registers, element),
        }
    }

    /// What makes a supported operation.
    fn way<T: Element>(&self, op: Op, shape: &ConvShape) -> Way {
        let forward = |shape: ConvShape| Way::Forward(self.forward_plan::<T>(&shape), shape);
        match op {
            Op::BiasGradient => Way::Plain,
            _ if refusal(shape).is_some() => Way::Plain,
            Op::WeightGradient => Way::WeightGradient(self.plan::<T>(shape)),
            Op::Forward => forward(*shape),
            // Of stride 1 there is one residue, unless no output meets the input.
            Op::InputGradient => phase_shapes(shape).next().map_or(Way::Plain, forward),
        }
    }
}

/// How an operation is computed.
enum Way {
    WeightGradient(Plan),
    /// As a forward pass of this shape.
    Forward(ForwardPlan, ConvShape),
    /// Without transforms.
    Plain,
}

/// Why a pass is refused, and what to do instead.
fn refusal(shape: &ConvShape) -> Option<(&'static str, &'static str)> {
    let [_, height, width] = shape.axes();
    let remedy = "use `direct`";
    let fits = |axis: &crate::shape::Axis| axis.kernel == TAPS && axis.stride == 1 && axis.dilation == 1;
    if shape.rank() != 2 || !fits(height) || !fits(width) {
        return Some(("its transforms are those of 3x3 kernels of stride 1 without dilation", remedy));
    }
    let channels = shape.group_in_channels().min(shape.group_out_channels());
    (channels < MIN_CHANNELS)
        .then_some(("a group has fewer than 8 input or output channels, and lanes stay idle", remedy))
}

impl<T: Element> Backend<T> for Winograd {
    fn name(&self) -> &'static str {
        Winograd::name(self)
    }

    fn description(&self) -> String {
        let tiles = if self.small_tiles { "2x2" } else { "4x4 and 2x2" };
        format!("3x3 kernels by tiles of {tiles} outputs, on {}", self.isa)
    }

    fn supports(&self, op: Op, shape: &ConvShape) -> Result<(), Unsupported> {
        let refuse = |(reason, remedy)| Err(Unsupported { backend: Winograd::name(self), op, reason, remedy });
        match op {
            Op::BiasGradient => Ok(()),
            _ => refusal(shape).map_or(Ok(()), refuse),
        }
    }

    fn scratch_len(&self, op: Op, shape: &ConvShape) -> usize {
        match self.way::<T>(op, shape) {
            Way::WeightGradient(plan) => plan.scratch_len(shape),
            Way::Forward(plan, shape) => plan.scratch_len(&shape),
            Way::Plain => 0,
        }
    }

    fn cost(&self, op: Op, shape: &ConvShape) -> Cost {
        let elements = |dims: Vec<usize>| dims.iter().product::<usize>() as f64;
        let delta = elements(shape.output_dims());
        let (flops, elements, tasks, kernel) = match self.way::<T>(op, shape) {
            Way::WeightGradient(plan) => {
                let [delta_pass, input_pass, sums] = plan.lens(shape).map(|len| len as f64);
                // Transforms are written once and read once.
                let transforms = plan.chunks as f64 / plan.pass as f64 * 2.0 * (delta_pass + input_pass);
                let operands = delta + elements(shape.input_dims());
                let elements = operands + transforms + 2.0 * sums + shape.weights_len() as f64;
                (plan.flops(shape), elements, plan.tasks(shape), plan.size.name())
            }
            Way::Forward(plan, shape) => {
                (plan.flops(&shape), plan.elements(&shape), plan.tasks, plan.size.forward_name())
            }
            Way::Plain => (delta, delta, 1, ""),
        };
        Cost { flops, bytes: elements * size_of::<T>() as f64, loops: 0.0, tasks, kernel }
    }

    /// Let `h` be the roundings a number meets on its way: through the maps of its operand, the product, the sums, the map of
    /// the result. The computed result of a tile errs by at most `h * u / (1 - h * u)` of what the same maps make of magnitudes
    /// throughout (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1),
    ///
    /// ```text
    /// |delta|^T W |x|       W = |G|^T diag(|A^T| row k) |B^T|     of each axis; over both, the tensor product of two
    /// ```
    ///
    /// which is at most `w^2 * |delta|_2 * |x|_2`, `w` being the largest 2-norm of `W`: of the weight gradient 8.34 for tiles of
    /// four outputs, 2.76 for tiles of two. Over all tiles, by Cauchy's inequality, the norms are those of all of delta, and
    /// twice that of all of the input, for an input belongs to at most two tiles along each axis.
    ///
    /// In a forward pass the kernel stands for delta, and `w` is 8.10 or 3.06. Over all input channels, again by Cauchy's
    /// inequality, the norms are those of all weights of the output channel and of all inputs of the tile, none of which is
    /// more than three positions from those the output reads. Adding the bias rounds once more.
    fn error_bound(&self, op: Op, shape: &ConvShape) -> f64 {
        match self.way::<T>(op, shape) {
            Way::WeightGradient(plan) => plan.error_bound(T::UNIT_ROUNDOFF),
            Way::Forward(plan, shape) => plan.error_bound(&shape, T::UNIT_ROUNDOFF),
            Way::Plain => bias::bias_error_bound::<T>(shape),
        }
    }

    fn error_scale(&self, op: Op, _: &ConvShape) -> ErrorScale {
        if op == Op::BiasGradient { ErrorScale::Products } else { ErrorScale::Norms }
    }

    fn typical_error(&self, op: Op, shape: &ConvShape) -> f64 {
        match self.way::<T>(op, shape) {
            Way::WeightGradient(plan) => plan.size.typical_error(),
            Way::Forward(plan, shape) => plan.typical_error(&shape),
            Way::Plain => RANDOM_WALK * bias::bias_error_bound::<T>(shape).sqrt(),
        }
    }

    /// Number by number it is Rust's own arithmetic, which fuses nothing.
    fn is_reproducible(&self) -> bool {
        self.isa == Isa::SCALAR
    }

    fn plan(&self, op: Op, shape: &ConvShape) -> Option<String> {
        match self.way::<T>(op, shape) {
            Way::WeightGradient(plan) => Some(plan.to_string()),
            Way::Forward(plan, _) => Some(plan.to_string()),
            Way::Plain => None,
        }
    }

    fn run(&self, problem: Problem<'_, T>, scratch: &mut [T::Acc]) {
        match problem {
            Problem::WeightGradient(problem) => {
                let plan = self.plan::<T>(problem.shape);
                weight_gradient(problem, &plan, self.isa, scratch);
            }
            Problem::BiasGradient(problem) => bias::bias_gradient(problem),
            Problem::Forward(problem) => {
                let plan = self.forward_plan::<T>(problem.shape);
                forward(problem.into(), &plan, self.isa, scratch);
            }
            Problem::InputGradient(problem) => for_each_correlation(problem, |pass| {
                let plan = self.forward_plan::<T>(&pass.shape);
                forward(pass, &plan, self.isa, scratch);
            }),
        }
    }
}

/// Computes a supported problem by its plan.
fn weight_gradient<T: Element>(problem: WeightGradient<'_, T>, plan: &Plan, isa: Isa, scratch: &mut [T::Acc]) {
    let WeightGradient { shape, input, delta, gradient, update, .. } = problem;
    let [delta_len, input_len, sums_len] = plan.lens(shape);
    let (delta_place, rest) = scratch.split_at_mut(delta_len);
    let (input_place, rest) = rest.split_at_mut(input_len);
    let sums = &mut rest[..sums_len];
    if plan.chunks == 0 {
        sums.fill(T::Acc::default());
    }
    for first in (0..plan.chunks).step_by(plan.pass) {
        let chunks = first..plan.chunks.min(first + plan.pass);
        let work = |len: usize| (len / plan.pass * chunks.len()) as f64 * ELEMENT_FLOPS;
        let [delta_work, input_work] = [work(delta_len), work(input_len)];
        join(
            delta_work + input_work,
            || {
                transform::<T>(
                    transform::Role::Delta,
                    shape,
                    plan,
                    isa,
                    &delta,
                    chunks.clone(),
                    delta_work,
                    delta_place,
                )
            },
            || {
                transform::<T>(
                    transform::Role::Input,
                    shape,
                    plan,
                    isa,
                    &input,
                    chunks.clone(),
                    input_work,
                    input_place,
                )
            },
        );
        let multiplication = Multiplication { shape, plan, isa, chunks, delta: delta_place, input: input_place };
        if plan.is_at_once(shape) && work_within(shape.groups() * plan.oc_blocks, shape.flops()) == 0.0 {
            return multiplication.write(gradient, update);
        }
        multiplication.add_to(sums);
    }
    write(isa, shape, &GradientSums { shape, plan, sums }, gradient, update);
}
