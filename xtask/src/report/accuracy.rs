//! Accuracy: the error of each implementation on each shape, over the length of its sums.

use super::axis::LogAxis;
use super::measurement::Measurement;
use super::measurements::Measurements;
use super::numbers::{count, magnitude};
use super::palette::SOFT;
use super::picture::{Anchor, Marks, Picture, WIDTH};
use anyhow::Result;
use std::collections::BTreeSet;

const HEIGHT: i32 = 480;
const LEFT: i32 = 72;
const RIGHT: i32 = WIDTH - 20;
const BOTTOM: i32 = HEIGHT - 56;

/// Half the distance of 1 to the next number of a type.
fn unit_roundoff(dtype: &str) -> f64 {
    if dtype == "f64" { f64::EPSILON / 2.0 } else { f64::from(f32::EPSILON) / 2.0 }
}

/// The picture for a number type, if any error of it was recorded.
pub fn picture(measurements: &Measurements, marks: &Marks, dtype: &str) -> Result<Option<Picture>> {
    let checked = measurements.newest.iter().filter(|m| m.record.run.machine.dtype == dtype);
    let checked: Vec<(&Measurement, f64)> = checked.filter_map(|m| Some((m, m.record.error?))).collect();
    if checked.is_empty() {
        return Ok(None);
    }
    let unit = unit_roundoff(dtype);
    let exact = checked.iter().filter(|(_, error)| *error == 0.0).count();
    let shown = Measurements::contestants(checked.iter().map(|(m, _)| *m));
    let title = format!("Accuracy, {dtype}");
    let greatest = checked.iter().map(|(_, error)| *error).fold(0.0, f64::max);
    let mut description = format!(
        "Errors of {} of {}, at most {}.",
        count(checked.len(), "result"),
        count(shown.len(), "implementation"),
        magnitude(greatest)
    );
    if exact > 0 {
        description += &format!(" {exact} without any error stand on the lower edge.");
    }
    let subtitle = "largest error of an entry, over the root mean square of the result";
    let picture = Picture::draw(title.clone(), description, HEIGHT, |canvas| {
        let top = canvas.heading(&title, subtitle)?;
        let top = canvas.legend(top + 8, &marks.legend(|contestant| shown.contains(contestant)))? + 30;
        let x = LogAxis::covering(checked.iter().map(|(m, _)| m.shape.terms() as f64), (LEFT, RIGHT));
        let errors = checked.iter().map(|(_, error)| *error).filter(|&error| error > 0.0);
        let y = LogAxis::covering(errors.chain([unit]), (BOTTOM, top));
        y.draw_beside(canvas, (LEFT, RIGHT), "error")?;
        x.draw_below(canvas, (top, BOTTOM), "terms of the sum behind each entry")?;
        let level = y.at(unit);
        canvas.line((LEFT, level), (RIGHT, level), SOFT, 1)?;
        let mut drawn = BTreeSet::new();
        for (m, error) in &checked {
            let at = (x.at(m.shape.terms() as f64), y.at(*error));
            if drawn.insert((at, m.contestant())) {
                marks.of(&m.contestant()).draw(canvas, at)?;
            }
        }
        canvas.label((RIGHT - 4, level + 12), Anchor::End, &format!("unit roundoff of {dtype}"))
    })?;
    Ok(Some(picture))
}
