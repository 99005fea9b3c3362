//! A logarithmic axis: plotters' coordinate on a stretch of pixels, with its grid.

use super::numbers::scientific;
use super::palette::{GRID, SOFT};
use super::picture::{Anchor, Canvas, NORMAL, SMALL};
use anyhow::Result;
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::{IntoLogRange, LogCoord};
use std::ops::Range;

/// Values of several sizes on pixels.
pub struct LogAxis {
    coordinate: LogCoord<f64>,
    values: Range<f64>,
    pixels: (i32, i32),
}

impl LogAxis {
    /// From the pixel of the least value to that of the greatest.
    pub fn new(values: Range<f64>, pixels: (i32, i32)) -> LogAxis {
        let coordinate = values.clone().log_scale().into();
        LogAxis { coordinate, values, pixels }
    }

    /// Covers positive values, with some room at both ends.
    pub fn covering(values: impl IntoIterator<Item = f64>, pixels: (i32, i32)) -> LogAxis {
        let (low, high) = values.into_iter().fold((f64::MAX, 0.0), |(low, high), v| (v.min(low), v.max(high)));
        LogAxis::new(low / 1.6..high * 1.6, pixels)
    }

    pub fn least(&self) -> f64 {
        self.values.start
    }

    /// The pixel of a value; beyond the ends of the axis, that of the end.
    pub fn at(&self, value: f64) -> i32 {
        self.coordinate.map(&value.clamp(self.values.start, self.values.end), self.pixels)
    }

    /// Powers of ten on the axis, with twice and five times them where there are few.
    fn ticks(&self) -> Vec<f64> {
        let decades = (self.values.end / self.values.start).log10();
        let steps: &[f64] = if decades < 2.5 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        // No more powers than can be labelled.
        let every = (decades / 10.0).ceil().max(1.0) as i32;
        let powers = self.values.start.log10().floor() as i32..=self.values.end.log10().ceil() as i32;
        let powers = powers.filter(|power| power % every == 0);
        let ticks = powers.flat_map(|power| steps.iter().map(move |step| step * 10f64.powi(power)));
        ticks.filter(|tick| self.values.contains(tick)).collect()
    }

    /// Draws lines at the ticks from `top` to `bottom`, labels below, and what they mean.
    pub fn draw_below(&self, canvas: &Canvas<'_>, (top, bottom): (i32, i32), meaning: &str) -> Result<()> {
        for tick in self.ticks() {
            canvas.tick(self.at(tick), (top, bottom), &label(tick))?;
        }
        let middle = (self.pixels.0 + self.pixels.1) / 2;
        canvas.text((middle, bottom + 36), Anchor::Middle, NORMAL, SOFT, meaning)
    }

    /// Draws lines at the ticks from `left` to `right`, labels on the left, and what they mean above.
    pub fn draw_beside(&self, canvas: &Canvas<'_>, (left, right): (i32, i32), meaning: &str) -> Result<()> {
        for tick in self.ticks() {
            let y = self.at(tick);
            canvas.line((left, y), (right, y), GRID, 1)?;
            canvas.text((left - 8, y), Anchor::End, SMALL, SOFT, &label(tick))?;
        }
        let top = self.pixels.0.min(self.pixels.1);
        canvas.text((16, top - 14), Anchor::Start, NORMAL, SOFT, meaning)
    }
}

/// A tick's number: as it is written near 1, as a power of ten elsewhere.
fn label(value: f64) -> String {
    if (0.001..1e6).contains(&value) {
        return value.to_string();
    }
    scientific(value, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_on_their_pixels() {
        let axis = LogAxis::new(1.0..100.0, (0, 200));
        assert_eq!([1.0, 10.0, 100.0].map(|v| axis.at(v)), [0, 100, 200]);
        assert_eq!([0.001, 1e9].map(|v| axis.at(v)), [0, 200]);
        // Upwards, as pixels are counted downwards.
        assert_eq!(LogAxis::new(1.0..100.0, (200, 0)).at(10.0), 100);
    }

    #[test]
    fn ticks_are_few_but_some() {
        assert_eq!(LogAxis::new(0.9..30.0, (0, 1)).ticks(), [1.0, 2.0, 5.0, 10.0, 20.0]);
        assert_eq!(LogAxis::new(0.2..2000.0, (0, 1)).ticks(), [1.0, 10.0, 100.0, 1000.0]);
        assert!((3..=11).contains(&LogAxis::new(1e-20..1e9, (0, 1)).ticks().len()));
        let axis = LogAxis::covering([5.0], (0, 10));
        assert!(axis.least() < 5.0 && axis.values.end > 5.0 && !axis.ticks().is_empty());
    }

    #[test]
    fn labels_are_short() {
        let labels = [0.1, 1.0, 200000.0, 1e-7, 2e-7, 1e-16, 1e6].map(label);
        assert_eq!(labels, ["0.1", "1", "200000", "10⁻⁷", "2·10⁻⁷", "10⁻¹⁶", "10⁶"]);
    }
}
