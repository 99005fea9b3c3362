//! How a forward pass with output channels in lanes is cut.

use super::super::window::{AxisWindow, pieces, step};
use super::weights::Order;
use crate::shape::{ConvShape, saturating_product};
use crate::simd::Registers;
use crate::simd::correlate::{CHANNELS, MAX_POINTERS, max_n};
use crate::simd::multiply;
use std::ops::Range;

/// Elements of a panel, some 400 KB of `f32`: with a tile's weights it stays in an L2 cache of 1 MB.
const PANEL: usize = 96 << 10;

/// Weights of a tile that are multiplied with all positions before the next ones.
const WEIGHTS: usize = 40 << 10;

/// Positions up to which the sums of a band are held: long runs are transposed in squares of vectors.
const HELD: usize = 512;

/// Input channels up to which a position of the panel has no more room than these need.
const FEW_CHANNELS: usize = 8;

/// Parts of the batch with panels of their own.
const PARTS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct ChannelsPlan {
    pub lanes: usize,
    /// Whether groups are of one channel each and as many as lanes are computed as one.
    pub is_depthwise: bool,
    /// Groups, and input and output channels of a group, bundles of groups counted as one.
    pub groups: usize,
    pub channels: [usize; 2],
    pub order: Order,
    /// Elements of a position in the panel.
    pub pitch: usize,
    /// Largest tile of positions for one vector of channels, and for two.
    pub max_n: [usize; 2],
    /// Images whose positions alternate in the panel.
    pub images: usize,
    /// Whether all positions are one line, for no tap and no padding is between them.
    pub is_flat: bool,
    /// Output depths and rows of a panel.
    pub band: [usize; 2],
    /// Columns of a panel.
    pub columns: usize,
    /// Blocks of input channels multiplied at a time.
    pub blocks: usize,
    /// Whether the sums of a tile of channels are held for all positions of a band, to be written together.
    pub holds_band: bool,
    /// Parts of the batch, and pieces of a panel's outputs, that have scratch of their own.
    pub parts: usize,
    pub pieces: usize,
}

impl ChannelsPlan {
    pub fn new(shape: &ConvShape, registers: Registers) -> ChannelsPlan {
        let lanes = registers.lanes;
        let is_depthwise = shape.groups() > 1 && shape.group_in_channels() == 1 && shape.group_out_channels() == 1;
        let (groups, ics, ocs) = if is_depthwise {
            (shape.groups().div_ceil(lanes), lanes, lanes)
        } else {
            (shape.groups(), shape.group_in_channels(), shape.group_out_channels())
        };
        let blocks = if is_depthwise { 1 } else { ics.div_ceil(CHANNELS) };
        let pitch = if is_depthwise || ics <= FEW_CHANNELS { ics } else { CHANNELS };
        let order = Order {
            out_channels: ocs.next_multiple_of(lanes),
            tile: 2 * lanes,
            grain: lanes,
            blocks,
            channels: if is_depthwise { 1 } else { ics.div_ceil(blocks) },
            taps: shape.taps(),
        };
        let [depth, height, width] = shape.axes();
        let is_flat = is_pointwise(shape);
        let stride = width.stride / step(width);
        let max_n = [1, 2].map(|v| {
            let most = if is_depthwise { multiply::max_n(registers) } else { max_n(v, registers) };
            if pitch * stride == CHANNELS { most } else { most.min(MAX_POINTERS) }
        });
        let line = if is_flat { shape.output_positions() } else { width.output };
        // Lines shorter than a tile take several images in turn.
        let wanted = if line.is_multiple_of(max_n[1]) { 1 } else { (4 * max_n[1]).div_ceil(line) };
        let images = if line >= 2 * max_n[1] || stride > 1 { 1 } else { wanted.min(shape.batch()) };
        let columns = ((width.output - 1) * width.stride + (width.kernel - 1) * width.dilation) / step(width) + 1;
        let len = |depths: usize, rows: usize| {
            let lines = [AxisWindow::longest(depth, depths), AxisWindow::longest(height, rows)];
            saturating_product([blocks, lines[0], lines[1], columns, images, pitch])
        };
        let most = |count: usize, fits: &dyn Fn(usize) -> bool| {
            let most = (1..=count).take_while(|&n| n == 1 || fits(n)).last().unwrap_or(1);
            count.div_ceil(pieces(count, most))
        };
        let rows = most(height.output, &|rows| len(1, rows) <= PANEL);
        let depths = if rows < height.output { 1 } else { most(depth.output, &|depths| len(depths, rows) <= PANEL) };
        let block_len = order.taps * order.channels * order.tile;
        let blocks_together = (WEIGHTS / block_len.max(1)).clamp(1, blocks);
        let blocks_together = blocks.div_ceil(pieces(blocks, blocks_together));
        let positions = saturating_product([depths, rows, width.output, images]);
        let parts = shape.batch().div_ceil(images).min(PARTS);
        ChannelsPlan {
            lanes,
            is_depthwise,
            groups,
            channels: [ics, ocs],
            order,
            pitch,
            max_n,
            images,
            is_flat,
            band: [depths, rows],
            columns,
            blocks: blocks_together,
            holds_band: blocks_together < blocks || positions <= HELD,
            parts,
            pieces: (PARTS / parts).min(ocs.div_ceil(lanes)).max(1),
        }
    }

    /// The channels of a group, of which each has so many, among as many as there are.
    pub fn of_group(&self, group: usize, each: usize, all: usize) -> Range<usize> {
        group * each..all.min((group + 1) * each)
    }

    /// Elements of a panel.
    pub fn panel_len(&self, shape: &ConvShape) -> usize {
        let lines = (0..2).map(|i| AxisWindow::longest(&shape.axes()[i], self.band[i]));
        saturating_product(lines.chain([self.order.blocks, self.columns, self.images, self.pitch]))
    }

    /// Output positions whose sums are held: of a whole band where the input channels are multiplied in turns, else of a part
    /// of a line.
    pub fn held(&self, shape: &ConvShape) -> usize {
        if self.holds_band {
            saturating_product([self.band[0], self.band[1], shape.axes()[2].output, self.images])
        } else {
            self.strip() * self.images
        }
    }

    /// Positions of a line that are computed before they are written.
    pub fn strip(&self) -> usize {
        (4 * self.max_n[1] / self.images).max(1)
    }

    /// Elements of the sums of a piece.
    pub fn sums_len(&self, shape: &ConvShape) -> usize {
        self.held(shape).saturating_mul(2 * self.lanes)
    }

    /// Elements of scratch of a part.
    pub fn slot_len(&self, shape: &ConvShape) -> usize {
        self.panel_len(shape).saturating_add(self.pieces.saturating_mul(self.sums_len(shape)))
    }

    /// Elements of all biases, and of all weights.
    pub fn packed_lens(&self) -> [usize; 2] {
        let channels = self.groups * self.order.out_channels;
        [channels, channels.saturating_mul(self.order.len())]
    }

    pub fn scratch_len(&self, shape: &ConvShape) -> usize {
        let [biases, weights] = self.packed_lens();
        biases.saturating_add(weights).saturating_add(self.parts.saturating_mul(self.slot_len(shape)))
    }

    /// Cycles of the whole problem on one core.
    pub fn cycles(&self, shape: &ConvShape) -> f64 {
        let vectors = (self.groups * self.order.out_channels / self.lanes) as f64;
        let products = vectors * self.order.len() as f64 * shape.terms() as f64;
        let inputs = (shape.batch() * shape.in_channels()) as f64 * positions(shape) as f64;
        let outputs = (shape.batch() * shape.out_channels() * shape.output_positions()) as f64;
        0.55 * products + 0.8 * (inputs + outputs) + self.packed_lens()[1] as f64
    }
}

fn positions(shape: &ConvShape) -> usize {
    shape.axes().iter().map(|axis| axis.input).product()
}

/// Whether there is one tap and no padding: outputs are products of single positions.
pub(super) fn is_pointwise(shape: &ConvShape) -> bool {
    shape
        .axes()
        .iter()
        .all(|axis| axis.kernel == 1 && axis.padding == 0 && (axis.output - 1) * axis.stride < axis.input)
}
