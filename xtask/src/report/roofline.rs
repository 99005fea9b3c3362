//! The roofline: how fast each backend was on each shape, below what the machine allows there.
//!
//! After Williams, Waterman and Patterson (2009). A shape stands at its nominal operations for each byte of input, delta
//! and gradient. A computation that moves each byte once over a memory of this bandwidth cannot be faster than the
//! slanted line; none is faster than the level one, but for those that compute less than they are credited for.

use super::axis::LogAxis;
use super::measurement::{Conditions, Measurement};
use super::measurements::{Measurements, Roofs};
use super::numbers::{count, decimal};
use super::palette::{SOFT, TEXT};
use super::picture::{Anchor, Canvas, Marks, Picture, SMALL, WIDTH, text_width};
use anyhow::Result;
use std::collections::BTreeSet;

const HEIGHT: i32 = 560;
const LEFT: i32 = 64;
const RIGHT: i32 = WIDTH - 20;
const BOTTOM: i32 = HEIGHT - 56;

/// The picture for our backends under these conditions.
pub fn picture(measurements: &Measurements, marks: &Marks, conditions: &Conditions) -> Result<Picture> {
    let roofs = measurements.roofs(conditions);
    let points: Vec<&Measurement> =
        measurements.under(conditions).into_iter().filter(|m| m.is_backend() && m.best_ms().is_some()).collect();
    let title = format!("Roofline, {}", count(conditions.threads, "thread"));
    let levels = roofs.levels.iter().map(|(name, gbs)| format!("{name} {} GB/s", decimal(*gbs)));
    let description = format!(
        "{} measurements of our backends and the machine's limits: {} GFLOP/s of multiply-adds; reading from {}.",
        points.len(),
        decimal(roofs.peak_gflops),
        levels.collect::<Vec<_>>().join(", ")
    );
    let shown = Measurements::contestants(points.iter().copied());
    let subtitle = format!("{}; slanted lines: reading, GB/s; a mark: a backend on a shape", conditions.kind());
    Picture::draw(title.clone(), description, HEIGHT, |canvas| {
        let top = canvas.heading(&title, &subtitle)?;
        let top = canvas.legend(top + 8, &marks.legend(|contestant| shown.contains(contestant)))? + 30;
        let slowest = points.iter().filter_map(|m| m.gflops()).fold(roofs.peak_gflops, f64::min);
        let fastest = points.iter().filter_map(|m| m.gflops()).fold(roofs.peak_gflops, f64::max);
        // The ends of the slanted lines belong to the picture.
        let ridges = roofs.levels.iter().map(|(_, gbs)| roofs.peak_gflops / gbs);
        let x = LogAxis::covering(points.iter().map(|m| m.intensity()).chain(ridges), (LEFT, RIGHT));
        let y = LogAxis::covering([slowest, fastest], (BOTTOM, top));
        y.draw_beside(canvas, (LEFT, RIGHT), "GFLOP/s")?;
        x.draw_below(canvas, (top, BOTTOM), "nominal operations for each byte of input, weights and output")?;
        draw_points(canvas, marks, &points, &x, &y)?;
        draw_roofs(canvas, &roofs, &x, &y)
    })
}

fn draw_points(canvas: &Canvas<'_>, marks: &Marks, points: &[&Measurement], x: &LogAxis, y: &LogAxis) -> Result<()> {
    let mut drawn = BTreeSet::new();
    // The first contestants last, on top.
    let mut points = points.to_vec();
    points.sort_by_key(|m| std::cmp::Reverse(m.contestant()));
    for m in points {
        let at = (x.at(m.intensity()), y.at(m.gflops().expect("only timed ones are drawn")));
        if drawn.insert((at, m.contestant())) {
            marks.of(&m.contestant()).draw(canvas, at)?;
        }
    }
    Ok(())
}

fn draw_roofs(canvas: &Canvas<'_>, roofs: &Roofs, x: &LogAxis, y: &LogAxis) -> Result<()> {
    let peak = roofs.peak_gflops;
    let level = y.at(peak);
    let mut labels = Vec::new();
    for (name, gbs) in &roofs.levels {
        let foot = (y.least() / gbs).max(x.least());
        let ridge = x.at(peak / gbs);
        canvas.line((x.at(foot), y.at(gbs * foot)), (ridge, level), SOFT, 1)?;
        labels.push((ridge, format!("{name} {}", decimal(*gbs))));
    }
    labels.sort();
    let first = labels.first().map_or(LEFT, |(ridge, _)| *ridge);
    canvas.line((first, level), (RIGHT, level), TEXT, 2)?;
    // Each above the end of its line, pushed aside by the one before it.
    let mut end = LEFT;
    for (ridge, label) in labels {
        let width = text_width(&label, SMALL);
        let left = (ridge - width / 2).max(end);
        canvas.text((left, level - 12), Anchor::Start, SMALL, SOFT, &label)?;
        end = left + width + 6;
    }
    let label = format!("FMA peak {}", decimal(peak));
    let left = (RIGHT - text_width(&label, SMALL)).max(end);
    canvas.text((left, level - 12), Anchor::Start, SMALL, TEXT, &label)
}
