//! A problem as it lies in a directory: a description and three files of numbers.

use crate::shape::Shape;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::str::FromStr;

/// Which pass of the layer is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// The gradient of the weights, from input and delta.
    Wgrad,
    /// The output, from input and weights; without a bias.
    Forward,
    /// The gradient of the input, from weights and delta.
    Dgrad,
}

impl FromStr for Pass {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Pass> {
        Ok(match name {
            "wgrad" => Pass::Wgrad,
            "forward" => Pass::Forward,
            "dgrad" => Pass::Dgrad,
            _ => bail!("no pass is called `{name}`: it is wgrad, forward or dgrad"),
        })
    }
}

impl Pass {
    /// Dimensions of what it computes.
    pub fn result_dims(self, shape: &Shape) -> Vec<usize> {
        match self {
            Pass::Wgrad => shape.weights_dims(),
            Pass::Forward => shape.output_dims(),
            Pass::Dgrad => shape.input_dims(),
        }
    }
}

/// A pass, its shape, and the layer's operands, of which it reads two.
pub struct Problem {
    /// What is computed.
    pub pass: Pass,
    /// Sizes and layout.
    pub shape: Shape,
    /// The layer's input.
    pub input: Vec<f32>,
    /// Its weights.
    pub weights: Vec<f32>,
    /// The error arriving at its output.
    pub delta: Vec<f32>,
}

/// `problem.json`.
#[derive(Serialize, Deserialize)]
struct Description {
    pass: Pass,
    #[serde(flatten)]
    shape: Shape,
}

impl Problem {
    /// Writes the four files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("problem.json");
        let text = serde_json::to_string_pretty(&Description { pass: self.pass, shape: self.shape.clone() })?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        write_numbers(&directory.join("input.f32"), &self.input)?;
        write_numbers(&directory.join("weights.f32"), &self.weights)?;
        write_numbers(&directory.join("delta.f32"), &self.delta)
    }

    /// Reads the four files.
    ///
    /// # Errors
    /// If a file cannot be read or does not fit the others.
    pub fn read(directory: &Path) -> Result<Problem> {
        let path = directory.join("problem.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let Description { pass, shape } =
            serde_json::from_str(&text).with_context(|| format!("{}: no problem", path.display()))?;
        let read = |name: &str, dims: Vec<usize>| {
            let numbers = numbers(&directory.join(name))?;
            let expected: usize = dims.iter().product();
            ensure!(numbers.len() == expected, "{name} does not have the {dims:?} numbers of {}", shape.descriptor);
            Ok(numbers)
        };
        let input = read("input.f32", shape.input_dims())?;
        let weights = read("weights.f32", shape.weights_dims())?;
        let delta = read("delta.f32", shape.output_dims())?;
        Ok(Problem { pass, shape, input, weights, delta })
    }
}

/// Reads a file of numbers.
///
/// # Errors
/// If it cannot be read or ends within a number.
pub fn numbers(path: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (numbers, rest) = bytes.as_chunks();
    ensure!(rest.is_empty(), "{} ends within a number", path.display());
    Ok(numbers.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
}

/// Writes a file of numbers.
///
/// # Errors
/// If it cannot be written.
pub fn write_numbers(path: &Path, numbers: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
