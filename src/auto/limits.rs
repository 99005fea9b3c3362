//! What a caller allows: workspace, errors, backends, and bits that do not depend on the processor.

use crate::backend::{Backend, RANDOM_WALK};
use crate::element::Element;
use crate::error::Unsupported;
use crate::op::Op;
use crate::shape::ConvShape;
use std::fmt;

/// How large a backend's [typical error](Backend::typical_error) may be.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Accuracy {
    /// No larger than that of a plain loop in the type itself, which adds one product after the other.
    #[default]
    PlainLoop,
    /// At most this, relative to the root mean square of the gradient: `1e-6` is modest in `f32`.
    AtMost(f64),
    /// Whatever it is.
    Any,
}

/// Room for what the reference, which sums in `f64`, has beyond the errors of a plain loop when its type is `f64` too.
const SLACK: f64 = 1.01;

impl Accuracy {
    /// The largest typical error allowed for an operation on a shape, in units of roundoff times the root mean square of the
    /// result.
    pub fn allowed<T: Element>(&self, op: Op, shape: &ConvShape) -> f64 {
        let plain_loop = |terms: usize| SLACK * RANDOM_WALK * (terms as f64 + 4.0).sqrt();
        match self {
            Accuracy::PlainLoop if op == Op::Forward => plain_loop(shape.group_in_channels() * shape.taps() + 1),
            Accuracy::PlainLoop if op == Op::InputGradient => plain_loop(shape.group_out_channels() * shape.taps()),
            Accuracy::PlainLoop => plain_loop(shape.terms()),
            Accuracy::AtMost(relative) => relative / T::UNIT_ROUNDOFF,
            Accuracy::Any => f64::INFINITY,
        }
    }
}

/// What a caller allows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Limits {
    /// Bytes of workspace; none is any number.
    pub max_workspace: Option<usize>,
    pub accuracy: Accuracy,
    /// Whether bits must be the same on every processor.
    pub reproducible: bool,
    /// The only names allowed; none is all.
    pub allowed: Option<Vec<String>>,
    pub forbidden: Vec<String>,
}

/// Why a backend is no candidate.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// It does not do it.
    Unsupported(Unsupported),
    /// The caller forbade it, or allowed others only.
    Forbidden,
    /// Its workspace is beyond the limit.
    Workspace {
        /// Bytes it needs.
        needed: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Its typical error is beyond what was asked for.
    Accuracy {
        /// Its error, in units of roundoff times the root mean square of the result.
        error: f64,
        /// The error allowed.
        allowed: f64,
    },
    /// Its bits depend on the processor.
    NotReproducible,
}

impl Limits {
    /// Why a backend may not compute this; `workspace` is what it needs, in bytes.
    pub fn refusal<T: Element>(
        &self,
        backend: &dyn Backend<T>,
        op: Op,
        shape: &ConvShape,
        workspace: usize,
    ) -> Option<Refusal> {
        let is_named = |names: &[String]| names.iter().any(|name| name == backend.name());
        if is_named(&self.forbidden) || self.allowed.as_deref().is_some_and(|names| !is_named(names)) {
            return Some(Refusal::Forbidden);
        }
        if let Err(unsupported) = backend.supports(op, shape) {
            return Some(Refusal::Unsupported(unsupported));
        }
        if self.reproducible && !backend.is_reproducible() {
            return Some(Refusal::NotReproducible);
        }
        if let Some(limit) = self.max_workspace.filter(|&limit| workspace > limit) {
            return Some(Refusal::Workspace { needed: workspace, limit });
        }
        let (error, allowed) = (backend.typical_error(op, shape), self.accuracy.allowed::<T>(op, shape));
        (error > allowed).then_some(Refusal::Accuracy { error, allowed })
    }
}

/// In a few words.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Unsupported(Unsupported { reason, .. }) => f.write_str(reason),
            Refusal::Forbidden => f.write_str("not among the backends allowed"),
            Refusal::Workspace { needed, limit } => {
                write!(f, "needs {needed} bytes of workspace, the limit is {limit}")
            }
            Refusal::Accuracy { error, allowed } => {
                write!(f, "its typical error is {error:.1} roundings, {allowed:.1} are allowed")
            }
            Refusal::NotReproducible => f.write_str("its bits depend on the processor"),
        }
    }
}
