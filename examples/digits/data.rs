//! The handwritten digits, unpacked and split into those to learn from and those to be asked about.

use crate::random::Random;
use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use std::io::Read;

/// Rows and columns of a picture.
pub const SIDE: usize = 8;
/// Numbers of a picture.
pub const PIXELS: usize = SIDE * SIDE;
/// The digits.
pub const CLASSES: usize = 10;

/// The brightest pixel there is.
const BRIGHTEST: f32 = 16.0;

/// One in so many pictures is held out.
const HELD_OUT: usize = 4;

/// Pictures, one after the other, with pixels from 0 to 1, and the digit each of them shows.
#[derive(Debug, Clone, Default)]
pub struct Digits {
    pub pictures: Vec<f32>,
    pub labels: Vec<usize>,
}

impl Digits {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The picture at a position.
    pub fn picture(&self, index: usize) -> &[f32] {
        &self.pictures[index * PIXELS..][..PIXELS]
    }

    /// Those at the given positions.
    pub fn select(&self, indices: &[usize]) -> Digits {
        Digits {
            pictures: indices.iter().flat_map(|&index| self.picture(index)).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
        }
    }

    /// Three quarters to learn from and a quarter held out, drawn at random.
    pub fn load(random: &mut Random) -> Result<(Digits, Digits)> {
        let all = parse(include_bytes!("digits.csv.gz"))?;
        let order = random.shuffled(all.len());
        let (held_out, learned) = order.split_at(all.len() / HELD_OUT);
        Ok((all.select(learned), all.select(held_out)))
    }
}

fn parse(compressed: &[u8]) -> Result<Digits> {
    let mut text = String::new();
    GzDecoder::new(compressed).read_to_string(&mut text).context("the embedded digits do not unpack")?;
    let mut digits = Digits::default();
    for line in text.lines() {
        let numbers = line.split(',').map(str::parse).collect::<Result<Vec<u8>, _>>().context("not a number")?;
        ensure!(numbers.len() == PIXELS + 1, "a line of {} numbers", numbers.len());
        let (pixels, label) = numbers.split_at(PIXELS);
        digits.pictures.extend(pixels.iter().map(|&pixel| f32::from(pixel) / BRIGHTEST));
        digits.labels.push(usize::from(label[0]));
    }
    Ok(digits)
}
