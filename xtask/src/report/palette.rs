//! Colours by what they mean, each in a light and a dark version.
//!
//! A picture is written in the light colours, which any program can show. Where a style sheet counts, rules that select
//! elements by that very colour put the dark one in its place; so there is one picture for both, and plotters needs to
//! know nothing of it. The colours of contestants are told apart with the common kinds of colour blindness (they follow
//! Okabe and Ito, darkened to carry white text), and each has a mark of its own besides.

use plotters::style::RGBColor;
use std::fmt::Write;

/// A colour in its two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink {
    pub light: RGBColor,
    pub dark: RGBColor,
}

const fn ink(light: u32, dark: u32) -> Ink {
    const fn rgb(code: u32) -> RGBColor {
        RGBColor((code >> 16) as u8, (code >> 8) as u8, code as u8)
    }
    Ink { light: rgb(light), dark: rgb(dark) }
}

pub const PAPER: Ink = ink(0xFFFFFF, 0x0D1117);
pub const TEXT: Ink = ink(0x1F2328, 0xE6EDF3);
pub const SOFT: Ink = ink(0x59636E, 0x9DA7B3);
pub const GRID: Ink = ink(0xDDE2E7, 0x2B323B);
/// Text on the colour of a contestant.
pub const ON_SERIES: Ink = ink(0xFFFFFE, 0x0D1116);

/// Our backends, in the registry's order.
pub const BACKENDS: [Ink; 6] = [
    ink(0x0072B2, 0x58A6E8),
    ink(0xB05F00, 0xF0A532),
    ink(0x00805C, 0x2BC298),
    ink(0xA0458A, 0xE08DC4),
    ink(0x4B5563, 0xAEB8C4),
    ink(0x8C3B2A, 0xE8937F),
];

/// Libraries beside them.
pub const LIBRARIES: [Ink; 5] = [
    ink(0xD55E00, 0xFF8A4C),
    ink(0x4FAFE0, 0x8FD3F7),
    ink(0x8A7A00, 0xD9C84A),
    ink(0x6E7781, 0xA5AFBA),
    ink(0x7F3B73, 0xC58ABB),
];

/// Shares of the peak by tenths, from little to much, after Cividis, whose lightness rises evenly for everyone; these
/// are the same on light and dark paper.
pub const SHARES: [Ink; 10] = [
    same(0x00224E),
    same(0x123570),
    same(0x3B496C),
    same(0x575D6D),
    same(0x6B6C70),
    same(0x8A8678),
    same(0xA59C74),
    same(0xC3B369),
    same(0xE1CC55),
    same(0xFEE838),
];

/// Text on the darker half of [`SHARES`], and on the lighter.
pub const ON_SHARES: [Ink; 2] = [same(0xFFFFFD), same(0x101010)];

const fn same(code: u32) -> Ink {
    ink(code, code)
}

/// The colour of a contestant by its place among its kind.
pub fn contestant(place: usize, is_library: bool) -> Ink {
    let inks: &[Ink] = if is_library { &LIBRARIES } else { &BACKENDS };
    inks[place % inks.len()]
}

/// The step of [`SHARES`] for a share of 1, and the text to put on it.
pub fn share(share: f64) -> (Ink, Ink) {
    let step = ((share * SHARES.len() as f64) as usize).min(SHARES.len() - 1);
    (SHARES[step], ON_SHARES[usize::from(step >= SHARES.len() / 2)])
}

fn code(colour: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2)
}

fn all() -> impl Iterator<Item = Ink> {
    [PAPER, TEXT, SOFT, GRID, ON_SERIES].into_iter().chain(BACKENDS).chain(LIBRARIES).chain(SHARES).chain(ON_SHARES)
}

/// The rules that turn pictures dark, for those who prefer that.
pub fn dark_style() -> String {
    let mut style = "@media (prefers-color-scheme:dark){".to_owned();
    for Ink { light, dark } in all().filter(|ink| ink.light != ink.dark) {
        let (light, dark) = (code(light), code(dark));
        write!(style, "[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
            .expect("a string grows");
    }
    style + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast of two colours as the Web Content Accessibility Guidelines define it: 1 to 21.
    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let channel = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let luminance = |c: RGBColor| 0.2126 * channel(c.0) + 0.7152 * channel(c.1) + 0.0722 * channel(c.2);
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn a_light_colour_has_one_meaning() {
        let inks: Vec<Ink> = all().collect();
        for (i, a) in inks.iter().enumerate() {
            assert!(inks[i + 1..].iter().all(|b| a.light != b.light), "{a:?} is twice in the palette");
        }
    }

    #[test]
    fn everything_stands_out_from_its_paper() {
        for ink in [TEXT, SOFT] {
            assert!(contrast(ink.light, PAPER.light) >= 4.5 && contrast(ink.dark, PAPER.dark) >= 4.5, "{ink:?}");
        }
        for ink in BACKENDS {
            let on = ON_SERIES;
            assert!(contrast(ink.light, on.light) >= 4.5 && contrast(ink.dark, on.dark) >= 4.5, "{ink:?}");
        }
        for ink in LIBRARIES {
            assert!(contrast(ink.light, PAPER.light) >= 2.4 && contrast(ink.dark, PAPER.dark) >= 3.0, "{ink:?}");
        }
        for step in 0..10 {
            let (ink, on) = share(f64::from(step) / 10.0 + 0.05);
            assert!(contrast(ink.light, on.light) >= 4.5, "{step}: {}", contrast(ink.light, on.light));
        }
    }

    #[test]
    fn shares_beyond_the_peak_have_the_last_colour() {
        assert_eq!(share(0.0).0, SHARES[0]);
        assert_eq!(share(0.999).0, SHARES[9]);
        assert_eq!(share(1.2).0, SHARES[9]);
    }
}
