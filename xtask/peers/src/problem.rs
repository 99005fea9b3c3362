//! A problem as it lies in a directory: a description and two files of numbers.

use crate::shape::Shape;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// A shape and its operands.
pub struct Problem {
    /// Sizes and layout.
    pub shape: Shape,
    /// The layer's input.
    pub input: Vec<f32>,
    /// The error arriving at its output.
    pub delta: Vec<f32>,
}

impl Problem {
    /// Writes the three files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("problem.json");
        let text = serde_json::to_string_pretty(&self.shape)?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        write_numbers(&directory.join("input.f32"), &self.input)?;
        write_numbers(&directory.join("delta.f32"), &self.delta)
    }

    /// Reads the three files.
    ///
    /// # Errors
    /// If a file cannot be read or does not fit the others.
    pub fn read(directory: &Path) -> Result<Problem> {
        let path = directory.join("problem.json");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shape: Shape = serde_json::from_str(&text).with_context(|| format!("{}: no problem", path.display()))?;
        let read = |name: &str, dims: Vec<usize>| {
            let numbers = numbers(&directory.join(name))?;
            let expected: usize = dims.iter().product();
            ensure!(numbers.len() == expected, "{name} does not have the {dims:?} numbers of {}", shape.descriptor);
            Ok(numbers)
        };
        let (input, delta) = (read("input.f32", shape.input_dims())?, read("delta.f32", shape.output_dims())?);
        Ok(Problem { shape, input, delta })
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
