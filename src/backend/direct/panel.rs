//! Panels for the kernels with channels in lanes: the channels of a window in tiles, position by position.
//!
//! ```text
//! panel[tile][image][position][c] = source[image, first channel of tile + c, position]     0 beyond the group's channels
//! ```
//!
//! Deviations from the plain loop, by where the source is contiguous:
//! 1. along all positions (NCHW): rows of channels are transposed;
//! 2. along channels (NHWC): a position is one copy;
//!    of several groups in turn, runs of channels are dealt to lanes;
//! 3. neither, or only along a part of the positions (strides, bands, number types that are converted): the positions of
//!    some channels are gathered side by side, then transposed.

use super::gather::Gather;
use crate::element::Element;
use crate::partition::for_each_chunk;
use crate::simd::channels::DealGroups;
use crate::simd::totals::PositionTotals;
use crate::simd::transpose::Transpose;
use crate::simd::{Isa, Lane};
use crate::tensor::{Runs, View};
use std::ops::Range;

/// Positions to pack along one axis: `len` of them, `step` apart, from `first`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Positions {
    pub first: usize,
    pub step: usize,
    pub len: usize,
}

/// How channels are dealt to tiles.
#[derive(Clone, Copy)]
pub(super) struct Tiling {
    /// The groups that are packed.
    pub first_group: usize,
    pub end_group: usize,
    /// Groups that share tiles, in which their channels alternate.
    pub bundle: usize,
    /// Channels of a group.
    pub channels: usize,
    /// Tiles of a bundle.
    pub tiles: usize,
    /// Channels of a tile, of all groups of a bundle.
    pub width: usize,
}

impl Tiling {
    /// Tiles of all groups, each of which has its own.
    pub fn of_groups(groups: usize, channels: usize, tiles: usize, width: usize) -> Tiling {
        Tiling { first_group: 0, end_group: groups, bundle: 1, channels, tiles, width }
    }

    fn bundles(&self) -> usize {
        (self.end_group - self.first_group).div_ceil(self.bundle)
    }

    /// The channels of a tile in lines, channels of a line side by side in the tile: of one group; or of one channel of each
    /// group of a bundle.
    fn lines(&self, tile: usize) -> impl ExactSizeIterator<Item = Line> + use<> {
        let Tiling { first_group, end_group, bundle, channels, tiles, width } = *self;
        let group = first_group + tile / tiles * bundle;
        let of_group = width / bundle;
        let first = tile % tiles * of_group;
        let count = of_group.min(channels - first);
        let line = move |channel: usize, count: usize, apart: usize, at: usize| Line {
            first: group * channels + channel,
            count,
            apart,
            at,
        };
        let lines = if bundle == 1 { 1 } else { count };
        (0..lines).map(move |i| match bundle {
            1 => line(first, count, 1, 0),
            _ => line(first + i, bundle.min(end_group - group), channels, i * bundle),
        })
    }
}

/// Channels that lie side by side in a tile, from its channel `at` on: `count` channels from `first` on, so many apart.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub first: usize,
    pub count: usize,
    pub apart: usize,
    pub at: usize,
}

/// A packed operand of a window: `[tile of all bundles][image][position][width]`.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a, A> {
    data: &'a [A],
    images: usize,
    /// Positions along depth, height, width.
    lens: [usize; 3],
    width: usize,
}

impl<'a, A: Lane> Panel<'a, A> {
    /// Elements that packing takes.
    pub fn len(images: usize, tiling: Tiling, positions: [Positions; 3]) -> usize {
        tiling.bundles() * tiling.tiles * tiling.width * images * positions.iter().map(|p| p.len).product::<usize>()
    }

    /// Packs the images of a window, one image of one tile at a time, in parallel if `work` pays. What `panel` has
    /// beyond [`len`](Self::len) stays behind the packed elements as it is.
    pub fn pack<T: Element<Acc = A>>(
        isa: Isa,
        source: &View<'_, T>,
        images: Range<usize>,
        tiling: Tiling,
        positions: [Positions; 3],
        work: f64,
        panel: &'a mut [A],
    ) -> Panel<'a, A> {
        let width = tiling.width;
        let lens = positions.map(|p| p.len);
        let image_len = width * lens.iter().product::<usize>();
        // Outputs that read nothing but padding have no input to pack.
        if image_len > 0 {
            let packed = &mut panel[..Self::len(images.len(), tiling, positions)];
            for_each_chunk(packed, image_len, work, |index, panel| {
                let (tile, image) = (index / images.len(), index % images.len());
                let image = images.start + image;
                if tiling.lines(tile).map(|line| line.count).sum::<usize>() < width {
                    panel.fill(A::default());
                }
                if tiling.bundle > 1 && deal(isa, source, image, tiling.lines(tile), positions, width, panel) {
                    return;
                }
                for line in tiling.lines(tile) {
                    pack(isa, source, image, line, positions, width, &mut panel[line.at..]);
                }
            });
        }
        Panel { data: panel, images: images.len(), lens, width }
    }

    /// Adds to the totals of each tile's channels the sums over all their positions, so many in a chain.
    pub fn add_totals(&self, isa: Isa, chain: usize, work: f64, totals: &mut [A]) {
        let tile_len = self.images * self.lens.iter().product::<usize>() * self.width;
        for_each_chunk(totals, self.width, work, |index, totals| {
            for vectors in self.data[index * tile_len..][..tile_len].chunks(chain * self.width) {
                isa.run(PositionTotals { vectors, totals: &mut *totals });
            }
        });
    }

    /// The panel from a position of a tile's image on.
    pub fn from(&self, tile: usize, image: usize, [depth, row, column]: [usize; 3]) -> &'a [A] {
        let [depths, rows, columns] = self.lens;
        let position = (((tile * self.images + image) * depths + depth) * rows + row) * columns + column;
        &self.data[position * self.width..]
    }

    /// Elements from an image, a depth, a row, a column to the next.
    pub fn pitches(&self) -> [usize; 4] {
        let [depths, rows, columns] = self.lens;
        [depths * rows * columns, rows * columns, columns, 1].map(|positions| positions * self.width)
    }
}

/// Positions transposed for 16 channels of a tile before the next ones: a page of memory of each channel. With 128, for which
/// a tile of 32 channels changes the pages it reads more often, layers whose operands come from memory took 2 to 12 % longer.
const BLOCK: usize = 1024;

/// Packs the lines of a tile of groups in one go, if channels lie side by side; else does nothing and says so.
fn deal<T: Element>(
    isa: Isa,
    source: &View<'_, T>,
    image: usize,
    mut lines: impl ExactSizeIterator<Item = Line>,
    [depth, height, row]: [Positions; 3],
    width: usize,
    panel: &mut [T::Acc],
) -> bool {
    let channels = lines.len();
    let (Some(line), Some(data)) = (lines.next(), T::as_acc(source.data())) else { return false };
    let [_, channel_stride, strides @ ..] = source.strides5();
    let axes = [depth, height, row];
    let [depths, rows, columns] = [0, 1, 2].map(|i| (axes[i].len, strides[i].wrapping_mul(axes[i].step.cast_signed())));
    let runs = Runs::new([(1, 0), depths, rows, columns]);
    if channel_stride != 1 || runs.stride() < 0 {
        return false;
    }
    let start = source.index([image, line.first, depth.first, height.first, row.first]);
    let mut out = panel;
    runs.for_each(0..depth.len * height.len * row.len, |offset, len| {
        let (first, rest) = std::mem::take(&mut out).split_at_mut(len * width);
        isa.run(DealGroups {
            source: &data[start.wrapping_add_signed(offset)..],
            pitch: runs.stride().cast_unsigned(),
            apart: line.apart,
            groups: line.count,
            channels,
            out: first,
            width,
        });
        out = rest;
    });
    true
}

/// Packs a line of channels of one image into `panel`, whose positions are `width` elements wide.
pub(super) fn pack<T: Element>(
    isa: Isa,
    source: &View<'_, T>,
    image: usize,
    line: Line,
    [depth, height, row]: [Positions; 3],
    width: usize,
    panel: &mut [T::Acc],
) {
    let count = line.count;
    let [_, channel_stride, depth_stride, row_stride, column_stride] = source.strides5();
    let start = source.index([image, line.first, depth.first, height.first, row.first]);
    // Wrapping: the stride of an axis of length 1 is never stepped and may be anything.
    let channel_stride = channel_stride.wrapping_mul(line.apart.cast_signed());
    let step = |stride: isize, positions: Positions| stride.wrapping_mul(positions.step.cast_signed());
    let steps = [step(depth_stride, depth), step(row_stride, height), step(column_stride, row)];
    let axes = [(depth.len, steps[0]), (height.len, steps[1]), (row.len, steps[2])];
    let runs = Runs::new([(1, 0), axes[0], axes[1], axes[2]]);
    let positions = depth.len * height.len * row.len;
    if runs.len() == positions
        && (runs.stride() == 1 || positions == 1)
        && let Some(data) = T::as_acc(source.data())
    {
        let rows = |c: usize| &data[start.wrapping_add_signed(c.cast_signed() * channel_stride)..][..positions];
        let put = |out: &mut [T::Acc], numbers: &[T::Acc]| out.copy_from_slice(numbers);
        isa.run(Transpose { rows, count, out: panel, pitch: width, block: BLOCK, put });
    } else if channel_stride == 1 {
        let mut out = panel.chunks_mut(width);
        runs.for_each(0..positions, |offset, len| {
            for (x, out) in (0..len).zip(&mut out) {
                let at = start.wrapping_add_signed(offset + x.cast_signed() * runs.stride());
                for (out, value) in out.iter_mut().zip(&source.data()[at..][..count]) {
                    *out = value.to_acc();
                }
            }
        });
    } else {
        Gather { isa, data: source.data(), start, channel_stride, axes, count, width }.pack(panel);
    }
}
