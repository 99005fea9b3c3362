//! `convgrad demo`: the crate at work on real input, for someone who sees it for the first time.
//!
//! Three parts, each checked as it is shown: numbers that can be followed by hand, a kernel learned from a photograph,
//! and a race of the backends over sizes. All three take what the registry gives, so a backend added there shows up
//! here by itself.

mod page;
mod photograph;
mod pictures;
mod sweep;
mod worked_example;

use anyhow::Context;
use convgrad::{Backend, ConvShape, Op};
use std::io::{self, Write};
use std::path::PathBuf;

/// What `convgrad demo` can be told.
#[derive(Debug, Default, clap::Args)]
pub struct DemoOptions {
    /// Write photograph, target and result as PNG and the loss curve as SVG into this directory
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
}

/// Runs the three parts, printing to standard output.
///
/// # Errors
/// When `--save` names no directory that can be made and written to; [`CheckFailed`](crate::CheckFailed) when a backend does not do what
/// the part shows; the bare `io::Error` when the reader of the output has gone.
pub fn run(options: &DemoOptions) -> anyhow::Result<()> {
    if let Some(directory) = &options.save {
        // Before anything else: nobody should watch the demo to its end to learn that the pictures have no place.
        std::fs::create_dir_all(directory).with_context(|| {
            format!("--save {}: cannot be made; name a directory that can be written to", directory.display())
        })?;
    }
    show(options, &mut io::stdout().lock())
}

/// The backends that compute the weight gradient of a shape.
fn able_backends(shape: &ConvShape) -> Vec<Box<dyn Backend<f32>>> {
    convgrad::backends().into_iter().filter(|backend| backend.supports(Op::WeightGradient, shape).is_ok()).collect()
}

fn show(options: &DemoOptions, out: &mut impl Write) -> anyhow::Result<()> {
    worked_example::show(out)?;
    let learned = photograph::show(out)?;
    if let Some(directory) = &options.save {
        let names = pictures::save(directory, &learned)?.join(", ");
        writeln!(out, "   Saved in {}: {names}.\n", directory.display())?;
    }
    sweep::show(out)?;
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that leaves after some bytes, as `head` does.
    struct Pipe(usize);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_leaves_is_told_apart_wherever_it_happens() {
        for open_for in [0, 100, 1500] {
            let error = show(&DemoOptions::default(), &mut Pipe(open_for)).unwrap_err();
            let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
            assert_eq!(kind, Some(io::ErrorKind::BrokenPipe), "after {open_for} bytes: {error:#}");
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_refused_by_name() {
        let file = std::env::current_exe().unwrap();
        let error = run(&DemoOptions { save: Some(file.join("pictures")) }).unwrap_err();
        let line = format!("{error:#}");
        assert!(line.starts_with("--save ") && line.contains("pictures: cannot be made;"), "{line}");
        assert!(!line.contains('\n'), "{line}");
    }
}
