//! Sheets: the part of an operand that one transform takes, copied from wherever it lies into blocks of columns.
//!
//! A sheet is a tile of a plane, or [`WIDTH`] strips of rows where the kernel has a single row. Planes are counted through
//! the batch, the depth of delta, and the phases of height and width. What lies beside the operand is zeros.

use super::axis::Positions;
use super::plan::Plan;
use crate::element::Element;
use crate::shape::ConvShape;
use crate::simd::Isa;
use crate::simd::fourier::{CopyColumns, Part, Row, WIDTH};
use crate::tensor::View;

/// Which channel of an operand, and where in it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Channel {
    /// An output channel of delta.
    Delta(usize),
    /// An input channel and its phases of height and width, the tap along depth, and the first lags of height and width.
    Input { channel: usize, phases: [usize; 2], tap: usize, lags: [usize; 2] },
}

/// A channel of an operand, by sheets.
#[derive(Clone, Copy)]
pub(super) struct Sheets<'a, 'v, T> {
    pub shape: &'a ConvShape,
    pub plan: &'a Plan,
    pub isa: Isa,
    pub operand: &'a View<'v, T>,
    pub channel: Channel,
}

/// Rows of one plane and the columns that all of them share.
struct Tile {
    /// Index of row 0 and column 0.
    origin: usize,
    rows: Positions,
    columns: Positions,
}

impl<T: Element> Sheets<'_, '_, T> {
    /// Fills a part of some columns, those of a block, with a sheet. There may be no such sheet: then it is zeros.
    pub fn fill(&self, sheet: usize, block: usize, part: Part, rows: &mut [Row<T::Acc>]) {
        let Plan { height, width, .. } = self.plan;
        if !self.plan.strips {
            let tiles = height.tiles * width.tiles;
            let (plane, tile) = (sheet / tiles, sheet % tiles);
            let tile = self.tile(plane, tile / width.tiles * height.tile, tile % width.tiles, height.tile);
            return self.fill_tile(tile.as_ref(), block, part, rows);
        }
        for (i, row) in rows.chunks_mut(1).enumerate() {
            let strip = sheet * WIDTH + i;
            let (line, column) = (strip / width.tiles, strip % width.tiles);
            let (plane, line) = (line / height.sampling.outputs, line % height.sampling.outputs);
            self.fill_tile(self.tile(plane, line, column, 1).as_ref(), block, part, row);
        }
    }

    /// The tile of a plane that begins with a row of delta, of so many of them.
    fn tile(&self, plane: usize, row: usize, column: usize, rows: usize) -> Option<Tile> {
        let Plan { height, width, planes, .. } = self.plan;
        if plane >= *planes {
            return None;
        }
        let (plane, w) = (plane / width.sampling.delta_phases, plane % width.sampling.delta_phases);
        let (plane, h) = (plane / height.sampling.delta_phases, plane % height.sampling.delta_phases);
        let depth = &self.shape.axes()[0];
        let (image, plane) = (plane / depth.output, plane % depth.output);
        let column = column * width.tile;
        Some(match self.channel {
            Channel::Delta(channel) => Tile {
                origin: self.operand.index([image, channel, plane, 0, 0]),
                rows: height.sampling.delta(h, row, rows),
                columns: width.sampling.delta(w, column, width.tile),
            },
            Channel::Input { channel, phases, tap, lags } => {
                let plane = depth.input_position(plane, tap);
                let plane = usize::try_from(plane).ok().filter(|&plane| plane < depth.input)?;
                Tile {
                    origin: self.operand.index([image, channel, plane, 0, 0]),
                    rows: height.sampling.input(h, phases[0], row + lags[0], rows + height.lags - 1),
                    columns: width.sampling.input(w, phases[1], column + lags[1], width.reach()),
                }
            }
        })
    }

    fn fill_tile(&self, tile: Option<&Tile>, block: usize, part: Part, rows: &mut [Row<T::Acc>]) {
        let clear = |rows: &mut [Row<T::Acc>]| rows.iter_mut().for_each(|row| part.of_mut(row).fill(T::Acc::default()));
        let Some(Tile { origin, rows: lines, columns }) = tile else { return clear(rows) };
        let inside = |column: usize| column.clamp(block * WIDTH, (block + 1) * WIDTH);
        let columns_inside = inside(columns.inside.start)..inside(columns.inside.end);
        if lines.inside.is_empty() || columns_inside.is_empty() {
            return clear(rows);
        }
        // Wrapping, as a dimension of length 1 may have any stride.
        let [_, _, _, row_stride, column_stride] = self.operand.strides5();
        let at = |positions: &Positions, i: usize| positions.first.wrapping_add((i * positions.step).cast_signed());
        let line = at(lines, lines.inside.start).wrapping_mul(row_stride);
        let column = at(columns, columns_inside.start).wrapping_mul(column_stride);
        let start = origin.wrapping_add_signed(line.wrapping_add(column));
        let line_stride = row_stride.wrapping_mul(lines.step.cast_signed());
        let stride = column_stride.wrapping_mul(columns.step.cast_signed());

        let (met, beyond) = rows.split_at_mut(lines.inside.end);
        let (before, met) = met.split_at_mut(lines.inside.start);
        clear(before);
        clear(beyond);
        let data = self.operand.data();
        if let (Some(numbers), WIDTH, 1) = (T::as_acc(data), columns_inside.len(), stride) {
            return self.isa.run(CopyColumns { numbers, start, stride: line_stride, part, rows: met });
        }
        let room = columns_inside.start - block * WIDTH..columns_inside.end - block * WIDTH;
        for (i, row) in met.iter_mut().enumerate() {
            let out = part.of_mut(row);
            out.fill(T::Acc::default());
            let line = start.wrapping_add_signed(i.cast_signed().wrapping_mul(line_stride));
            for (j, out) in out[room.clone()].iter_mut().enumerate() {
                *out = data[line.wrapping_add_signed(j.cast_signed().wrapping_mul(stride))].to_acc();
            }
        }
    }
}
