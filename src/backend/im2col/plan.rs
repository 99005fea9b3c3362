//! How a problem is cut: blocks of rows, pieces of columns, tasks, and the scratch all that takes.
//!
//! Everything here is a function of the shape, never of threads or of what the operands hold, so that results do not
//! depend on the pool and scratch can be allocated ahead.

use crate::shape::ConvShape;
use std::ops::Range;

/// Rows of the unfolded matrix in a block: wide enough that packing delta once per block costs a few percent of the
/// multiplication, and it leaves pieces as long as the block of 256 terms in which matrixmultiply sums.
const BLOCK_ROWS: usize = 256;

/// Channels of delta (or of the output) copied at a time, for the same two reasons.
const BLOCK_CHANNELS: usize = 256;

/// Elements of one piece of the unfolded matrix, and of one copied piece of delta or output: 256 KiB in `f32`. A piece
/// is written, then packed by matrixmultiply into a buffer of its size; both stay in a second-level cache of 1 MiB.
pub(super) const PIECE: usize = 1 << 16;

/// Terms below which a product spends its time on loading and storing the result rather than on multiplying, so that
/// copying several images into one piece is cheaper than multiplying each in place.
const LEAST_TERMS: usize = 32;

/// Most tasks a problem is cut into. Each has two pieces of scratch of its own, so this bounds the memory of all
/// pieces: `32 * 2 * 65536` elements, 16 MiB in `f32`, however large the problem.
pub(super) const MAX_TASKS: usize = 32;

/// Tasks wanted at least, where the problem is large enough: two for each of 8 threads.
const WANTED_TASKS: usize = 16;

/// Work below which a task is not worth its scratch: some 50 microseconds.
const TASK_FLOPS: f64 = 4e6;

/// Elements partial gradients may take together where the terms of the sum are split over tasks: 8 MiB in `f32`. With
/// fewer weights than that splitting costs little; with more, rows alone make enough tasks.
pub(super) const PARTIALS: usize = 1 << 21;

/// The sizes of the blocks a matrix product is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocking {
    /// Rows of the unfolded matrix of one group: input channels of the group times taps.
    pub all_rows: usize,
    /// Rows of a block; the last one may have fewer.
    pub rows: usize,
    /// Blocks of rows in a group.
    pub row_blocks: usize,
    /// Channels of delta or output in a block.
    pub channels: usize,
    /// Most columns of a piece.
    pub columns: usize,
}

impl Blocking {
    pub fn new(shape: &ConvShape) -> Blocking {
        let all_rows = shape.group_in_channels() * shape.taps();
        let rows = all_rows.div_ceil(all_rows.div_ceil(BLOCK_ROWS));
        let channels = shape.group_out_channels().min(BLOCK_CHANNELS);
        let columns = (PIECE / rows.max(channels)).min(shape.terms());
        Blocking { all_rows, rows, row_blocks: all_rows.div_ceil(rows), channels, columns }
    }

    /// The rows of a block.
    pub fn rows_of(&self, block: usize) -> Range<usize> {
        block * self.rows..((block + 1) * self.rows).min(self.all_rows)
    }

    /// Elements of a piece of the unfolded matrix.
    pub fn unfolded_len(&self) -> usize {
        self.rows * self.columns
    }

    /// Elements of a piece of delta or output.
    pub fn channels_len(&self) -> usize {
        self.channels * self.columns
    }
}

/// The columns of the unfolded matrix, which are the terms of the sum, cut into pieces: several whole images, or a part
/// of one. A piece never holds parts of two images, because few operands continue from one image to the next in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pieces {
    terms: usize,
    image: usize,
    per_image: usize,
    /// Terms of a piece; the last one of an image or of the batch may have fewer.
    len: usize,
}

impl Pieces {
    /// Pieces of at most `columns` terms; `apart` keeps every image to itself, unless images are too small for that.
    pub fn new(shape: &ConvShape, columns: usize, apart: bool) -> Pieces {
        let (terms, image) = (shape.terms(), shape.output_positions());
        if image > columns || apart && image >= LEAST_TERMS {
            let len = image.div_ceil(image.div_ceil(columns));
            Pieces { terms, image, per_image: image.div_ceil(len), len }
        } else {
            let images = columns / image;
            Pieces { terms, image: images * image, per_image: 1, len: images * image }
        }
    }

    pub fn count(&self) -> usize {
        self.terms.div_ceil(self.image) * self.per_image
    }

    /// The terms of a piece.
    pub fn get(&self, piece: usize) -> Range<usize> {
        let (image, part) = (piece / self.per_image * self.image, piece % self.per_image * self.len);
        image + part..(image + (part + self.len).min(self.image)).min(self.terms)
    }

    /// The pieces of a range of terms; those at its ends may be cut.
    pub fn within(self, terms: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let piece_of = move |term: usize| term / self.image * self.per_image + term % self.image / self.len;
        (piece_of(terms.start)..=piece_of(terms.end - 1)).map(move |piece| {
            let piece = self.get(piece);
            piece.start.max(terms.start)..piece.end.min(terms.end)
        })
    }
}

/// How the weight gradient is cut into tasks.
///
/// A unit is a block of rows of one group, a part a share of the pieces. A task computes some units over one part. With
/// enough units there is one part, and no sum is ever merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GradientPlan {
    pub blocking: Blocking,
    pub units: usize,
    pub units_per_task: usize,
    /// Shares into which the pieces are cut.
    pub parts: usize,
    /// Elements of the gradient of one unit.
    pub unit_len: usize,
}

impl GradientPlan {
    pub fn new(shape: &ConvShape) -> GradientPlan {
        let blocking = Blocking::new(shape);
        let units = shape.groups() * blocking.row_blocks;
        let most_tasks = ((shape.flops() / TASK_FLOPS) as usize).clamp(1, MAX_TASKS);
        let units_per_task = units.div_ceil(most_tasks);
        let tasks_per_part = units.div_ceil(units_per_task);
        let parts = WANTED_TASKS
            .div_ceil(tasks_per_part)
            .min(most_tasks / tasks_per_part)
            .min(PARTIALS / shape.weights_len())
            .min(Pieces::new(shape, blocking.columns, false).count())
            .max(1);
        let unit_len = shape.group_out_channels() * blocking.rows;
        GradientPlan { blocking, units, units_per_task, parts, unit_len }
    }

    /// Tasks that share a part.
    pub fn tasks_per_part(&self) -> usize {
        self.units.div_ceil(self.units_per_task)
    }

    /// The part and the units of a task.
    pub fn task(&self, task: usize) -> (usize, Range<usize>) {
        let first = task % self.tasks_per_part() * self.units_per_task;
        (task / self.tasks_per_part(), first..(first + self.units_per_task).min(self.units))
    }

    /// The share of a part in `count` pieces.
    pub fn pieces_of(&self, part: usize, count: usize) -> Range<usize> {
        let before = |part: usize| part * (count / self.parts) + part.min(count % self.parts);
        before(part)..before(part + 1)
    }

    /// Elements of scratch of a task: the gradient of its units, a piece of the unfolded matrix, a piece of delta.
    pub fn task_len(&self) -> usize {
        self.units_per_task * self.unit_len + self.blocking.unfolded_len() + self.blocking.channels_len()
    }

    /// Where in scratch the first part of a unit's gradient lies; the others follow at [`part_stride`](Self::part_stride).
    pub fn unit_start(&self, unit: usize) -> usize {
        unit / self.units_per_task * self.task_len() + unit % self.units_per_task * self.unit_len
    }

    /// Elements of scratch from one part to the next.
    pub fn part_stride(&self) -> usize {
        self.tasks_per_part() * self.task_len()
    }

    /// Elements of scratch of all tasks.
    pub fn scratch_len(&self) -> usize {
        self.parts * self.part_stride()
    }
}

/// How the forward pass is cut: the output is halved up to `tasks` times where its memory allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ForwardPlan {
    pub blocking: Blocking,
    /// A power of two.
    pub tasks: usize,
}

impl ForwardPlan {
    pub fn new(shape: &ConvShape) -> ForwardPlan {
        let most_tasks = ((shape.flops() / TASK_FLOPS) as usize).clamp(1, MAX_TASKS);
        ForwardPlan { blocking: Blocking::new(shape), tasks: 1 << most_tasks.ilog2() }
    }

    /// Elements of scratch of a task: a piece of the unfolded matrix and one of the output.
    pub fn task_len(&self) -> usize {
        self.blocking.unfolded_len() + self.blocking.channels_len()
    }

    /// Elements of scratch of all tasks, and of the weights.
    pub fn scratch_len(shape: &ConvShape) -> usize {
        let plan = ForwardPlan::new(shape);
        shape.weights_len() + plan.tasks * plan.task_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From one weight to problems nobody has the memory for.
    const SHAPES: [&str; 12] = [
        "mb1ic1ih5oc1oh4kh2",
        "mb8ic64ih56oc64oh56kh3ph1",
        "mb8ic512ih7oc512oh7kh3ph1",
        "mb3ic512ih7oc2048oh7kh1",
        "mb8g512ic512ih14oc512oh14kh3ph1",
        "mb2g7ic35ih30oc21oh28kh3",
        "mb1ic1ih512oc1oh482kh31",
        "mb1ic1ih4222oc1oh4096kh127",
        "mb1ic64ih1oc100000oh1kh1",
        "mb1000000ic3iw7oc5ow5kw3",
        "mb64ic2048ih64oc2048oh64kh5ph2",
        "mb1ic3id9ih500iw70oc4od7oh498ow68kd3kh3kw3",
    ];

    fn shapes() -> impl Iterator<Item = ConvShape> {
        SHAPES.iter().map(|text| text.parse().unwrap())
    }

    #[test]
    fn pieces_cover_every_term_once() {
        for shape in shapes() {
            for columns in [1, 7, 49, 100, 256, 65536] {
                for apart in [false, true] {
                    // A million pieces tell nothing that a thousand do not.
                    let pieces = Pieces::new(&shape, columns, apart);
                    let mut next = 0;
                    let image = shape.output_positions();
                    for piece in (0..pieces.count()).map(|piece| pieces.get(piece)).take(2000) {
                        assert_eq!(piece.start, next, "{shape} {columns} {apart}");
                        assert!(!piece.is_empty() && piece.len() <= columns, "{shape} {columns} {apart}: {piece:?}");
                        let whole = piece.start % image == 0 && piece.end % image == 0;
                        let within = piece.start / image == (piece.end - 1) / image;
                        assert!(
                            within || whole && !(apart && image >= LEAST_TERMS),
                            "{shape} {columns} {apart}: {piece:?}"
                        );
                        next = piece.end;
                    }
                    assert!(pieces.count() > 2000 || next == shape.terms(), "{shape} {columns} {apart}");
                }
            }
        }
    }

    #[test]
    fn a_range_is_covered_by_its_pieces() {
        let shape: ConvShape = "mb5ic1ih9oc1oh7kh3".parse().unwrap();
        for (columns, apart) in [(20, false), (100, false), (100, true), (1, false)] {
            let pieces = Pieces::new(&shape, columns, apart);
            for (start, end) in [(0, 245), (0, 1), (30, 31), (48, 50), (20, 200), (98, 147)] {
                let mut next = start;
                for piece in pieces.within(start..end) {
                    assert!(piece.start == next && !piece.is_empty() && piece.len() <= columns);
                    next = piece.end;
                }
                assert_eq!(next, end, "{columns} {apart}");
            }
        }
    }

    #[test]
    fn tasks_cover_every_unit_and_piece_once() {
        for shape in shapes() {
            let plan = GradientPlan::new(&shape);
            let blocking = plan.blocking;
            let mut next = 0;
            for rows in (0..blocking.row_blocks).map(|block| blocking.rows_of(block)) {
                assert!(rows.start == next && !rows.is_empty() && rows.len() <= blocking.rows, "{shape}");
                next = rows.end;
            }
            assert_eq!(next, shape.group_in_channels() * shape.taps(), "{shape}");

            let tasks = plan.parts * plan.tasks_per_part();
            assert!(tasks <= MAX_TASKS, "{shape} makes {tasks} tasks");
            let mut seen = vec![0; plan.parts * plan.units];
            for task in 0..tasks {
                let (part, units) = plan.task(task);
                for unit in units {
                    seen[part * plan.units + unit] += 1;
                    let start = part * plan.part_stride() + plan.unit_start(unit);
                    assert!(start >= task * plan.task_len(), "{shape}");
                    assert!(start + plan.unit_len <= (task + 1) * plan.task_len(), "{shape}");
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{shape}: {seen:?}");

            let count = Pieces::new(&shape, blocking.columns, false).count();
            let mut next = 0;
            for pieces in (0..plan.parts).map(|part| plan.pieces_of(part, count)) {
                assert!(pieces.start == next && !pieces.is_empty(), "{shape}: {pieces:?}");
                next = pieces.end;
            }
            assert_eq!(next, count, "{shape}");
        }
    }

    #[test]
    fn scratch_is_capped() {
        for shape in shapes() {
            let plan = GradientPlan::new(&shape);
            let cap = MAX_TASKS * 2 * PIECE + PARTIALS.max(shape.weights_len()) * 17 / 8;
            assert!(plan.scratch_len() <= cap, "{shape}: {} elements, cap {cap}", plan.scratch_len());
            let plan = ForwardPlan::new(&shape);
            assert!(plan.tasks * plan.task_len() <= MAX_TASKS * 2 * PIECE, "{shape}");
        }
        let large: ConvShape = "mb1ic1ih4222oc1oh4096kh127".parse().unwrap();
        assert!(GradientPlan::new(&large).scratch_len() < 1 << 23, "32 MiB suffice in f32");
    }
}
