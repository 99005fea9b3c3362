//! Why a backend was chosen: as data, and as a table for people.

use super::limits::Refusal;
use crate::op::Op;
use crate::shape::ConvShape;
use crate::tensor::Layout;
use std::fmt;

/// The rule by which a backend was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// It is the only candidate.
    Only,
    /// It has the shortest estimate.
    Estimated,
    /// It was the fastest when the candidates were timed, just now.
    Measured,
    /// It was the fastest when they were timed earlier.
    Remembered,
    /// It has the shortest estimate, for timing the candidates would exceed what is left of the budget.
    BudgetSpent,
}

/// What a choice was made from; see [`Auto::explain`](super::Auto::explain).
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The operation.
    pub op: Op,
    /// The problem.
    pub shape: ConvShape,
    /// Memory order of the operands for which the choice is made.
    pub layout: Layout,
    /// Threads for which it is made.
    pub threads: usize,
    /// All backends, in their order.
    pub candidates: Vec<Candidate>,
    /// The backend chosen and the rule; none if every backend is refused.
    pub choice: Option<(&'static str, Rule)>,
}

/// A backend as the choice sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub backend: &'static str,
    /// Why it is no candidate, if it is none.
    pub refusal: Option<Refusal>,
    /// Milliseconds predicted, on a processor of the [`Rates`](super::Rates) assumed; none where it does not compute this.
    pub predicted_ms: Option<f64>,
    /// What its prediction is multiplied with beside the others': estimates err, and those of some backends are taken at their
    /// word less readily.
    pub handicap: f64,
    /// Milliseconds it took when it was timed, if it was.
    pub measured_ms: Option<f64>,
    /// Bytes of workspace.
    pub workspace: usize,
    /// See [`Backend::error_bound`](crate::Backend::error_bound).
    pub error_bound: f64,
    /// See [`Backend::typical_error`](crate::Backend::typical_error).
    pub typical_error: f64,
}

impl Candidate {
    /// The prediction as it is compared, [`handicap`](Self::handicap) included; none where it does not compute this.
    pub fn handicapped_ms(&self) -> Option<f64> {
        Some(self.predicted_ms? * self.handicap)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Only => "the only candidate",
            Rule::Estimated => "the shortest estimate",
            Rule::Measured => "the fastest of those timed now",
            Rule::Remembered => "the fastest of those timed earlier",
            Rule::BudgetSpent => "the shortest estimate, for the budget of measuring does not suffice",
        })
    }
}

/// The titles of the columns before the last, and their widths.
const COLUMNS: [(&str, usize); 6] = [
    ("backend", 14),
    ("predicted ms", 12),
    ("measured ms", 11),
    ("workspace", 10),
    ("error bound", 11),
    ("typical error", 13),
];

/// A table, a candidate in each line, the choice below.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { op, shape, layout, threads, candidates, choice } = self;
        let layout = match layout {
            Layout::Nchw => "nchw",
            Layout::Nhwc => "nhwc",
        };
        writeln!(f, "{op} of {shape}, {layout}, {threads} thread{}", if *threads == 1 { "" } else { "s" })?;
        for (title, width) in COLUMNS {
            write!(f, "{title:>width$}  ")?;
        }
        writeln!(f, "verdict")?;
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), significant);
        for candidate in candidates {
            let is_chosen = choice.is_some_and(|(name, _)| name == candidate.backend);
            let name = format!("{}{}", if is_chosen { "* " } else { "" }, candidate.backend);
            let is_known = candidate.predicted_ms.is_some();
            let known = |text: String| if is_known { text } else { "-".to_owned() };
            let cells = [
                name,
                ms(candidate.predicted_ms),
                ms(candidate.measured_ms),
                known(bytes(candidate.workspace)),
                known(format!("{:.0}", candidate.error_bound)),
                known(format!("{:.1}", candidate.typical_error)),
            ];
            for (cell, (_, width)) in cells.iter().zip(COLUMNS) {
                write!(f, "{cell:>width$}  ")?;
            }
            match &candidate.refusal {
                Some(refusal) => writeln!(f, "no: {refusal}")?,
                None => writeln!(f, "candidate")?,
            }
        }
        match choice {
            Some((name, rule)) => write!(f, "choice: {name}: {rule}"),
            None => write!(f, "no choice: every backend is refused; raise the limits"),
        }
    }
}

/// Four significant digits.
fn significant(value: f64) -> String {
    let digits = if value > 0.0 { (3.0 - value.log10().floor()).clamp(0.0, 9.0) } else { 0.0 };
    format!("{value:.*}", digits as usize)
}

/// A number of bytes in the unit that suits it.
fn bytes(count: usize) -> String {
    match count {
        0 => "none".to_owned(),
        1..1024 => format!("{count} B"),
        1024..0x10_0000 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}
