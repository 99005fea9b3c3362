//! The picture of what was learned: the kernels of the first layer above, the misread digits below.
//!
//! A kernel's weights go from blue (negative) over white to red (positive). Beside each misread digit stand the digit it is,
//! in green, and the one it was read as, in red.

use crate::data::{Digits, SIDE};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

type Colour = [u8; 3];

const PAPER: Colour = [255, 255, 255];
const GREEN: Colour = [20, 130, 60];
const RED: Colour = [190, 30, 45];
const BLUE: Colour = [40, 80, 190];

/// Taps of a kernel along each side.
const TAPS: usize = 3;
/// Pixels of the picture for a tap, and for a pixel of a digit.
const TAP: usize = 24;
const DOT: usize = 10;
/// Kernels in a row, and digits.
const KERNELS_IN_ROW: usize = 8;
const DIGITS_IN_ROW: usize = 5;
const GAP: usize = 12;
/// Pixels for a dot of the small figures.
const STROKE: usize = 4;

/// The figures from 0 to 9, 3 dots wide and 5 high: a row in three bits, the upper row first.
const FIGURES: [[u8; 5]; 10] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 7, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 1, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
];

struct Canvas {
    width: usize,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Canvas {
        Canvas { width, pixels: PAPER.repeat(width * height) }
    }

    fn square(&mut self, [x, y]: [usize; 2], side: usize, colour: Colour) {
        for row in y..y + side {
            self.pixels[3 * (row * self.width + x)..][..3 * side].copy_from_slice(&colour.repeat(side));
        }
    }

    fn figure(&mut self, [x, y]: [usize; 2], digit: usize, colour: Colour) {
        for (row, bits) in FIGURES[digit].into_iter().enumerate() {
            for column in (0..3).filter(|column| bits >> (2 - column) & 1 == 1) {
                self.square([x + column * STROKE, y + row * STROKE], STROKE, colour);
            }
        }
    }

    fn save(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let height = self.pixels.len() / 3 / self.width;
        let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), self.width as u32, height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(())
    }
}

/// Draws kernels of 3x3 weights and the misread digits, and saves the picture.
pub fn save(path: &Path, kernels: &[f32], digits: &Digits, read: &[usize], misread: &[usize]) -> Result<()> {
    let kernel_pitch = TAPS * TAP + GAP;
    let [digit_width, digit_height] = [SIDE * DOT + 2 * GAP + 3 * STROKE, SIDE * DOT + GAP];
    let kernel_rows = (kernels.len() / (TAPS * TAPS)).div_ceil(KERNELS_IN_ROW);
    let digit_rows = misread.len().div_ceil(DIGITS_IN_ROW);
    let width = GAP + (KERNELS_IN_ROW * kernel_pitch).max(DIGITS_IN_ROW * digit_width);
    let digits_from = 2 * GAP + kernel_rows * kernel_pitch;
    let mut canvas = Canvas::new(width, digits_from + digit_rows * digit_height + GAP);

    let largest = kernels.iter().fold(f32::MIN_POSITIVE, |largest, weight| largest.max(weight.abs()));
    for (index, kernel) in kernels.chunks_exact(TAPS * TAPS).enumerate() {
        let corner = [index % KERNELS_IN_ROW, index / KERNELS_IN_ROW].map(|place| GAP + place * kernel_pitch);
        for (tap, weight) in kernel.iter().enumerate() {
            let at = [corner[0] + tap % TAPS * TAP, corner[1] + tap / TAPS * TAP];
            let ink = if *weight < 0.0 { BLUE } else { RED };
            canvas.square(at, TAP, mixed(PAPER, ink, weight.abs() / largest));
        }
    }
    for (index, &digit) in misread.iter().enumerate() {
        let [column, row] = [index % DIGITS_IN_ROW, index / DIGITS_IN_ROW];
        let corner = [GAP + column * digit_width, digits_from + row * digit_height];
        for (pixel, &brightness) in digits.picture(digit).iter().enumerate() {
            let at = [corner[0] + pixel % SIDE * DOT, corner[1] + pixel / SIDE * DOT];
            canvas.square(at, DOT, mixed([235; 3], [0; 3], brightness));
        }
        let beside = corner[0] + SIDE * DOT + GAP / 2;
        canvas.figure([beside, corner[1]], digits.labels[digit], GREEN);
        canvas.figure([beside, corner[1] + SIDE * DOT - 5 * STROKE], read[digit], RED);
    }
    canvas.save(path).with_context(|| format!("--picture {}", path.display()))
}

/// A colour between two others.
fn mixed(from: Colour, to: Colour, share: f32) -> Colour {
    [0, 1, 2].map(|i| (f32::from(from[i]) + share * (f32::from(to[i]) - f32::from(from[i]))).round() as u8)
}
