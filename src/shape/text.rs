//! The text form of a problem: the descriptor that oneDNN's `benchdnn` reads and prints.
//!
//! ```text
//! mb8 g1 ic64 ih56 iw56 oc64 oh56 ow56 kh3 kw3 sh1 sw1 ph1 pw1 dh0 dw0 n"name"     written without blanks
//! ```
//!
//! A missing `w` field copies `h`, a missing `h` field copies `d`; a missing `mb` is 2, `g` and `s` are 1, `d` is 0. A
//! missing `o` is computed from `p`, a missing `p` is deduced from `o`, both missing means no padding. Only `w` fields
//! make a one-dimensional problem, any `d` field a three-dimensional one; `_` separates freely. Dilation counts from 0
//! in this form and from 1 everywhere else in the crate: this file is the border where it is converted.

use super::build::checked_extent;
use super::{AXIS_NAMES, Axis, ConvShape};
use crate::error::Error;
use std::fmt;
use std::str::FromStr;

/// Fields of the form; per axis they are the letter followed by `d`, `h` or `w`.
const COUNTS: [&str; 4] = ["mb", "g", "ic", "oc"];
const AXIS_LETTERS: [char; 3] = ['d', 'h', 'w'];
const SIZE_LETTERS: [char; 6] = ['i', 'o', 'k', 's', 'p', 'd'];

/// A problem and the name its descriptor carries, as in `mb8ic64ih56oc64oh56kh3ph1n"res2a"`.
///
/// Displays as the canonical descriptor with the name, if there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NamedShape {
    /// The problem.
    pub shape: ConvShape,
    /// The text between the quotes after `n`, if any.
    pub name: Option<String>,
}

/// The fields of a descriptor as they were written, before defaults.
#[derive(Default)]
struct Fields {
    counts: [Option<usize>; 4],
    /// By axis, then by size letter.
    sizes: [[Option<usize>; 6]; 3],
    name: Option<String>,
}

impl Fields {
    fn read(text: &str) -> Result<Fields, Error> {
        let mut fields = Fields::default();
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches('_');
            if rest.is_empty() {
                return Ok(fields);
            }
            if let Some(name) = rest.strip_prefix('n') {
                let name = name.strip_prefix('"').map_or(name, |n| n.strip_suffix('"').unwrap_or(n));
                fields.name = Some(name.to_owned());
                return Ok(fields);
            }
            let error =
                |reason: &str| Error::Parse { text: text.to_owned(), at: rest.to_owned(), reason: reason.to_owned() };
            let letters = rest.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(rest.len());
            let slot = fields.slot(&rest[..letters]).ok_or_else(|| error("unknown field"))?;
            let digits = &rest[letters..];
            let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
            if end == 0 {
                return Err(error("the field has no value"));
            }
            let value = digits[..end].parse().map_err(|_| error("the value is too large"))?;
            if slot.replace(value).is_some() {
                return Err(error("the field is given twice"));
            }
            rest = &digits[end..];
        }
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<usize>> {
        if let Some(i) = COUNTS.iter().position(|&c| c == key) {
            return Some(&mut self.counts[i]);
        }
        let mut letters = key.chars();
        let (size, axis) = (letters.next()?, letters.next()?);
        if letters.next().is_some() {
            return None;
        }
        let axis = AXIS_LETTERS.iter().position(|&a| a == axis)?;
        let size = SIZE_LETTERS.iter().position(|&s| s == size)?;
        Some(&mut self.sizes[axis][size])
    }
}

impl FromStr for NamedShape {
    type Err = Error;

    fn from_str(text: &str) -> Result<NamedShape, Error> {
        let text = text.trim();
        let Fields { counts, mut sizes, name } = Fields::read(text)?;
        let missing = |field: String| Error::Parse {
            text: text.to_owned(),
            at: "the end".to_owned(),
            reason: format!("the field `{field}` is missing"),
        };
        let first = match sizes.each_ref().map(|s| s.iter().any(Option::is_some)) {
            [true, _, _] => 0,
            [_, true, _] => 1,
            _ => 2,
        };
        for axis in first + 1..3 {
            let above = sizes[axis - 1];
            for (size, above) in sizes[axis].iter_mut().zip(above) {
                *size = size.or(above);
            }
        }
        let mut axes = [Axis::ABSENT; 3];
        for i in first..3 {
            let [input, output, kernel, stride, padding, dilation] = sizes[i];
            let input = input.ok_or_else(|| missing(format!("i{}", AXIS_LETTERS[i])))?;
            let kernel = kernel.ok_or_else(|| missing(format!("k{}", AXIS_LETTERS[i])))?;
            let dilation = dilation.unwrap_or(0).checked_add(1).ok_or(Error::TooLarge { what: "the dilation" })?;
            axes[i] = read_axis(AXIS_NAMES[i], input, output, kernel, stride.unwrap_or(1), padding, dilation)?;
        }
        let [batch, groups, in_channels, out_channels] = counts;
        let in_channels = in_channels.ok_or_else(|| missing("ic".to_owned()))?;
        let out_channels = out_channels.ok_or_else(|| missing("oc".to_owned()))?;
        let shape =
            ConvShape::checked(3 - first, batch.unwrap_or(2), groups.unwrap_or(1), in_channels, out_channels, axes)?;
        Ok(NamedShape { shape, name })
    }
}

/// Completes one axis: the output from the padding, or the padding from the output.
fn read_axis(
    name: &'static str,
    input: usize,
    output: Option<usize>,
    kernel: usize,
    stride: usize,
    padding: Option<usize>,
    dilation: usize,
) -> Result<Axis, Error> {
    let sizes = [("input", input), ("output", output.unwrap_or(1)), ("kernel", kernel), ("stride", stride)];
    for (field, size) in sizes {
        if size == 0 {
            return Err(Error::ZeroSize { field });
        }
    }
    let too_large = || Error::TooLarge { what: "an axis of the problem" };
    let extent = checked_extent(kernel, dilation).ok_or_else(too_large)?;
    let (output, padding) = match (output, padding) {
        (Some(output), Some(padding)) => (output, padding),
        (Some(output), None) => (output, deduced_padding(input, output, extent, stride).ok_or_else(too_large)?),
        (None, padding) => {
            let padding = padding.unwrap_or(0);
            let padded = padding.checked_mul(2).and_then(|p| p.checked_add(input)).ok_or_else(too_large)?;
            let span = padded.checked_sub(extent).ok_or(Error::KernelTooLarge { axis: name, extent, padded })?;
            (span / stride + 1, padding)
        }
    };
    Ok(Axis { input, kernel, output, stride, dilation, padding })
}

/// Half of what the outputs reach beyond the input, as benchdnn deduces it.
fn deduced_padding(input: usize, output: usize, extent: usize, stride: usize) -> Option<usize> {
    let reach = (output - 1).checked_mul(stride)?.checked_add(extent)?;
    Some(reach.saturating_sub(input) / 2)
}

impl FromStr for ConvShape {
    type Err = Error;

    /// Reads a descriptor; a name in it is dropped ([`NamedShape`] keeps it).
    fn from_str(text: &str) -> Result<ConvShape, Error> {
        text.parse::<NamedShape>().map(|named| named.shape)
    }
}

impl fmt::Display for ConvShape {
    /// The shortest descriptor that reads back as this shape, fields in benchdnn's order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mb{}", self.batch)?;
        if self.groups != 1 {
            write!(f, "g{}", self.groups)?;
        }
        let write_sizes = |f: &mut fmt::Formatter<'_>, letter: char, size: &dyn Fn(&Axis) -> usize| {
            let mut above = None;
            for (axis, axis_letter) in self.axes.iter().zip(AXIS_LETTERS).skip(3 - self.rank) {
                if above != Some(size(axis)) {
                    write!(f, "{letter}{axis_letter}{}", size(axis))?;
                }
                above = Some(size(axis));
            }
            Ok(())
        };
        let any = |differs: &dyn Fn(&Axis) -> bool| self.spatial_axes().iter().any(differs);
        write!(f, "ic{}", self.in_channels)?;
        write_sizes(f, 'i', &|a| a.input)?;
        write!(f, "oc{}", self.out_channels)?;
        write_sizes(f, 'o', &|a| a.output)?;
        write_sizes(f, 'k', &|a| a.kernel)?;
        if any(&|a| a.stride != 1) {
            write_sizes(f, 's', &|a| a.stride)?;
        }
        let deduced = |a: &Axis| deduced_padding(a.input, a.output, a.extent(), a.stride);
        if any(&|a| a.padding != 0 || deduced(a) != Some(0)) {
            write_sizes(f, 'p', &|a| a.padding)?;
        }
        if any(&|a| a.dilation != 1) {
            write_sizes(f, 'd', &|a| a.dilation - 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for NamedShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shape.fmt(f)?;
        match &self.name {
            Some(name) => write!(f, "n\"{name}\""),
            None => Ok(()),
        }
    }
}

impl NamedShape {
    /// Reads a shape file: one descriptor a line; `#` begins a comment; blank lines and benchdnn's `--options` are
    /// passed over.
    ///
    /// # Errors
    /// [`Error::Parse`] or what the checks of a shape say, for the first line that is not a problem.
    ///
    /// ```
    /// let shapes = convgrad::NamedShape::read_list("# two layers\nic3ih8oc4kh3\nic4ih6oc4kh3n\"b\"  # named\n")?;
    /// assert_eq!(shapes.len(), 2);
    /// assert_eq!(shapes[1].name.as_deref(), Some("b"));
    /// # Ok::<(), convgrad::Error>(())
    /// ```
    pub fn read_list(text: &str) -> Result<Vec<NamedShape>, Error> {
        NamedShape::descriptors(text).map(|(_, descriptor)| descriptor.parse()).collect()
    }

    /// The descriptors of a shape file as they are written there, each with the number of its line, counted from 1.
    ///
    /// ```
    /// let file = "# one layer\nmb1_ic3ih8oc4kh3  # written freely\n";
    /// let descriptors: Vec<_> = convgrad::NamedShape::descriptors(file).collect();
    /// assert_eq!(descriptors, [(2, "mb1_ic3ih8oc4kh3")]);
    /// ```
    pub fn descriptors(text: &str) -> impl Iterator<Item = (usize, &str)> {
        text.lines().enumerate().filter_map(|(i, line)| Some((i + 1, descriptor_of_line(line)?)))
    }
}

/// The part of a line before its comment, without blanks around it; `None` when nothing is left, or an option.
fn descriptor_of_line(line: &str) -> Option<&str> {
    let descriptor = line.split('#').next().unwrap_or_default().trim();
    (!descriptor.is_empty() && !descriptor.starts_with("--")).then_some(descriptor)
}
