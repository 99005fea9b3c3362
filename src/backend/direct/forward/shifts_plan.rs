//! How a forward pass with output positions in lanes, of few output channels a group, is cut.

use super::weights::Order;
use crate::shape::{Axis, ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::shift::{MAX_N, max_v};

/// Positions of a band, counted through its rows: its sums stay in the L1 cache, or nearly so.
const POSITIONS: usize = 8 << 10;

/// Elements of the padded input of a band: 256 KB of `f32`.
const PANEL: usize = 64 << 10;

/// Cycles of a row that is copied or written, beside its elements.
const ROW_CYCLES: f64 = 25.0;

/// Pieces of the output that have scratch of their own.
const PARTS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct ShiftsPlan {
    pub lanes: usize,
    pub registers: Registers,
    pub order: Order,
    /// Output rows of a band.
    pub band: usize,
    pub parts: usize,
}

/// An axis of the padded input, whose positions `o * stride + k * dilation` are kept by their residues modulo the stride.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Residues {
    pub axis: Axis,
    pub count: usize,
    /// Positions of a residue beyond the outputs.
    pub beyond: usize,
}

impl Residues {
    pub fn new(axis: Axis) -> Residues {
        let count = if axis.kernel == 1 { 1 } else { axis.stride };
        Residues { axis, count, beyond: (axis.extent() - 1) / axis.stride }
    }

    /// The residue of a tap, and how far it is shifted there.
    pub fn of_tap(&self, tap: usize) -> (usize, usize) {
        (tap * self.axis.dilation % self.axis.stride, tap * self.axis.dilation / self.axis.stride)
    }
}

impl ShiftsPlan {
    pub fn new(shape: &ConvShape, registers: Registers) -> ShiftsPlan {
        let ocs = shape.group_out_channels();
        let order = Order {
            out_channels: ocs,
            tile: MAX_N,
            grain: 1,
            blocks: shape.group_in_channels(),
            channels: 1,
            taps: shape.taps(),
        };
        let plan = ShiftsPlan { lanes: registers.lanes, registers, order, band: 1, parts: 1 };
        let rows = shape.axes()[1].output;
        let fits = |&band: &usize| {
            let plan = ShiftsPlan { band, ..plan };
            band == 1 || (plan.positions(shape) <= POSITIONS && plan.panel_len(shape) <= PANEL)
        };
        let band = (1..=rows).take_while(fits).last().unwrap_or(1);
        let outer = shape.batch().saturating_mul(shape.groups()).saturating_mul(rows.div_ceil(band));
        ShiftsPlan { band: rows.div_ceil(rows.div_ceil(band)), parts: outer.min(PARTS), ..plan }
    }

    /// Elements from a row of the padded input to the next.
    pub fn pitch(&self, shape: &ConvShape) -> usize {
        shape.axes()[2].output + Residues::new(shape.axes()[2]).beyond
    }

    /// Positions of a band that are computed, those between its rows included, in whole tiles.
    pub fn positions(&self, shape: &ConvShape) -> usize {
        let columns = shape.axes()[2].output;
        let positions = (self.band - 1).saturating_mul(self.pitch(shape)).saturating_add(columns);
        positions.div_ceil(self.lanes).saturating_mul(self.lanes)
    }

    /// Vectors of a tile with so many output channels.
    pub fn vectors(&self, n: usize, positions: usize) -> usize {
        max_v(n, positions / self.lanes, self.registers)
    }

    /// Rows of a residue, and elements of a residue of both axes.
    pub fn residue_len(&self, shape: &ConvShape) -> (usize, usize) {
        let rows = self.band + Residues::new(shape.axes()[1]).beyond;
        (rows, rows.saturating_mul(self.pitch(shape)))
    }

    /// Elements of all residues of a depth.
    pub fn plane_len(&self, shape: &ConvShape) -> usize {
        let [rows, columns] = [1, 2].map(|i| Residues::new(shape.axes()[i]).count);
        saturating_product([rows, columns, self.residue_len(shape).1])
    }

    /// Elements of the padded input of a band, and of what vectors may read beyond it.
    pub fn panel_len(&self, shape: &ConvShape) -> usize {
        let planes = saturating_product([self.order.blocks, shape.axes()[0].kernel, self.plane_len(shape)]);
        planes.saturating_add(self.positions(shape)).saturating_add(self.lanes)
    }

    /// Elements of scratch of a part.
    pub fn slot_len(&self, shape: &ConvShape) -> usize {
        self.panel_len(shape).saturating_add(self.positions(shape).saturating_mul(MAX_N))
    }

    /// Elements of all biases, and of all weights.
    pub fn packed_lens(&self, shape: &ConvShape) -> [usize; 2] {
        [shape.out_channels(), shape.weights_len()]
    }

    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let [biases, weights] = self.packed_lens(shape);
        biases.saturating_add(weights).saturating_add(self.parts.saturating_mul(self.slot_len(shape)))
    }

    /// Cycles of the whole problem on one core.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let bands = shape.axes()[1].output.div_ceil(self.band) * shape.axes()[0].output;
        let vectors = (shape.batch() * bands) as f64 * (self.positions(shape) / self.lanes) as f64;
        // Vectors begin anywhere: a load takes a cycle, whatever it is multiplied with.
        let n = self.order.out_channels.min(MAX_N) as f64;
        let products = vectors * shape.weights_len() as f64 * (0.7_f64).max(1.0 / n);
        let copied = (shape.batch() * shape.in_channels() * bands) as f64
            * (shape.axes()[0].kernel * self.plane_len(shape)) as f64;
        let written = (shape.terms() * shape.out_channels()) as f64;
        let axes = shape.axes();
        let residues = axes[0].kernel * Residues::new(axes[1]).count * Residues::new(axes[2]).count;
        let copied_rows = (shape.batch() * shape.in_channels() * bands * residues * self.residue_len(shape).0) as f64;
        let written_rows = written / axes[2].output as f64;
        products + 0.3 * (copied + written) + ROW_CYCLES * (copied_rows + written_rows)
    }
}
