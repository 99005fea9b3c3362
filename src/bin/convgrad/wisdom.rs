//! `convgrad wisdom`: what files of remembered times hold.

use crate::CheckFailed;
use crate::table::{self, Column};
use crate::tune::wisdom_path;
use anyhow::{Context, Result, ensure};
use convgrad::auto::{Wisdom, WisdomKey, WisdomWarning};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Options of `convgrad wisdom`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad wisdom show
  convgrad wisdom merge all.json mine.json yours.json
  convgrad wisdom check all.json")]
pub struct WisdomOptions {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print the times, fastest first
    Show {
        /// The file; that in the platform's folder for caches if not given
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Add what files hold to another one, which is made if need be; of two times of the same the later file's stays
    Merge {
        /// The file to add to
        #[arg(value_name = "INTO")]
        into: PathBuf,

        /// The files to add
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Tell what in files cannot be used; exit code 1 if a file is corrupt or has entries that make no sense
    Check {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}

/// Shows, merges or checks.
pub fn run(options: &WisdomOptions) -> Result<()> {
    let out = &mut io::stdout().lock();
    match &options.command {
        Command::Show { file } => show(&load(&wisdom_path(file.as_deref())?)?, out),
        Command::Merge { into, files } => merge(into, files, out),
        Command::Check { files } => check(files, out),
    }
}

/// A file that is there; what cannot be used in it goes to stderr.
fn load(path: &Path) -> Result<Wisdom> {
    ensure!(path.exists(), "{}: there is no such file; `convgrad tune` writes one", path.display());
    let (wisdom, warnings) = Wisdom::load(path);
    for warning in warnings {
        writeln!(io::stderr(), "convgrad: {warning}")?;
    }
    Ok(wisdom)
}

fn show(wisdom: &Wisdom, out: &mut dyn Write) -> Result<()> {
    let columns = ["dtype", "layout", "isa", "threads", "shape", "milliseconds"].map(|title| Column::new(title, 0));
    let mut circumstances = None;
    for (WisdomKey { op, shape, dtype, layout, cpu, isa, threads, version }, times) in wisdom.entries() {
        if circumstances != Some((op, cpu, version)) {
            let blank = if circumstances.is_some() { "\n" } else { "" };
            writeln!(out, "{blank}{op}, {cpu}, version {version}")?;
            table::write_titles(out, &columns)?;
            circumstances = Some((op, cpu, version));
        }
        let mut times: Vec<_> = times.collect();
        times.sort_by(|a, b| a.1.total_cmp(&b.1));
        let times: Vec<_> = times.into_iter().map(|(name, ms)| format!("{name} {ms:.4}")).collect();
        let cells = [dtype.clone(), layout.clone(), isa.clone(), threads.to_string(), shape.clone(), times.join(", ")];
        table::write_row(out, &columns, cells)?;
    }
    Ok(())
}

fn merge(into: &Path, files: &[PathBuf], out: &mut dyn Write) -> Result<()> {
    let mut merged = Wisdom::default();
    for file in files {
        merged.merge(&load(file)?);
    }
    merged.save(into).with_context(|| format!("{}: cannot be written; name another file", into.display()))?;
    Ok(writeln!(out, "{}: {} problems", into.display(), Wisdom::load(into).0.len())?)
}

fn check(files: &[PathBuf], out: &mut dyn Write) -> Result<()> {
    let mut faulty = 0;
    for file in files {
        ensure!(file.exists(), "{}: there is no such file", file.display());
        let (wisdom, warnings) = Wisdom::load(file);
        let is_fault = |warning: &WisdomWarning| !matches!(warning, WisdomWarning::Foreign { .. });
        faulty += usize::from(warnings.iter().any(is_fault));
        writeln!(out, "{}: {} problems, {} of use here", file.display(), wisdom.len(), wisdom.of_here().len())?;
        for warning in warnings {
            writeln!(out, "    {warning}")?;
        }
    }
    match faulty {
        0 => Ok(()),
        _ => Err(CheckFailed(format!("{faulty} of {} files cannot be used as they are", files.len())).into()),
    }
}
