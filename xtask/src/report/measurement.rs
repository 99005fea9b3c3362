//! One record, and what it means: rates, intensity, whose it is.

use super::numbers::count;
use crate::record::{Outcome, Record};
use anyhow::{Context, Result, ensure};
use convgrad::{ConvShape, NamedShape, Op};

/// The chooser is no backend of its own: it repeats what one of them does.
const CHOOSER: &str = "auto";

/// What two times must share to be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conditions {
    /// In the words of a command: `wgrad`, `forward`, `dgrad`.
    pub pass: String,
    pub dtype: String,
    pub layout: String,
    pub isa: String,
    pub threads: usize,
}

impl Conditions {
    /// The pass, for people.
    pub fn pass_name(&self) -> String {
        let op = Op::ALL.into_iter().find(|op| op.name() == self.pass);
        op.map_or_else(|| self.pass.clone(), |op| op.to_string())
    }

    /// All but the threads, for people.
    pub fn kind(&self) -> String {
        format!("{}, {}", self.pass_name(), self.numbers())
    }

    /// Number type, layout and instruction set.
    pub fn numbers(&self) -> String {
        format!("{}, {}, {}", self.dtype, self.layout.to_uppercase(), self.isa)
    }

    /// As [`kind`](Self::kind), with the threads.
    pub fn describe(&self) -> String {
        format!("{}, {}", count(self.threads, "thread"), self.kind())
    }

    /// Whether they differ in the number of threads at most.
    pub fn same_kind(&self, other: &Conditions) -> bool {
        let kind = |c: &Conditions| [&c.pass, &c.dtype, &c.layout, &c.isa].map(String::clone);
        kind(self) == kind(other)
    }
}

/// A record and what it means.
#[derive(Debug, Clone)]
pub struct Measurement {
    pub record: Record,
    pub shape: ConvShape,
    /// Name of the shape, or its descriptor if it has none.
    pub name: String,
    /// Index in [`Measurements::runs`].
    pub run: usize,
}

impl Measurement {
    pub fn new(record: Record) -> Result<Measurement> {
        let NamedShape { shape, name } =
            record.shape.parse().with_context(|| format!("the shape {:?} of a record", record.shape))?;
        let machine = &record.run.machine;
        let positive = |what: &str, value: f64| -> Result<()> {
            ensure!(
                value > 0.0 && value.is_finite(),
                "{} on {}: {what} is {value}, not a positive number; measure anew",
                record.implementation,
                record.shape
            );
            Ok(())
        };
        positive("peak_gflops", machine.peak_gflops)?;
        if let Outcome::Timed { best_ms, median_ms, .. } = record.outcome {
            positive("best_ms", best_ms)?;
            positive("median_ms", median_ms)?;
        }
        if let Some(error) = record.error.filter(|&error| error != 0.0) {
            positive("error", error)?;
        }
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| shape.to_string());
        Ok(Measurement { shape, name, run: 0, record })
    }

    pub fn conditions(&self) -> Conditions {
        let machine = &self.record.run.machine;
        Conditions {
            pass: self.record.pass.clone(),
            dtype: machine.dtype.clone(),
            layout: self.record.layout.clone(),
            isa: machine.isa.clone(),
            threads: machine.threads,
        }
    }

    /// The name without the network's part, such as `conv1` of `resnet_50:conv1`.
    pub fn layer(&self) -> &str {
        self.name.split_once(':').map_or(&self.name, |(_, layer)| layer)
    }

    pub fn implementation(&self) -> &str {
        &self.record.implementation
    }

    /// The implementation with its version: `torch 2.15.0`, or `im2col-gemm (gemm 0.19.0)`.
    pub fn library(&self) -> String {
        let (name, version) = (self.implementation(), &self.record.implementation_version);
        if version.split(' ').next() == Some(name) { version.clone() } else { format!("{name} ({version})") }
    }

    /// Whether it is of this crate, and not a library beside it. One that could not be started has no version to tell.
    pub fn is_ours(&self) -> bool {
        let of_crate = self.record.implementation_version.split(' ').next() == Some("convgrad");
        of_crate || convgrad::by_name::<f32>(self.implementation()).is_ok()
    }

    /// Whether it competes for being the best of our backends on a shape.
    pub fn is_backend(&self) -> bool {
        self.is_ours() && self.implementation() != CHOOSER
    }

    pub fn best_ms(&self) -> Option<f64> {
        match self.record.outcome {
            Outcome::Timed { best_ms, .. } => Some(best_ms),
            Outcome::Refused { .. } => None,
        }
    }

    pub fn refusal(&self) -> Option<&str> {
        match &self.record.outcome {
            Outcome::Timed { .. } => None,
            Outcome::Refused { refused } => Some(refused),
        }
    }

    /// Nominal operations a nanosecond, that is 1e9 a second.
    pub fn gflops(&self) -> Option<f64> {
        self.best_ms().map(|ms| self.shape.flops() / (ms * 1e6))
    }

    /// The rate over the peak of multiply-adds that the same run measured.
    pub fn share_of_peak(&self) -> Option<f64> {
        self.gflops().map(|gflops| gflops / self.record.run.machine.peak_gflops)
    }

    /// Nominal operations for each byte of input, weights and output, of which every pass reads two and writes the third: the least that must be moved.
    pub fn intensity(&self) -> f64 {
        let dims = [self.shape.input_dims(), self.shape.output_dims(), self.shape.weights_dims()];
        let elements: f64 = dims.iter().map(|dims| dims.iter().map(|&n| n as f64).product::<f64>()).sum();
        let bytes = if self.record.run.machine.dtype == "f64" { 8.0 } else { 4.0 };
        self.shape.flops() / (elements * bytes)
    }

    /// What a newer record replaces.
    pub fn key(&self) -> impl Ord + use<> {
        let Record { set, shape, implementation, run, .. } = self.record.clone();
        (set, shape, self.conditions(), implementation, run.machine.cpu, run.machine.cores)
    }

    /// Where the implementation stands among others: ours first, in the registry's order.
    pub fn contestant(&self) -> Contestant {
        let backends = convgrad::backends::<f32>();
        let place = backends.iter().position(|b| b.name() == self.implementation()).unwrap_or(backends.len());
        Contestant { is_library: !self.is_ours(), place, name: self.record.implementation.clone() }
    }
}

/// An implementation, in the order of display.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contestant {
    pub is_library: bool,
    place: usize,
    pub name: String,
}
