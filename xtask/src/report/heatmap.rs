//! Heat maps: kernel size by input size, on the set of one-channel images.

use super::contest::Winner;
use super::measurement::Conditions;
use super::measurements::Measurements;
use super::numbers::{count, hundredths, percent, times};
use super::palette::{GRID, Ink, ON_SERIES, SHARES, SOFT, TEXT, share};
use super::picture::{Anchor, Canvas, Mark, Marks, NORMAL, Picture, SMALL, WIDTH};
use anyhow::Result;
use std::collections::BTreeSet;

/// The set in question.
pub const SET: &str = "image";

const LEFT: i32 = 76;
const RIGHT: i32 = WIDTH - 16;
const CELL_HEIGHT: i32 = 38;
/// The axis and its meaning, below the cells.
const FOOT: i32 = 56;

/// Kernels in columns, images in rows, and what was fastest where.
struct Map<'a> {
    kernels: Vec<usize>,
    images: Vec<usize>,
    winners: Vec<Winner<'a>>,
}

impl<'a> Map<'a> {
    fn new(winners: Vec<Winner<'a>>) -> Map<'a> {
        let distinct = |size: fn(&Winner) -> usize| -> Vec<usize> {
            winners.iter().map(size).collect::<BTreeSet<_>>().into_iter().collect()
        };
        Map { kernels: distinct(kernel), images: distinct(image), winners }
    }

    fn height(&self, top: i32) -> i32 {
        top + CELL_HEIGHT * self.images.len() as i32
    }

    /// Draws axes and cells, each in the colours and with the words that `cell` says.
    fn draw(&self, canvas: &Canvas<'_>, top: i32, cell: impl Fn(&Winner) -> (Ink, Ink, String)) -> Result<()> {
        let column = |kernel| self.kernels.partition_point(|&other| other < kernel) as i32;
        // The largest image at the top.
        let row = |image| (self.images.len() - 1 - self.images.partition_point(|&other| other < image)) as i32;
        let width = (RIGHT - LEFT) / self.kernels.len() as i32;
        let bottom = self.height(top);
        for &kernel in &self.kernels {
            let middle = LEFT + width * column(kernel) + width / 2;
            canvas.text((middle, bottom + 14), Anchor::Middle, SMALL, SOFT, &kernel.to_string())?;
        }
        for &image in &self.images {
            let middle = top + CELL_HEIGHT * row(image) + CELL_HEIGHT / 2;
            canvas.text((LEFT - 8, middle), Anchor::End, SMALL, SOFT, &image.to_string())?;
        }
        let middle = (LEFT + RIGHT) / 2;
        canvas.text((middle, bottom + 38), Anchor::Middle, NORMAL, SOFT, "width of the kernel (square)")?;
        canvas.text((16, top - 14), Anchor::Start, NORMAL, SOFT, "width of the image")?;
        canvas.line((LEFT, bottom), (LEFT + width * self.kernels.len() as i32, bottom), GRID, 1)?;
        for winner in &self.winners {
            let from = (LEFT + width * column(kernel(winner)), top + CELL_HEIGHT * row(image(winner)));
            let (fill, ink, words) = cell(winner);
            canvas.rectangle((from.0 + 1, from.1 + 1), (from.0 + width - 1, from.1 + CELL_HEIGHT - 1), fill)?;
            canvas.text((from.0 + width / 2, from.1 + CELL_HEIGHT / 2), Anchor::Middle, SMALL, ink, &words)?;
        }
        Ok(())
    }
}

fn kernel(winner: &Winner) -> usize {
    winner.best.shape.axes()[2].kernel
}

fn image(winner: &Winner) -> usize {
    winner.best.shape.axes()[2].input
}

/// Which backend is fastest where, and by how much.
pub fn by_winner(measurements: &Measurements, marks: &Marks, conditions: &Conditions) -> Result<Option<Picture>> {
    let map = Map::new(measurements.winners(SET, conditions));
    if map.winners.is_empty() {
        return Ok(None);
    }
    let shown = Measurements::contestants(map.winners.iter().map(|winner| winner.best));
    let counts = shown.iter().map(|contestant| {
        let count = map.winners.iter().filter(|w| w.best.contestant() == *contestant).count();
        format!("{} on {count}", contestant.name)
    });
    let title = format!("Fastest backend, one channel, {}", count(conditions.threads, "thread"));
    let description = format!("Of {} shapes: {}.", map.winners.len(), counts.collect::<Vec<_>>().join(", "));
    let subtitle = format!("{}; the number: how many times as fast as the next", conditions.kind());
    const TOP: i32 = 126;
    let picture = Picture::draw(title.clone(), description, map.height(TOP) + FOOT, |canvas| {
        let top = canvas.heading(&title, &subtitle)?;
        let entries = marks.legend(|contestant| shown.contains(contestant)).into_iter();
        canvas.legend(top + 8, &entries.map(|(mark, name)| (Mark::bar(mark.ink), name)).collect::<Vec<_>>())?;
        map.draw(canvas, TOP, |winner| {
            let words = winner.margin.map_or("only".to_owned(), |margin| format!("{}×", times(margin)));
            (marks.of(&winner.best.contestant()).ink, ON_SERIES, words)
        })
    })?;
    Ok(Some(picture))
}

/// What the fastest backend reaches of the peak.
pub fn by_share(measurements: &Measurements, conditions: &Conditions) -> Result<Option<Picture>> {
    let map = Map::new(measurements.winners(SET, conditions));
    if map.winners.is_empty() {
        return Ok(None);
    }
    let of_peak = |winner: &Winner| winner.best.share_of_peak().expect("winners are timed");
    let highest = map.winners.iter().map(of_peak).fold(0.0, f64::max);
    let title = format!("Share of the peak, one channel, {}", count(conditions.threads, "thread"));
    let description = format!(
        "The fastest backend on each of {} shapes; at most {} of the peak.",
        map.winners.len(),
        percent(highest)
    );
    let subtitle = format!("{}; the fastest backend's rate in % of the FMA peak", conditions.kind());
    const TOP: i32 = 126;
    let picture = Picture::draw(title.clone(), description, map.height(TOP) + FOOT, |canvas| {
        let top = canvas.heading(&title, &subtitle)? + 8;
        canvas.text((24, top), Anchor::Start, SMALL, TEXT, "0 %")?;
        for (step, ink) in SHARES.into_iter().enumerate() {
            let x = 54 + 24 * step as i32;
            canvas.rectangle((x, top - 7), (x + 24, top + 7), ink)?;
        }
        canvas.text((302, top), Anchor::Start, SMALL, TEXT, "90 % and more")?;
        map.draw(canvas, TOP, |winner| {
            let (fill, ink) = share(of_peak(winner));
            (fill, ink, hundredths(of_peak(winner)))
        })
    })?;
    Ok(Some(picture))
}
