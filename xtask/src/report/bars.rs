//! Bars: each layer of a network, the backend we choose unmeasured beside libraries.

use super::contest::Comparison;
use super::measurement::{Conditions, Measurement};
use super::measurements::Measurements;
use super::numbers::{count, times};
use super::palette::{self, SOFT, TEXT};
use super::picture::{Anchor, Canvas, Mark, Marks, Picture, SMALL, WIDTH, text_width};
use anyhow::Result;

/// Of our bar, of a library's, and of the gap between layers.
const OURS: i32 = 9;
const LIBRARY: i32 = 5;
const GAP: i32 = 8;

/// Room for the ratio on the right, and for the longest name of a layer on the left.
const RATIO: i32 = 84;
const LONGEST_NAME: i32 = 200;

/// A layer: the first of ours, and every library that was run on it in the order of display.
struct Layer<'a> {
    ours: &'a Measurement,
    comparisons: Vec<&'a Comparison<'a>>,
    refused: Vec<&'a Measurement>,
}

/// The picture of a set that has libraries' records under these conditions.
pub fn picture(
    measurements: &Measurements,
    marks: &Marks,
    set: &str,
    conditions: &Conditions,
) -> Result<Option<Picture>> {
    let comparisons = measurements.comparisons(set, conditions);
    let layers = layers(measurements, set, conditions, &comparisons);
    if layers.is_empty() {
        return Ok(None);
    }
    let libraries = layers
        .iter()
        .flat_map(|layer| layer.comparisons.iter().map(|c| c.library).chain(layer.refused.iter().copied()));
    let libraries = Measurements::contestants(libraries);
    let title = format!("{set}: layers, {}", count(conditions.threads, "thread"));
    let description = describe(&layers);
    let row = OURS + LIBRARY * libraries.len() as i32 + GAP;
    let mut legend = vec![(Mark::bar(palette::BACKENDS[0]), "convgrad, its first choice".to_owned())];
    let entries = marks.legend(|contestant| libraries.contains(contestant));
    legend.extend(entries.into_iter().map(|(mark, name)| (Mark::bar(mark.ink), name)));

    let top = 124;
    let bottom = top + row * layers.len() as i32;
    let subtitle = format!("{}; rate in % of the FMA peak", conditions.kind());
    let picture = Picture::draw(title.clone(), description, bottom + 32, |canvas| {
        let legend_top = canvas.heading(&title, &subtitle)? + 8;
        canvas.legend(legend_top, &legend)?;
        let longest = layers.iter().map(|layer| text_width(layer.ours.layer(), SMALL)).max().unwrap_or(0);
        let left = longest.clamp(60, LONGEST_NAME) + 28;
        let scale = Scale::new(&layers, (left, WIDTH - RATIO));
        scale.draw(canvas, (top - 4, bottom))?;
        canvas.text((WIDTH - 16, top - 16), Anchor::End, SMALL, SOFT, "to best peer")?;
        for (i, layer) in layers.iter().enumerate() {
            draw_layer(canvas, marks, layer, &scale, top + row * i as i32)?;
        }
        Ok(())
    })?;
    Ok(Some(picture))
}

fn layers<'a>(
    measurements: &'a Measurements,
    set: &str,
    conditions: &Conditions,
    comparisons: &'a [Comparison<'a>],
) -> Vec<Layer<'a>> {
    comparisons
        .chunk_by(|a, b| a.library.record.shape == b.library.record.shape)
        .map(|of_shape| {
            let ours = of_shape[of_shape.len() - 1].ours;
            let refused = measurements.newest.iter().filter(|m| {
                !m.is_ours()
                    && m.refusal().is_some()
                    && m.record.set == set
                    && m.record.shape == ours.record.shape
                    && m.conditions() == *conditions
            });
            Layer { ours, comparisons: of_shape.iter().collect(), refused: refused.collect() }
        })
        .collect()
}

fn best_ratio(layer: &Layer) -> f64 {
    layer.comparisons.iter().map(|c| c.ratio()).fold(f64::INFINITY, f64::min)
}

fn describe(layers: &[Layer]) -> String {
    let faster = layers.iter().filter(|layer| best_ratio(layer) > 1.0).count();
    let extreme = |pick: fn(f64, f64) -> f64, start| layers.iter().map(best_ratio).fold(start, pick);
    format!(
        "Faster than every library on {faster} of {}; {} to {} times as fast as the fastest of them.",
        count(layers.len(), "layer"),
        times(extreme(f64::min, f64::INFINITY)),
        times(extreme(f64::max, 0.0)),
    )
}

/// Shares of the peak on pixels.
struct Scale {
    left: i32,
    right: i32,
    greatest: f64,
}

impl Scale {
    fn new(layers: &[Layer], (left, right): (i32, i32)) -> Scale {
        let all = layers.iter().flat_map(|layer| {
            layer.comparisons.iter().map(|c| c.library).chain([layer.ours]).filter_map(Measurement::share_of_peak)
        });
        let greatest = all.fold(0.0, f64::max);
        // Whole tenths, so that the last tick ends the axis.
        Scale { left, right, greatest: (greatest * 10.0).ceil().max(1.0) / 10.0 }
    }

    fn at(&self, share: f64) -> i32 {
        self.left + (f64::from(self.right - self.left) * share / self.greatest).round() as i32
    }

    fn draw(&self, canvas: &Canvas<'_>, rows: (i32, i32)) -> Result<()> {
        let step = if self.greatest > 0.45 { 20 } else { 5 };
        for tick in (0..=(self.greatest * 100.0).round() as usize).step_by(step) {
            canvas.tick(self.at(tick as f64 / 100.0), rows, &format!("{tick} %"))?;
        }
        Ok(())
    }
}

fn draw_layer(canvas: &Canvas<'_>, marks: &Marks, layer: &Layer, scale: &Scale, top: i32) -> Result<()> {
    let share = |m: &Measurement| m.share_of_peak().expect("comparisons are made of timed records");
    // A bar is at least visible.
    let end = |m: &Measurement| scale.at(share(m)).max(scale.left + 1);
    canvas.rectangle((scale.left, top), (end(layer.ours), top + OURS), palette::BACKENDS[0])?;
    let mut y = top + OURS;
    for comparison in &layer.comparisons {
        let ink = marks.of(&comparison.library.contestant()).ink;
        canvas.rectangle((scale.left, y), (end(comparison.library), y + LIBRARY - 1), ink)?;
        y += LIBRARY;
    }
    if !layer.refused.is_empty() {
        let names: Vec<&str> = layer.refused.iter().map(|m| m.implementation()).collect();
        let bars = layer.comparisons.iter().map(|c| end(c.library)).max().unwrap_or(scale.left);
        let words = format!("{} refused", names.join(", "));
        canvas.text((bars + 8, (top + OURS + y) / 2), Anchor::Start, SMALL, SOFT, &words)?;
    }
    let middle = (top + y) / 2;
    canvas.text((scale.left - 8, middle), Anchor::End, SMALL, TEXT, &shortened(layer.ours.layer()))?;
    let ratio = format!("{}×", times(best_ratio(layer)));
    canvas.text((WIDTH - 16, middle), Anchor::End, SMALL, TEXT, &ratio)
}

/// A name that fits the room on the left.
fn shortened(name: &str) -> String {
    let room = (f64::from(LONGEST_NAME) / (SMALL * 0.56)) as usize;
    match name.char_indices().nth(room) {
        None => name.to_owned(),
        Some(_) => name.chars().take(room - 1).chain(['…']).collect(),
    }
}
