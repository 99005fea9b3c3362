//! Strided views over the caller's slices: the only form in which operands enter the crate.
//!
//! A view names its dimensions in one canonical order, `[batch, channels, depth, height, width]` (or
//! `[out channels, in channels, kernel..]` for weights), whatever the order in memory: strides alone say where an
//! element lies, and no layout is ever guessed from sizes. Every index a view can form is proven to lie in its slice
//! when the view is made, so kernels index without further checks of the caller's arithmetic.
//!
//! Internally a view always has five dimensions; spatial dimensions the problem does not have are of length 1.

mod runs;

pub(crate) use runs::Runs;

use crate::error::Error;

/// Memory order of an operand with a batch, a channel and one to three spatial axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// Channels before positions (NCW, NCHW, NCDHW), positions contiguous.
    #[default]
    Nchw,
    /// Channels after positions (NWC, NHWC, NDHWC), channels contiguous.
    Nhwc,
}

impl Layout {
    /// Strides, in elements, of a contiguous operand of these dimensions, given as `[batch, channels, spatial..]`.
    ///
    /// ```
    /// use convgrad::Layout;
    /// assert_eq!(Layout::Nchw.strides(&[2, 3, 4, 5]), [60, 20, 5, 1]);
    /// assert_eq!(Layout::Nhwc.strides(&[2, 3, 4, 5]), [60, 1, 15, 3]);
    /// ```
    pub fn strides(self, dims: &[usize]) -> Vec<isize> {
        let mut strides = vec![0; dims.len()];
        self.write_strides(dims, &mut strides);
        strides
    }

    /// Writes the [`strides`](Self::strides) of as many dimensions.
    fn write_strides(self, dims: &[usize], strides: &mut [isize]) {
        let innermost = if self == Layout::Nhwc && dims.len() > 1 { Some(1) } else { None };
        let others = (0..dims.len()).rev().filter(|&axis| Some(axis) != innermost);
        let mut reach = 1isize;
        for axis in innermost.into_iter().chain(others) {
            strides[axis] = reach;
            reach = reach.saturating_mul(dims[axis] as isize);
        }
    }
}

/// Where the elements of a view lie: five dimensions and strides, and the slice index of position zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Geometry {
    rank: usize,
    dims: [usize; 5],
    strides: [isize; 5],
    origin: usize,
}

impl Geometry {
    /// Proves that all positions lie in a slice of `len` elements.
    #[inline]
    fn new(len: usize, dims: &[usize], strides: &[isize], origin: usize) -> Result<Geometry, Error> {
        let rank = dims.len();
        if rank != strides.len() || !(1..=5).contains(&rank) {
            return Err(Error::ViewRank { dims: rank, strides: strides.len() });
        }
        let (mut lowest, mut highest) = (origin as i128, origin as i128);
        for (&dim, &stride) in dims.iter().zip(strides) {
            if dim == 0 {
                return Err(Error::ZeroSize { field: "a dimension of a view" });
            }
            let reach = (dim as i128 - 1) * stride as i128;
            // A single reach fits `i128`; the sum of several may not, and beyond every slice is far enough.
            lowest = lowest.saturating_add(reach.min(0));
            highest = highest.saturating_add(reach.max(0));
        }
        if lowest < 0 || highest >= len as i128 {
            return Err(Error::ViewBounds { dims: dims.to_vec(), strides: strides.to_vec(), lowest, highest, len });
        }
        let mut geometry = Geometry { rank, dims: [1; 5], strides: [0; 5], origin };
        for i in 0..rank {
            // The first two dimensions keep their place, the spatial ones are aligned to the end.
            let slot = if i < 2 { i } else { i + 5 - rank };
            geometry.dims[slot] = dims[i];
            geometry.strides[slot] = strides[i];
        }
        Ok(geometry)
    }

    fn contiguous(len: usize, dims: &[usize], layout: Layout) -> Result<Geometry, Error> {
        let expected = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let expected = expected.filter(|&n| n <= isize::MAX as usize).ok_or(Error::TooLarge { what: "a view" })?;
        if len != expected {
            return Err(Error::ViewLength { dims: dims.to_vec(), expected, len });
        }
        // Not a vector: to allocate takes as long as a tiny problem.
        let mut strides = [0; 5];
        let strides = strides.get_mut(..dims.len()).ok_or(Error::ViewRank { dims: dims.len(), strides: dims.len() })?;
        layout.write_strides(dims, strides);
        Geometry::new(len, dims, strides, 0)
    }

    /// Whether distinct positions are proven to be distinct elements: sorted by stride, each dimension steps beyond
    /// the reach of all smaller ones. Sufficient, and necessary for every layout that occurs in practice.
    fn is_injective(&self) -> bool {
        let axis = |i: usize| if self.dims[i] > 1 { (self.strides[i].unsigned_abs(), self.dims[i]) } else { (0, 1) };
        let steps_beyond = |axes: [(usize, usize); 5]| {
            let mut reach = 0;
            axes.iter().filter(|&&(_, dim)| dim > 1).all(|&(stride, dim)| {
                let beyond = stride > reach;
                reach += stride * (dim - 1);
                beyond
            })
        };
        // The usual order needs no sorting.
        let mut axes = [4, 3, 2, 1, 0].map(axis);
        steps_beyond(axes) || {
            axes.sort_unstable();
            steps_beyond(axes)
        }
    }

    #[inline]
    fn expect_dims(&self, argument: &'static str, rank: usize, dims: [usize; 5]) -> Result<(), Error> {
        // Number by number: comparing arrays compares memory, which waits for the numbers just written to get there.
        let same =
            self.dims.iter().zip(&dims).fold(self.rank == rank, |same, (given, expected)| same & (given == expected));
        if same { Ok(()) } else { Err(self.other_dims(argument, rank, dims)) }
    }

    #[cold]
    fn other_dims(&self, argument: &'static str, rank: usize, dims: [usize; 5]) -> Error {
        let expected = Geometry { rank, dims, strides: [0; 5], origin: 0 }.given_dims();
        Error::Dims { argument, given: self.given_dims(), expected }
    }

    #[inline]
    fn index(&self, position: [usize; 5]) -> usize {
        let offset: isize = position.iter().zip(&self.strides).map(|(&p, &s)| p as isize * s).sum();
        self.origin.wrapping_add_signed(offset)
    }

    /// Of one dimension, `len` positions, `step` apart, from `first` on.
    fn every(mut self, axis: usize, first: usize, step: usize, len: usize) -> Geometry {
        debug_assert!(first + (len - 1) * step < self.dims[axis], "positions beyond the dimension");
        // Wrapping: the stride of a dimension of length 1 may be anything.
        self.origin = self.origin.wrapping_add_signed(self.strides[axis].wrapping_mul(first.cast_signed()));
        self.strides[axis] = self.strides[axis].wrapping_mul(step.cast_signed());
        self.dims[axis] = len;
        self
    }

    /// The dimensions as the caller gave them.
    fn given_dims(&self) -> Vec<usize> {
        let mut dims = self.dims[..self.rank.min(2)].to_vec();
        dims.extend(&self.dims[5 - self.rank.saturating_sub(2)..]);
        dims
    }
}

macro_rules! shared_by_both_views {
    () => {
        /// Dimensions in canonical order, as given when the view was made.
        pub fn dims(&self) -> Vec<usize> {
            self.geometry.given_dims()
        }

        /// The five dimensions kernels see, absent spatial ones being 1.
        pub fn dims5(&self) -> [usize; 5] {
            self.geometry.dims
        }

        /// Strides, in elements, that go with [`dims5`](Self::dims5).
        pub fn strides5(&self) -> [isize; 5] {
            self.geometry.strides
        }

        /// Index in the slice of the element at a position of the five dimensions.
        ///
        /// The result is meaningful for positions within the dimensions only.
        #[inline]
        pub fn index(&self, position: [usize; 5]) -> usize {
            self.geometry.index(position)
        }

        #[inline]
        pub(crate) fn expect_dims(&self, argument: &'static str, rank: usize, dims5: [usize; 5]) -> Result<(), Error> {
            self.geometry.expect_dims(argument, rank, dims5)
        }
    };
}

/// An operand to be read.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    geometry: Geometry,
}

impl<'a, T: Copy> View<'a, T> {
    /// A view with any strides, in elements; 0 repeats an element, a negative stride walks backwards. `origin` is the
    /// index in `data` of position zero.
    ///
    /// # Errors
    /// [`Error::ViewRank`], [`Error::ZeroSize`], or [`Error::ViewBounds`] when a position lies outside `data`.
    ///
    /// ```
    /// use convgrad::View;
    /// let row = [1.0, 2.0, 3.0];
    /// let reversed = View::strided(&row, &[1, 1, 3], &[0, 0, -1], 2)?;
    /// assert_eq!(reversed.at([0, 0, 0, 0, 0]), 3.0);
    /// let repeated = View::strided(&row, &[4, 1, 3], &[0, 0, 1], 0)?;
    /// assert_eq!(repeated.at([3, 0, 0, 0, 1]), 2.0);
    /// # Ok::<(), convgrad::Error>(())
    /// ```
    #[inline]
    pub fn strided(data: &'a [T], dims: &[usize], strides: &[isize], origin: usize) -> Result<Self, Error> {
        Ok(View { data, geometry: Geometry::new(data.len(), dims, strides, origin)? })
    }

    /// A contiguous view of `[batch, channels, spatial..]` in the memory order of `layout`; `data` has exactly its size.
    ///
    /// # Errors
    /// [`Error::ViewLength`], [`Error::ViewRank`], [`Error::ZeroSize`], [`Error::TooLarge`].
    pub fn new(data: &'a [T], dims: &[usize], layout: Layout) -> Result<Self, Error> {
        Ok(View { data, geometry: Geometry::contiguous(data.len(), dims, layout)? })
    }

    /// [`View::new`] with channels before positions: NCW, NCHW or NCDHW, and the usual order of weights.
    pub fn nchw(data: &'a [T], dims: &[usize]) -> Result<Self, Error> {
        View::new(data, dims, Layout::Nchw)
    }

    /// [`View::new`] with channels after positions: NWC, NHWC or NDHWC. `dims` stay `[batch, channels, spatial..]`.
    pub fn nhwc(data: &'a [T], dims: &[usize]) -> Result<Self, Error> {
        View::new(data, dims, Layout::Nhwc)
    }

    shared_by_both_views!();

    /// The slice the view looks at.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The element at a position of the five dimensions.
    ///
    /// # Panics
    /// May panic for a position outside the dimensions.
    #[inline]
    pub fn at(&self, position: [usize; 5]) -> T {
        self.data[self.index(position)]
    }

    /// Of one of the five dimensions, `len` positions, `step` apart, from `first` on.
    pub(crate) fn every(self, axis: usize, first: usize, step: usize, len: usize) -> View<'a, T> {
        View { geometry: self.geometry.every(axis, first, step, len), ..self }
    }

    /// The elements at `from` and at every `step` positions along the last dimension; the caller knows when to stop.
    #[inline]
    pub(crate) fn walk(&self, from: [usize; 5], step: usize) -> impl Iterator<Item = T> + use<'a, T> {
        // Wrapping, as a dimension of length 1 may have any stride; nothing but its first position is then asked for.
        let stride = self.geometry.strides[4].wrapping_mul(step.cast_signed());
        let (data, first) = (self.data, self.index(from));
        (0..).map(move |i: isize| data[first.wrapping_add_signed(i * stride)])
    }
}

/// An operand to be written: no two positions share an element.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    data: &'a mut [T],
    geometry: Geometry,
}

impl<'a, T: Copy> ViewMut<'a, T> {
    /// A view with any strides, in elements, negative ones included, whose positions are distinct elements.
    ///
    /// # Errors
    /// Those of [`View::strided`], and [`Error::ViewOverlap`].
    #[inline]
    pub fn strided(data: &'a mut [T], dims: &[usize], strides: &[isize], origin: usize) -> Result<Self, Error> {
        let geometry = Geometry::new(data.len(), dims, strides, origin)?;
        if !geometry.is_injective() {
            return Err(Error::ViewOverlap { dims: dims.to_vec(), strides: strides.to_vec() });
        }
        Ok(ViewMut { data, geometry })
    }

    /// A contiguous view in the memory order of `layout`; see [`View::new`].
    ///
    /// # Errors
    /// Those of [`View::new`].
    pub fn new(data: &'a mut [T], dims: &[usize], layout: Layout) -> Result<Self, Error> {
        let geometry = Geometry::contiguous(data.len(), dims, layout)?;
        Ok(ViewMut { data, geometry })
    }

    /// [`ViewMut::new`] with channels before positions, the usual order of weights.
    pub fn nchw(data: &'a mut [T], dims: &[usize]) -> Result<Self, Error> {
        ViewMut::new(data, dims, Layout::Nchw)
    }

    /// [`ViewMut::new`] with channels after positions.
    pub fn nhwc(data: &'a mut [T], dims: &[usize]) -> Result<Self, Error> {
        ViewMut::new(data, dims, Layout::Nhwc)
    }

    shared_by_both_views!();

    /// The slice the view looks at.
    pub fn data_mut(&mut self) -> &mut [T] {
        self.data
    }

    /// The element at a position of the five dimensions.
    ///
    /// # Panics
    /// May panic for a position outside the dimensions.
    #[inline]
    pub fn at_mut(&mut self, position: [usize; 5]) -> &mut T {
        let index = self.index(position);
        &mut self.data[index]
    }

    /// The same view for a while.
    pub(crate) fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut { data: self.data, geometry: self.geometry }
    }

    /// Of one of the five dimensions, `len` positions, `step` apart, from `first` on.
    pub(crate) fn every(self, axis: usize, first: usize, step: usize, len: usize) -> ViewMut<'a, T> {
        ViewMut { geometry: self.geometry.every(axis, first, step, len), ..self }
    }

    /// Writes the same value everywhere.
    pub(crate) fn fill(&mut self, value: T) {
        let ([n, c, d, h, w], [sn, sc, sd, sh, sw]) = (self.dims5(), self.strides5());
        let first = self.index([0; 5]);
        // The axes from the largest stride to the smallest, so that runs are as long as they can be.
        let mut axes = [(n, sn), (c, sc), (d, sd), (h, sh), (w, sw)];
        axes.sort_unstable_by_key(|&(_, stride)| std::cmp::Reverse(stride.unsigned_abs()));
        let [outermost, inner @ ..] = axes;
        let runs = Runs::new(inner);
        for i in 0..outermost.0 {
            let first = first.wrapping_add_signed(outermost.1.wrapping_mul(i.cast_signed()));
            runs.for_each(0..inner.iter().map(|axis| axis.0).product(), |offset, len| {
                let start = first.wrapping_add_signed(offset);
                if runs.stride() == 1 {
                    return self.data[start..start + len].fill(value);
                }
                for x in 0..len {
                    self.data[start.wrapping_add_signed(x.cast_signed() * runs.stride())] = value;
                }
            });
        }
    }

    /// Splits the view at a position of its first dimension, where memory allows: the two parts must not interleave.
    ///
    /// Gives the view back when they do, or when `at` leaves one part empty.
    pub(crate) fn split_first(self, at: usize) -> Result<(Self, Self), Self> {
        self.split(0, at)
    }

    /// [`split_first`](Self::split_first) along any of the five dimensions.
    pub(crate) fn split(self, axis: usize, at: usize) -> Result<(Self, Self), Self> {
        let Geometry { rank, dims, strides, origin } = self.geometry;
        let others = (0..5).filter(|&i| i != axis).map(|i| (dims[i] - 1) as isize * strides[i]);
        let (lowest, highest) = others.fold((0, 0), |(low, high), reach| (low + reach.min(0), high + reach.max(0)));
        let stride = strides[axis];
        if at == 0 || at >= dims[axis] || stride <= highest - lowest {
            return Err(self);
        }
        // Position `at` of the axis reaches down to `cut`, all positions before it stay below.
        let second = origin + at * stride.unsigned_abs();
        let cut = second.wrapping_add_signed(lowest);
        let (low, high) = self.data.split_at_mut(cut);
        let part = |len, origin| {
            let mut dims = dims;
            dims[axis] = len;
            Geometry { rank, dims, strides, origin }
        };
        let low = ViewMut { data: low, geometry: part(at, origin) };
        let high = ViewMut { data: high, geometry: part(dims[axis] - at, second - cut) };
        Ok((low, high))
    }
}
