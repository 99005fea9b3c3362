//! The passes of a convolution layer that backends compute.

use std::fmt;

/// What is computed of a convolution layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Op {
    /// `dE/dw`: the reason this crate exists.
    WeightGradient,
    /// `dE/db`: the error summed over batch and positions.
    BiasGradient,
    /// `x = w * o + b`: the layer itself.
    Forward,
    /// `dE/do`: the error that arrives at the layer before, whose output is this layer's input.
    InputGradient,
}

impl Op {
    /// All of them, the weight gradient first.
    pub const ALL: [Op; 4] = [Op::WeightGradient, Op::BiasGradient, Op::Forward, Op::InputGradient];

    /// The word for it in tables and commands: `wgrad`, `bgrad`, `forward`, `dgrad`.
    ///
    /// ```
    /// use convgrad::Op;
    /// assert_eq!(Op::ALL.map(Op::name), ["wgrad", "bgrad", "forward", "dgrad"]);
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Op::WeightGradient => "wgrad",
            Op::BiasGradient => "bgrad",
            Op::Forward => "forward",
            Op::InputGradient => "dgrad",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::WeightGradient => "weight gradient",
            Op::BiasGradient => "bias gradient",
            Op::Forward => "forward pass",
            Op::InputGradient => "input gradient",
        })
    }
}
