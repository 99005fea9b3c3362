//! A problem as it lies in a directory: a description and two files of numbers.

use anyhow::{Context, Result, anyhow, ensure};
use convgrad::{ConvShape, Layout};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A shape and its operands.
pub struct Problem {
    /// The sizes.
    pub shape: ConvShape,
    /// Memory order of the operands.
    pub layout: Layout,
    /// The layer's input.
    pub input: Vec<f32>,
    /// The error arriving at its output.
    pub delta: Vec<f32>,
}

/// `problem.json`. Programs that know the grammar of shapes read the first two fields, others the rest.
#[derive(Serialize, Deserialize)]
struct Description {
    shape: String,
    layout: String,
    batch: usize,
    groups: usize,
    in_channels: usize,
    out_channels: usize,
    /// Of the spatial dimensions, one to three.
    axes: Vec<AxisDescription>,
}

#[derive(Serialize, Deserialize)]
struct AxisDescription {
    input: usize,
    kernel: usize,
    output: usize,
    stride: usize,
    /// Counted from 1.
    dilation: usize,
    /// Before the input.
    padding: usize,
}

impl Problem {
    /// Writes the three files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let shape = &self.shape;
        let axes = shape.spatial_axes().iter().map(|a| AxisDescription {
            input: a.input,
            kernel: a.kernel,
            output: a.output,
            stride: a.stride,
            dilation: a.dilation,
            padding: a.padding,
        });
        let description = Description {
            shape: shape.to_string(),
            layout: layout_name(self.layout).to_owned(),
            batch: shape.batch(),
            groups: shape.groups(),
            in_channels: shape.in_channels(),
            out_channels: shape.out_channels(),
            axes: axes.collect(),
        };
        let path = directory.join("problem.json");
        let text = serde_json::to_string_pretty(&description)?;
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
        let description: Description =
            serde_json::from_str(&text).with_context(|| format!("{}: not a problem", path.display()))?;
        let shape: ConvShape = description.shape.parse()?;
        let read = |name: &str, dims: Vec<usize>| {
            let numbers = numbers(&directory.join(name))?;
            let expected: usize = dims.iter().product();
            ensure!(numbers.len() == expected, "{name} does not have the {dims:?} numbers of {shape}");
            Ok(numbers)
        };
        let input = read("input.f32", shape.input_dims())?;
        let delta = read("delta.f32", shape.output_dims())?;
        Ok(Problem { shape, layout: layout_by_name(&description.layout)?, input, delta })
    }
}

fn layout_name(layout: Layout) -> &'static str {
    match layout {
        Layout::Nchw => "nchw",
        Layout::Nhwc => "nhwc",
    }
}

/// The layout of this name.
///
/// # Errors
/// If there is none.
pub fn layout_by_name(name: &str) -> Result<Layout> {
    let layouts = [Layout::Nchw, Layout::Nhwc];
    let found = layouts.into_iter().find(|&layout| layout_name(layout) == name);
    found.ok_or_else(|| anyhow!("the layout `{name}` is neither nchw nor nhwc"))
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
