//! Plain text laid out for people: headings, and matrices side by side within the width of a page.

use std::io::{self, Write};

/// Columns of text a page has.
const WIDTH: usize = 100;
/// What everything below a heading is indented by.
const INDENT: &str = "   ";
/// Between two blocks that stand side by side.
const GAP: &str = "      ";

/// The heading of a part of the demo.
pub fn heading(out: &mut impl Write, text: &str) -> io::Result<()> {
    writeln!(out, "{text}\n{}\n", "=".repeat(text.len()))
}

/// Lines of equal length below a title.
pub struct Block {
    lines: Vec<String>,
}

impl Block {
    /// A matrix given row by row, its columns flush right.
    pub fn matrix(title: &str, columns: usize, entries: impl IntoIterator<Item = String>) -> Block {
        let entries: Vec<String> = entries.into_iter().collect();
        let width = entries.iter().map(String::len).max().unwrap_or(0);
        let row = |row: &[String]| row.iter().map(|e| format!("{e:>width$}")).collect::<Vec<_>>().join("  ");
        let mut lines = vec![title.to_owned()];
        lines.extend(entries.chunks(columns).map(row));
        let longest = lines.iter().map(String::len).max().unwrap_or(0);
        Block { lines: lines.into_iter().map(|l| format!("{l:<longest$}")).collect() }
    }

    fn width(&self) -> usize {
        self.lines[0].len()
    }
}

/// Writes blocks from left to right, starting anew below when the page is full.
pub fn side_by_side(out: &mut impl Write, blocks: &[Block]) -> io::Result<()> {
    let mut rest = blocks;
    while !rest.is_empty() {
        let mut width = INDENT.len();
        let fit = rest.iter().take_while(|block| {
            width += block.width() + GAP.len();
            width <= WIDTH + GAP.len()
        });
        let (row, below) = rest.split_at(fit.count().max(1));
        let height = row.iter().map(|b| b.lines.len()).max().unwrap_or(0);
        for i in 0..height {
            let line: Vec<String> =
                row.iter().map(|b| b.lines.get(i).cloned().unwrap_or_else(|| " ".repeat(b.width()))).collect();
            writeln!(out, "{INDENT}{}", line.join(GAP).trim_end())?;
        }
        writeln!(out)?;
        rest = below;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(blocks: &[Block]) -> String {
        let mut out = Vec::new();
        side_by_side(&mut out, blocks).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn blocks_of_different_height_keep_their_columns() {
        let tall = Block::matrix("a", 2, ["1", "-20", "3", "4"].map(String::from));
        let short = Block::matrix("b", 1, ["5".to_owned()]);
        let right = Block::matrix("c", 1, ["6", "7"].map(String::from));
        let expected = "   a             b      c\n     1  -20      5      6\n     3    4             7\n\n";
        assert_eq!(rendered(&[tall, short, right]), expected);
    }

    #[test]
    fn a_full_page_goes_on_below() {
        let block = || Block::matrix(&"x".repeat(30), 1, ["1".to_owned()]);
        let text = rendered(&[block(), block(), block(), block()]);
        assert!(text.lines().all(|l| l.len() <= WIDTH), "{text}");
        assert_eq!(text.lines().filter(|l| l.contains('x')).count(), 2);
    }
}
