//! Aligned columns, a row at a time: rows appear as soon as they are known, so widths are given beforehand.

use std::io::{self, Write};

/// A column: its title and the width its cells are set right in. The last column is set left and ends the line.
pub struct Column {
    title: &'static str,
    width: usize,
}

impl Column {
    /// A column at least as wide as its title.
    pub fn new(title: &'static str, width: usize) -> Column {
        Column { title, width: width.max(title.chars().count()) }
    }
}

/// Writes the titles.
pub fn write_titles(out: &mut dyn Write, columns: &[Column]) -> io::Result<()> {
    write_row(out, columns, columns.iter().map(|column| column.title.to_owned()))
}

/// Writes one row, a cell for each column.
pub fn write_row(out: &mut dyn Write, columns: &[Column], cells: impl IntoIterator<Item = String>) -> io::Result<()> {
    let mut line = String::new();
    for (i, (column, cell)) in columns.iter().zip(cells).enumerate() {
        if i > 0 {
            line.push_str("  ");
        }
        if i + 1 == columns.len() {
            line.push_str(&cell);
        } else {
            line.push_str(&format!("{cell:>width$}", width = column.width));
        }
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_their_titles() {
        let columns = [Column::new("name", 6), Column::new("value", 0), Column::new("note", 0)];
        let mut out = Vec::new();
        write_titles(&mut out, &columns).unwrap();
        write_row(&mut out, &columns, ["naive", "1.5", "a longer note"].map(str::to_owned)).unwrap();
        write_row(&mut out, &columns, ["direct", "12", ""].map(str::to_owned)).unwrap();
        let expected = "  name  value  note\n naive    1.5  a longer note\ndirect     12\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
