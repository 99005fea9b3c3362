//! Operands from .npy files, seen through strides: an array in Fortran order is read in place, not transposed.
//!
//! Type and dimensions are checked on the file's header, before a number is read.

use crate::arguments::{Dtype, LayoutName};
use crate::data;
use anyhow::{Context, Result, anyhow, bail, ensure};
use convgrad::{Element, Registered, View};
use npyz::{AutoSerialize, DType, Deserialize, NpyFile, TypeChar, WriterBuilder};
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

/// A number type of both this crate and .npy files.
pub trait NpyElement: Registered + Deserialize + AutoSerialize {}
impl NpyElement for f32 {}
impl NpyElement for f64 {}

/// An array whose header has been read.
pub struct Source {
    /// The argument that named the file, and the file's name.
    label: String,
    /// The type of its elements.
    pub dtype: Dtype,
    file: NpyFile<BufReader<File>>,
}

impl Source {
    /// Opens a file that `argument` named.
    pub fn open(argument: &str, path: &Path) -> Result<Source> {
        let label = format!("{argument} {}", path.display());
        let file = File::open(path).map_err(|e| anyhow!("{label}: {e}; name a readable .npy file"))?;
        let file = NpyFile::new(BufReader::new(file)).map_err(|e| {
            // Of a header it cannot parse, npyz shows the text below its first line, all of it.
            let reason = e.to_string().lines().next().unwrap_or_default().trim_end().to_owned();
            anyhow!("{label}: is not a .npy file ({reason}); write one with numpy.save")
        })?;
        let dtype = match file.dtype() {
            DType::Plain(plain) if plain.type_char() == TypeChar::Float && plain.size_field() == 4 => Dtype::F32,
            DType::Plain(plain) if plain.type_char() == TypeChar::Float && plain.size_field() == 8 => Dtype::F64,
            other => bail!(
                "{label}: holds elements of type {}, expected float32 or float64; convert it with .astype('float32')",
                other.descr()
            ),
        };
        Ok(Source { label, dtype, file })
    }

    /// Checks the array's dimensions, its axes being those of `layout`; `expected` are `[batch, channels, spatial..]`.
    pub fn expect_dims(&self, expected: &[usize], layout: LayoutName) -> Result<()> {
        let given = self.file.shape();
        let fits = |layout| given.iter().copied().eq(in_memory_order(expected, layout).iter().map(|&d| d as u64));
        if fits(layout) {
            return Ok(());
        }
        let remedy = match layout {
            LayoutName::Nchw if fits(LayoutName::Nhwc) => "say --layout nhwc",
            LayoutName::Nhwc if fits(LayoutName::Nchw) => "say --layout nchw",
            _ => "reshape the array or correct SHAPE",
        };
        bail!(
            "{}: has dimensions {given:?}, expected {:?} for this SHAPE with --layout {}; {remedy}",
            self.label,
            in_memory_order(expected, layout),
            layout.name()
        )
    }

    /// Reads the numbers.
    pub fn read<T: NpyElement>(self, layout: LayoutName) -> Result<Array<T>> {
        let Source { label, file, .. } = self;
        let dims: Vec<usize> = file.shape().iter().map(|&d| d as usize).collect();
        let strides: Vec<isize> = file.strides().iter().map(|&s| s as isize).collect();
        let mut data = data::reserved(dims.iter().product()).with_context(|| label.clone())?;
        for number in file.data::<T>().with_context(|| label.clone())? {
            data.push(number.map_err(|e| anyhow!("{label}: cannot be read to its last element ({e}); save it again"))?);
        }
        Ok(Array { data, dims: canonical(&dims, layout), strides: canonical(&strides, layout) })
    }
}

/// An array in memory, its axes `[batch, channels, spatial..]` wherever they lie.
pub struct Array<T> {
    data: Vec<T>,
    dims: Vec<usize>,
    strides: Vec<isize>,
}

impl<T: Element> Array<T> {
    /// The array as an operand.
    pub fn view(&self) -> Result<View<'_, T>, convgrad::Error> {
        View::strided(&self.data, &self.dims, &self.strides, 0)
    }
}

/// Writes an array in C order.
pub fn write<T: NpyElement>(out: &mut dyn Write, dims: &[usize], data: &[T]) -> Result<()> {
    let dims: Vec<u64> = dims.iter().map(|&d| d as u64).collect();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&dims).writer(out).begin_nd()?;
    writer.extend(data)?;
    writer.finish()?;
    Ok(())
}

/// `[batch, channels, spatial..]` from the order of an array's own axes.
fn canonical<A: Copy>(axes: &[A], layout: LayoutName) -> Vec<A> {
    let mut axes = axes.to_vec();
    if layout == LayoutName::Nhwc {
        axes[1..].rotate_right(1);
    }
    axes
}

/// The order of an array's own axes from `[batch, channels, spatial..]`.
fn in_memory_order<A: Copy>(axes: &[A], layout: LayoutName) -> Vec<A> {
    let mut axes = axes.to_vec();
    if layout == LayoutName::Nhwc {
        axes[1..].rotate_left(1);
    }
    axes
}

/// Refuses two arrays of different types.
pub fn expect_one_dtype(first: &Source, second: &Source) -> Result<Dtype> {
    ensure!(
        first.dtype == second.dtype,
        "{}: holds {}, but {} holds {}; convert one of them with .astype",
        second.label,
        numpy_name(second.dtype),
        first.label,
        numpy_name(first.dtype)
    );
    Ok(first.dtype)
}

fn numpy_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "float32",
        Dtype::F64 => "float64",
    }
}
