//! Every way a checked call can refuse, as values.
//!
//! A variant names the argument, what was given, what was expected, and its message ends with the remedy, so that a
//! caller can act on it and a person can read it. Nothing in this crate panics on input that passes through a checked
//! function, and nothing is written before all checks have passed.

use crate::op::Op;

/// Why a problem, an operand or a call was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A size of the problem is zero.
    #[error("{field} is 0, expected at least 1: give every size of the problem a positive value")]
    ZeroSize {
        /// The field, in the words of [`ConvShape`](crate::ConvShape).
        field: &'static str,
    },
    /// Channels cannot be dealt out evenly to the groups.
    #[error("{field} is {channels}, which {groups} groups do not divide: make it a multiple of the number of groups")]
    Groups {
        /// `in_channels` or `out_channels`.
        field: &'static str,
        /// The number of channels given.
        channels: usize,
        /// The number of groups given.
        groups: usize,
    },
    /// The dilated kernel is longer than the padded input.
    #[error(
        "the kernel spans {extent} along {axis}, the padded input only {padded}: \
         enlarge the padding or shrink the kernel or its dilation"
    )]
    KernelTooLarge {
        /// `depth`, `height` or `width`.
        axis: &'static str,
        /// `(kernel - 1) * dilation + 1`.
        extent: usize,
        /// Input plus padding at both ends.
        padded: usize,
    },
    /// A product of sizes does not fit the address space.
    #[error("{what} does not fit the address space: split the problem, for example along the batch")]
    TooLarge {
        /// What overflowed.
        what: &'static str,
    },
    /// A text is not a problem descriptor.
    #[error("cannot read problem `{text}` at `{at}`: {reason}; write it like mb8ic64ih56oc64oh56kh3ph1")]
    Parse {
        /// The whole text.
        text: String,
        /// Where reading stopped.
        at: String,
        /// What is wrong there.
        reason: String,
    },
    /// Dimensions and strides of a view differ in number, or there are too many.
    #[error("a view got {dims} dimensions and {strides} strides: give both the same length, from 1 to 5")]
    ViewRank {
        /// Number of dimensions given.
        dims: usize,
        /// Number of strides given.
        strides: usize,
    },
    /// A view reaches outside its slice.
    #[error(
        "a view of dimensions {dims:?} and strides {strides:?} reaches from element {lowest} to {highest} of a slice of \
         {len}: pass a slice that covers it, or correct strides and origin"
    )]
    ViewBounds {
        /// Dimensions of the view.
        dims: Vec<usize>,
        /// Strides of the view, in elements.
        strides: Vec<isize>,
        /// Smallest index touched.
        lowest: i128,
        /// Largest index touched.
        highest: i128,
        /// Length of the slice.
        len: usize,
    },
    /// A contiguous view needs a slice of exactly its size.
    #[error(
        "a contiguous view of dimensions {dims:?} needs a slice of {expected} elements, got {len}: pass exactly that many"
    )]
    ViewLength {
        /// Dimensions of the view.
        dims: Vec<usize>,
        /// Elements the dimensions make.
        expected: usize,
        /// Length of the slice given.
        len: usize,
    },
    /// Two positions of a view to be written are (or may be) the same element.
    #[error(
        "a view to be written has dimensions {dims:?} and strides {strides:?}, so that positions may share an element: \
         give every dimension longer than 1 a stride beyond the reach of the smaller ones"
    )]
    ViewOverlap {
        /// Dimensions of the view.
        dims: Vec<usize>,
        /// Strides of the view, in elements.
        strides: Vec<isize>,
    },
    /// An operand's dimensions are not those the problem has for it.
    #[error(
        "{argument} has dimensions {given:?}, expected {expected:?} for this problem: pass a view of those dimensions"
    )]
    Dims {
        /// Which operand.
        argument: &'static str,
        /// Its dimensions.
        given: Vec<usize>,
        /// The dimensions of the problem.
        expected: Vec<usize>,
    },
    /// A label is no class.
    #[error("label {label} is none of {classes} classes: number the classes from 0")]
    Label {
        /// The label given.
        label: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// Two slices that must be equally long are not.
    #[error("{argument} has {given} elements, expected {expected}: pass slices of equal length")]
    Length {
        /// Which argument.
        argument: &'static str,
        /// Its length.
        given: usize,
        /// The length needed.
        expected: usize,
    },
    /// The caller's scratch is too short.
    #[error("scratch has {given} elements, this call needs {needed}: allocate Backend::scratch_len elements")]
    ScratchTooShort {
        /// Elements given.
        given: usize,
        /// Elements needed.
        needed: usize,
    },
    /// The workspace a backend needs is beyond the caller's limit.
    #[error(
        "backend `{backend}` needs {needed} bytes of scratch, the limit is {limit}: raise it or choose another backend"
    )]
    ScratchLimit {
        /// Name of the backend.
        backend: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The allocator refused the scratch, or operands of its own that a call makes.
    #[error("the allocator refused {bytes} bytes of memory: free some, or choose a backend with less scratch")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The backend does not do this.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Two backends gave results that cannot both be within their error bounds.
    #[error(
        "backends `{}` and `{}` disagree in entry {entry} of the gradient: {} and {}, of which the difference may be {allowed}: \
         compute it with a third one, such as `naive`, and report the problem with its operands",
        .backends[0], .backends[1], .values[0], .values[1]
    )]
    Disagreement {
        /// Their names.
        backends: [&'static str; 2],
        /// The entry's place in the order of the result's dimensions.
        entry: usize,
        /// What each gave.
        values: [f64; 2],
        /// The difference their bounds allow.
        allowed: f64,
    },
    /// No backend has this name.
    #[error("no backend is called `{name}`: choose one of {known}")]
    UnknownBackend {
        /// The name asked for.
        name: String,
        /// Names that exist, separated by commas.
        known: String,
    },
    /// No instruction set of this processor has this name.
    #[error("instruction set `{name}` is unknown or not available on this processor: choose one of {known}")]
    UnknownIsa {
        /// The name asked for.
        name: String,
        /// Names that are available here, separated by commas.
        known: String,
    },
}

/// A backend's refusal of an operation or a shape, always with its reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("backend `{backend}` does not compute the {op}: {reason}; {remedy}")]
pub struct Unsupported {
    /// Name of the backend.
    pub backend: &'static str,
    /// The operation asked for.
    pub op: Op,
    /// Why it is refused.
    pub reason: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
}
