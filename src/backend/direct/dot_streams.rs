//! The streams of a packed unit and the register tiles that multiply them.
//!
//! Streams of delta are output channels, or the rows of taps of one output channel, each delta shifted by a row more;
//! streams of the input are input channels, each shifted to one of its taps. A tile multiplies `V` of the ones with `N`
//! of the others. A tile that would reach beyond the last stream begins earlier and computes some entries again.

use super::dot_plan::{DotPlan, SEGMENT};
use crate::shape::ConvShape;
use crate::simd::dot::{DotTile, LaneTotals};
use crate::simd::tile::{MAX_N, Tile, for_tile};
use crate::simd::{Isa, Lane};

/// The streams of a problem's units.
pub(super) struct Streams<'a> {
    pub shape: &'a ConvShape,
    pub plan: &'a DotPlan,
    pub isa: Isa,
}

impl Streams<'_> {
    /// First streams of the tiles over `streams` of them, `size` a tile.
    fn firsts(streams: usize, size: usize) -> impl Iterator<Item = usize> + Clone {
        (0..streams.div_ceil(size)).map(move |tile| (tile * size).min(streams - size))
    }

    /// Channel and first stream of delta for each of its tiles; the channel is 0 where streams are channels.
    fn delta_tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let firsts = Streams::firsts(self.plan.delta_streams(self.shape), self.plan.tile.v);
        (0..self.plan.separate_channels(self.shape)).flat_map(move |c| firsts.clone().map(move |first| (c, first)))
    }

    /// Adds the dot products of all streams to the sums in lanes: `[input tile][delta tile][N][V][lanes]`.
    pub fn add_products<A: Lane>(&self, delta: &[A], input: &[A], lane_sums: &mut [A]) {
        let Streams { shape, plan, isa } = self;
        let tile = plan.tile;
        for start in (0..plan.stream_len()).step_by(SEGMENT) {
            let length = SEGMENT.min(plan.stream_len() - start);
            let mut tile_sums = lane_sums.chunks_exact_mut(tile.v * tile.n * plan.lanes);
            for first_input in Streams::firsts(plan.input_streams(shape), tile.n) {
                let mut input_streams = [0; MAX_N[0]];
                for (n, offset) in input_streams[..tile.n].iter_mut().enumerate() {
                    *offset = start + self.input_offset(first_input + n);
                }
                for ((channel, first_delta), sums) in self.delta_tiles().zip(&mut tile_sums) {
                    // Of rows of taps, the tile's first is a shift of the input, the others of delta against it.
                    let (delta_start, delta_step, input_start) = if plan.shifts_rows {
                        let lead = channel * plan.delta_len() + plan.lead();
                        (lead, -plan.row_shift().cast_signed(), first_delta * plan.row_shift())
                    } else {
                        (first_delta * plan.delta_len(), plan.delta_len().cast_signed(), 0)
                    };
                    let delta_at = |v: usize| start + delta_start.wrapping_add_signed(v.cast_signed() * delta_step);
                    let input_at = |n: usize| input_start + input_streams[n];
                    for_tile!(tile, {
                        let delta_offsets: [usize; V] = std::array::from_fn(delta_at);
                        let input_offsets: [usize; N] = std::array::from_fn(input_at);
                        isa.run(DotTile::<A, V, N> { delta, delta_offsets, input, input_offsets, length, sums })
                    });
                }
            }
        }
    }

    /// Adds up the lanes of a group's sums: `sums[oc][ic][tap]`.
    pub fn total_lanes<A: Lane>(&self, lane_sums: &mut [A], sums: &mut [A]) {
        let Streams { shape, plan, isa } = self;
        let Tile { v, n } = plan.tile;
        let [kernel_d, kernel_h, kernel_w] = shape.axes().map(|a| a.kernel);
        isa.run(LaneTotals { lane_sums });
        let mut totals = lane_sums.chunks_exact(v);
        for first_input in Streams::firsts(plan.input_streams(shape), n) {
            for (channel, first_delta) in self.delta_tiles() {
                for (input, totals) in (first_input..first_input + n).zip(&mut totals) {
                    let (ic, [kd, kh, kw]) = self.channel_and_tap(input);
                    for (delta, &total) in (first_delta..first_delta + v).zip(totals) {
                        let (oc, kh) = if plan.shifts_rows { (channel, delta) } else { (delta, kh) };
                        let row = (oc * shape.group_in_channels() + ic) * kernel_d + kd;
                        sums[(row * kernel_h + kh) * kernel_w + kw] = total;
                    }
                }
            }
        }
    }

    /// Input channel and tap of a stream of the input; the row of taps is 0 where rows are shifts of delta.
    #[inline]
    fn channel_and_tap(&self, stream: usize) -> (usize, [usize; 3]) {
        let [depth, height, width] = self.shape.axes().map(|a| a.kernel);
        let height = if self.plan.shifts_rows { 1 } else { height };
        let (rest, kw) = (stream / width, stream % width);
        let (rest, kh) = (rest / height, rest % height);
        (rest / depth, [rest % depth, kh, kw])
    }

    /// Where a stream of the input begins.
    #[inline]
    fn input_offset(&self, stream: usize) -> usize {
        let plan = self.plan;
        let (ic, taps) = self.channel_and_tap(stream);
        let [row_pitch, plane_pitch] = plan.pitches();
        let [(pd, sd), (ph, sh), (pw, sw)] = [0, 1, 2].map(|i| plan.axes[i].phase_and_shift(taps[i]));
        let phase = (pd * plan.axes[1].phases + ph) * plan.axes[2].phases + pw;
        ic * plan.input_len() + phase * plan.phase_len() + sd * plane_pitch + sh * row_pitch + sw
    }
}
