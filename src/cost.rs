//! What a backend tells of the work a problem is: the one thing the chooser knows of a kernel without running it.
//!
//! A count and no time: how long a multiply-add, a byte or the beginning of a loop takes is the processor's affair, and measured.

/// What a backend spends on a problem: what [`Auto`](crate::Auto) predicts its time from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Floating point operations executed, work on padding and on idle lanes included.
    pub flops: f64,
    /// Bytes read and written: operands, result, and every copy made on the way.
    pub bytes: f64,
    /// Inner loops begun beside those whose price `flops` includes: what work on short rows is made of.
    pub loops: f64,
    /// Pieces that do not wait for each other: more threads than these are of no use.
    pub tasks: usize,
    /// Which of the backend's kernels spends it, where it has several: what is measured of one says nothing of another.
    pub kernel: &'static str,
}

impl Default for Cost {
    /// Nothing, in one piece.
    fn default() -> Cost {
        Cost { flops: 0.0, bytes: 0.0, loops: 0.0, tasks: 1, kernel: "" }
    }
}

impl Cost {
    /// Of problems that are computed one after the other, each by a kernel: the one that has most to do stands for all.
    pub(crate) fn sum(costs: impl Iterator<Item = Cost>) -> Cost {
        let (mut sum, mut most) = (Cost::default(), 0.0);
        for Cost { flops, bytes, loops, tasks, kernel } in costs {
            if flops >= most {
                (sum.kernel, most) = (kernel, flops);
            }
            sum.flops += flops;
            sum.bytes += bytes;
            sum.loops += loops;
            sum.tasks = sum.tasks.max(tasks);
        }
        sum
    }
}
