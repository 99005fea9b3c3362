//! The positions a call of a kernel with channels in lanes walks: up to three nested levels, each with its own pitches.

/// Positions a kernel call walks, and the pitches, in elements, with which it walks the operand that has vectors and the one
/// that has numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    pub planes: usize,
    pub rows: usize,
    pub columns: usize,
    pub vectors_plane: usize,
    pub vectors_row: usize,
    pub numbers_plane: usize,
    pub numbers_row: usize,
    /// From one column to the next. Neighbouring columns of vectors are neighbours in memory.
    pub numbers_column: usize,
}

impl Walk {
    /// The same walk in fewer, longer levels where a level follows on the one inside it without a gap: a 1x1 kernel's
    /// positions are one row. `width` is that of a position's vectors.
    pub fn merged(self, width: usize) -> Walk {
        let mut walk = self;
        let follows = |count: usize, vectors: usize, numbers: usize, walk: &Walk| {
            count == 1 || (vectors == walk.columns * width && numbers == walk.columns * walk.numbers_column)
        };
        if follows(walk.rows, walk.vectors_row, walk.numbers_row, &walk) {
            walk.columns *= walk.rows;
            walk.rows = 1;
            if follows(walk.planes, walk.vectors_plane, walk.numbers_plane, &walk) {
                walk.columns *= walk.planes;
                walk.planes = 1;
            }
        }
        walk
    }
}
