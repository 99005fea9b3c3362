//! Arrays written and read byte by byte, after NumPy's description of the format, so that a fault in the crate the
//! program reads them with cannot hide itself.

use std::fs;
use std::path::Path;

/// Writes a .npy file of version 1: magic, version, header length, a Python dictionary, the numbers.
pub fn write_npy(path: &Path, descr: &str, fortran: bool, dims: &[usize], numbers: &[f64]) {
    let order = if fortran { "True" } else { "False" };
    let shape: String = dims.iter().map(|d| format!("{d}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    for &number in numbers {
        match descr {
            "<f4" => bytes.extend((number as f32).to_le_bytes()),
            ">f4" => bytes.extend((number as f32).to_be_bytes()),
            "<f8" => bytes.extend(number.to_le_bytes()),
            "<i8" => bytes.extend((number as i64).to_le_bytes()),
            other => panic!("no rule to write {other}"),
        }
    }
    fs::write(path, bytes).unwrap();
}

/// Reads what the program wrote: its header up to the padding, and its numbers.
pub fn read_npy(path: &Path) -> (String, Vec<f64>) {
    let bytes = fs::read(path).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    let numbers = match header.contains("'<f4'") {
        true => bytes[end..].chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect(),
        false => bytes[end..].chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
    };
    (header, numbers)
}

/// Numbers in C order, rearranged as Fortran order has them.
pub fn fortran_order(dims: &[usize], numbers: &[f64]) -> Vec<f64> {
    let mut result = vec![f64::NAN; numbers.len()];
    for (i, &number) in numbers.iter().enumerate() {
        let (mut rest, mut to, mut reach) = (i, 0, numbers.len());
        for &dim in dims.iter().rev() {
            reach /= dim;
            to += rest % dim * reach;
            rest /= dim;
        }
        result[to] = number;
    }
    result
}

/// The array with axis 1 moved to the end, in C order.
pub fn channels_last(dims: &[usize], numbers: &[f64]) -> (Vec<usize>, Vec<f64>) {
    let (batch, channels) = (dims[0], dims[1]);
    let positions = numbers.len() / batch / channels;
    let mut moved = Vec::new();
    for n in 0..batch {
        for p in 0..positions {
            moved.extend((0..channels).map(|c| numbers[(n * channels + c) * positions + p]));
        }
    }
    let mut moved_dims = dims.to_vec();
    moved_dims[1..].rotate_left(1);
    (moved_dims, moved)
}
