//! Operands in every memory order a view can describe: permuted, with gaps, walked backwards, repeated.

use convgrad::{Element, View, ViewMut};

/// How the dimensions of an operand lie in memory. Entry `i` of each array is about dimension `i` of the operand.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrangement {
    /// Ranks of the dimensions from the widest step to the narrowest; equal ones keep the order of the dimensions.
    pub order: [u8; 5],
    /// Elements left unused between neighbours of a dimension.
    pub gaps: [usize; 5],
    /// Dimensions walked backwards.
    pub reversed: [bool; 5],
    /// Dimensions of stride 0.
    pub repeated: [bool; 5],
    /// Elements left unused before and after the operand.
    pub margin: usize,
}

impl Arrangement {
    /// Contiguous, the last dimension fastest.
    pub const NCHW: Arrangement =
        Arrangement { order: [0; 5], gaps: [0; 5], reversed: [false; 5], repeated: [false; 5], margin: 0 };

    /// Contiguous, the second dimension fastest.
    pub const NHWC: Arrangement = Arrangement { order: [0, 2, 1, 1, 1], ..Arrangement::NCHW };

    /// Strides, the index of position zero, and the length of the slice.
    fn place(&self, dims: &[usize]) -> (Vec<isize>, usize, usize) {
        let mut narrowest_last: Vec<usize> = (0..dims.len()).collect();
        narrowest_last.sort_by_key(|&i| self.order[i]);
        let (mut strides, mut origin, mut reach) = (vec![0; dims.len()], self.margin, 1);
        for &i in narrowest_last.iter().rev().filter(|&&i| !self.repeated[i]) {
            let step = reach + self.gaps[i];
            strides[i] = step as isize;
            if self.reversed[i] {
                strides[i] = -strides[i];
                origin += step * (dims[i] - 1);
            }
            reach = step * dims[i];
        }
        (strides, origin, reach + 2 * self.margin)
    }
}

/// A tensor that owns its elements.
#[derive(Debug, Clone)]
pub struct Operand<T> {
    data: Vec<T>,
    dims: Vec<usize>,
    strides: Vec<isize>,
    origin: usize,
}

/// What stands between the elements of a result: a number no test computes, so that any write there shows.
const UNTOUCHED: f64 = -98_765.5;

impl<T: Element> Operand<T> {
    /// An operand to be read. What its view does not reach is NaN, so that any read there shows.
    pub fn new(dims: &[usize], arrangement: &Arrangement, value: impl FnMut() -> f64) -> Self {
        Operand::filled(dims, arrangement, f64::NAN, value)
    }

    /// An operand to be written; [`surroundings_untouched`](Self::surroundings_untouched) tells of stray writes.
    pub fn result(dims: &[usize], arrangement: &Arrangement, value: impl FnMut() -> f64) -> Self {
        Operand::filled(dims, arrangement, UNTOUCHED, value)
    }

    /// An operand to be written that holds NaN everywhere in its view.
    pub fn poisoned(dims: &[usize], arrangement: &Arrangement) -> Self {
        Operand::result(dims, arrangement, || f64::NAN)
    }

    fn filled(dims: &[usize], arrangement: &Arrangement, around: f64, mut value: impl FnMut() -> f64) -> Self {
        let (strides, origin, len) = arrangement.place(dims);
        let mut operand = Operand { data: vec![T::from_f64(around); len], dims: dims.to_vec(), strides, origin };
        for i in operand.indices() {
            operand.data[i] = T::from_f64(value());
        }
        operand
    }

    /// Slice indices of all positions, the last dimension fastest.
    fn indices(&self) -> Vec<usize> {
        let mut indices = vec![self.origin as isize];
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            indices = indices.iter().flat_map(|&i| (0..dim as isize).map(move |p| i + p * stride)).collect();
        }
        indices.into_iter().map(|i| i as usize).collect()
    }

    pub fn view(&self) -> View<'_, T> {
        View::strided(&self.data, &self.dims, &self.strides, self.origin).expect("a view over all of the operand")
    }

    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut::strided(&mut self.data, &self.dims, &self.strides, self.origin).expect("a view of distinct elements")
    }

    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The elements, the last dimension fastest, whatever the order in memory.
    pub fn values(&self) -> Vec<T> {
        self.indices().into_iter().map(|i| self.data[i]).collect()
    }

    /// The same arrangement of other numbers.
    pub fn map<U: Element>(&self, f: impl Fn(f64) -> f64) -> Operand<U> {
        let data = self.data.iter().map(|x| U::from_f64(f(x.to_f64()))).collect();
        Operand { data, dims: self.dims.clone(), strides: self.strides.clone(), origin: self.origin }
    }

    /// Whether what stands around and between the elements of a result is as it was.
    pub fn surroundings_untouched(&self) -> bool {
        let mut reached = vec![false; self.data.len()];
        self.indices().into_iter().for_each(|i| reached[i] = true);
        self.data.iter().zip(reached).all(|(x, reached)| reached || x.to_f64() == UNTOUCHED)
    }
}
