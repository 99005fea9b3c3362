//! `convgrad sets`: the named sets of problems, and the problems of some.
//!
//! Sets are printed as their files hold them, comments included, so that `convgrad sets NAME | .. | convgrad bench -f -`
//! can pick from them.

use crate::arguments;
use crate::table::{self, Column};
use anyhow::Result;
use convgrad::catalog::{self, ShapeSet};
use std::io::{self, Write};

/// Options of `convgrad sets`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad sets
  convgrad sets resnet50
  convgrad sets resnet50 mobilenet | grep kh3 | convgrad bench -f -")]
pub struct SetsOptions {
    /// Print the problems of these sets, one a line, # begins a comment; without a name, list the sets
    #[arg(value_name = "NAME", value_delimiter = ',', value_parser = arguments::known_set)]
    sets: Vec<ShapeSet>,
}

/// Lists all sets, or prints those named.
pub fn run(options: &SetsOptions) -> Result<()> {
    let out = &mut io::stdout().lock();
    for set in &options.sets {
        out.write_all(set.text().as_bytes())?;
    }
    if options.sets.is_empty() { Ok(list(out)?) } else { Ok(()) }
}

fn list(out: &mut dyn Write) -> io::Result<()> {
    let width = catalog::sets().iter().map(|set| set.name().len()).max().unwrap_or(0);
    let columns = [Column::new("set", width), Column::new("shapes", 0), Column::new("what it holds", 0)];
    table::write_titles(out, &columns)?;
    for set in catalog::sets() {
        let cells = [set.name().to_owned(), set.shapes().len().to_string(), set.description().to_owned()];
        table::write_row(out, &columns, cells)?;
    }
    Ok(())
}
