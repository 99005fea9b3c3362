//! A canvas for SVG pictures on plotters: sizes, text, marks and legends alike in all of them.

use super::measurement::Contestant;
use super::palette::{self, GRID, Ink, PAPER, SOFT, TEXT};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Width of all pictures in pixels: on a desktop they stand as they are, on a phone they scroll.
pub const WIDTH: i32 = 800;

/// Sizes of text in pixels.
pub const LARGE: f64 = 17.0;
pub const NORMAL: f64 = 14.0;
pub const SMALL: f64 = 12.0;

/// The least height of a line of normal text.
pub const LINE: i32 = 18;

/// A finished picture.
pub struct Picture {
    /// What it shows, in a few words.
    pub title: String,
    /// What it says to those who cannot see it.
    pub description: String,
    svg: String,
}

impl Picture {
    /// Runs `paint` on an empty canvas of this height.
    pub fn draw(
        title: String,
        description: String,
        height: i32,
        paint: impl FnOnce(&Canvas<'_>) -> Result<()>,
    ) -> Result<Picture> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (WIDTH as u32, height as u32)).into_drawing_area();
            let canvas = Canvas { area };
            paint(&canvas)?;
            canvas.area.present()?;
        }
        Ok(Picture { title, description, svg })
    }

    /// As an element of a page, whose style sheet has [`palette::dark_style`].
    pub fn embedded(&self) -> String {
        let label = escaped(&format!("{}. {}", self.title, self.description));
        self.svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1)
    }

    /// As a file of its own, on its own paper.
    pub fn standalone(&self) -> String {
        let (open, rest) = self.svg.split_once('>').expect("plotters writes an opening tag");
        let paper = PAPER.light;
        format!(
            "{open} role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n<style>{}</style>\n\
             <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#{:02X}{:02X}{:02X}\"/>{rest}",
            escaped(&self.title),
            escaped(&self.description),
            palette::dark_style(),
            paper.0,
            paper.1,
            paper.2,
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Which end of a text its position names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Where a picture is painted, in pixels from its upper left corner.
pub struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

impl Canvas<'_> {
    /// Text whose middle line is at `y`.
    pub fn text(&self, at: (i32, i32), anchor: Anchor, size: f64, ink: Ink, text: &str) -> Result<()> {
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let style = font(size).color(&ink.light).pos(Pos::new(horizontal, VPos::Center));
        Ok(self.area.draw_text(text, &style, at)?)
    }

    /// Text in small letters on paper of its own, where it may lie on points.
    pub fn label(&self, (x, y): (i32, i32), anchor: Anchor, text: &str) -> Result<()> {
        let width = text_width(text, SMALL);
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2,
            Anchor::End => x - width,
        };
        let paper = PAPER.light.mix(0.8).filled();
        self.area.draw(&Rectangle::new([(left - 3, y - 9), (left + width + 3, y + 8)], paper))?;
        self.text((x, y), anchor, SMALL, TEXT, text)
    }

    /// A filled rectangle.
    pub fn rectangle(&self, from: (i32, i32), to: (i32, i32), ink: Ink) -> Result<()> {
        Ok(self.area.draw(&Rectangle::new([from, to], ink.light.filled()))?)
    }

    /// A straight line.
    pub fn line(&self, from: (i32, i32), to: (i32, i32), ink: Ink, width: u32) -> Result<()> {
        Ok(self.area.draw(&PathElement::new([from, to], ink.light.stroke_width(width)))?)
    }

    /// A vertical line of the grid with its number below.
    pub fn tick(&self, x: i32, (top, bottom): (i32, i32), label: &str) -> Result<()> {
        self.line((x, top), (x, bottom), GRID, 1)?;
        self.text((x, bottom + 14), Anchor::Middle, SMALL, SOFT, label)
    }

    /// The title and a line below it; what comes next may begin at the height returned.
    pub fn heading(&self, title: &str, subtitle: &str) -> Result<i32> {
        self.text((16, 22), Anchor::Start, LARGE, TEXT, title)?;
        self.text((16, 45), Anchor::Start, NORMAL, SOFT, subtitle)?;
        Ok(64)
    }

    /// Names beside their marks, from the left, in as many lines as it takes; returns the height after them.
    pub fn legend(&self, top: i32, entries: &[(Mark, String)]) -> Result<i32> {
        let (mut x, mut y) = (24, top);
        for (mark, name) in entries {
            let width = 40 + text_width(name, NORMAL);
            if x > 24 && x + width > WIDTH {
                (x, y) = (24, y + LINE + 4);
            }
            mark.draw(self, (x, y))?;
            self.text((x + 14, y), Anchor::Start, NORMAL, TEXT, name)?;
            x += width;
        }
        Ok(y + LINE)
    }
}

/// A style of text whose size is in pixels. The SVG backend divides what it is told by 1.24.
pub fn font(size: f64) -> TextStyle<'static> {
    ("sans-serif", size * 1.24).into_text_style(&(1, 1))
}

/// A generous guess of a text's width: no fonts are read here.
pub fn text_width(text: &str, size: f64) -> i32 {
    (text.chars().count() as f64 * size * 0.56).ceil() as i32
}

/// The sign of a contestant among points, told from others by its form as well as by its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub ink: Ink,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Disc,
    Square,
    Triangle,
    Diamond,
    Cross,
    Plus,
    Bar,
}

const FORMS: [Form; 6] = [Form::Disc, Form::Square, Form::Triangle, Form::Diamond, Form::Cross, Form::Plus];

impl Mark {
    /// A point's mark for a contestant, by its place among those of a picture of its kind.
    pub fn point(place: usize, is_library: bool) -> Mark {
        // Libraries take the forms from the other end, so that few of both share none.
        let form = if is_library { FORMS.len() - 1 - place % FORMS.len() } else { place % FORMS.len() };
        Mark { ink: palette::contestant(place, is_library), form: FORMS[form] }
    }

    /// The end of a bar of this colour, for legends.
    pub fn bar(ink: Ink) -> Mark {
        Mark { ink, form: Form::Bar }
    }

    /// Puts the mark on a position.
    pub fn draw(self, canvas: &Canvas<'_>, (x, y): (i32, i32)) -> Result<()> {
        let filled = self.ink.light.mix(0.75).filled();
        match self.form {
            Form::Disc => canvas.area.draw(&Circle::new((x, y), 5, filled))?,
            Form::Square => canvas.area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], filled))?,
            Form::Triangle => canvas.area.draw(&Polygon::new([(x - 5, y + 4), (x + 5, y + 4), (x, y - 5)], filled))?,
            Form::Diamond => {
                let corners = [(x - 6, y), (x, y - 6), (x + 6, y), (x, y + 6)];
                canvas.area.draw(&Polygon::new(corners, filled))?;
            }
            Form::Cross => {
                canvas.line((x - 4, y - 4), (x + 4, y + 4), self.ink, 2)?;
                canvas.line((x - 4, y + 4), (x + 4, y - 4), self.ink, 2)?;
            }
            Form::Plus => {
                canvas.line((x - 5, y), (x + 5, y), self.ink, 2)?;
                canvas.line((x, y - 5), (x, y + 5), self.ink, 2)?;
            }
            Form::Bar => canvas.rectangle((x - 6, y - 5), (x + 8, y + 5), self.ink)?,
        }
        Ok(())
    }
}

/// The marks of all contestants of a report, the same in each of its pictures.
pub struct Marks(Vec<(Contestant, Mark)>);

impl Marks {
    pub fn new(contestants: Vec<Contestant>) -> Marks {
        // Each kind is counted by itself.
        let mut places = [0; 2];
        let mut mark = |contestant: &Contestant| {
            let place = &mut places[usize::from(contestant.is_library)];
            *place += 1;
            Mark::point(*place - 1, contestant.is_library)
        };
        Marks(contestants.into_iter().map(|contestant| (contestant.clone(), mark(&contestant))).collect())
    }

    pub fn of(&self, contestant: &Contestant) -> Mark {
        let found = self.0.iter().find(|(other, _)| other == contestant);
        found.expect("the marks are those of all contestants").1
    }

    /// Legend entries of those of them for whom `shown` holds.
    pub fn legend(&self, shown: impl Fn(&Contestant) -> bool) -> Vec<(Mark, String)> {
        self.0.iter().filter(|(contestant, _)| shown(contestant)).map(|(c, mark)| (*mark, c.name.clone())).collect()
    }
}
