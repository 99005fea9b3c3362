//! What the contestants of `cargo xtask peers` have in common.
//!
//! Each library computes in a process of its own: its threads, its allocator and its failures are its own, and one that
//! cannot be built leaves the others standing. A contestant lives through a whole run of one number of threads and is
//! spoken to in lines: it reads requests from stdin and answers each with one line on stdout.
//!
//! ```text
//!                    peer VERSION              once, before any request
//! load DIRECTORY     ready | refused WHY       takes the problem.json, input.f32 and delta.f32 that lie there
//! gradient           written                   computes once; gradient.f32 in the same directory
//! time SECONDS       timed SECONDS SECONDS ..  repeats the call; seconds of one call, of each sample
//! quit                                         ends; so does the end of stdin
//! ```
//!
//! Any request may be answered `failed WHY`. The files `.f32` are the numbers one after the other, four bytes each, the
//! least significant first: operands in the layout of the problem, the gradient always in the order `[out channels, in
//! channels, kernel..]`. Every contestant reads the same bytes, so that there is one place where they are made, the
//! program `definition`.
//!
//! Rust contestants compute inside rayon's global pool, whose size the environment sets: that spares each call the
//! waking of the pool, for every library alike.
//!
//! `cargo test --manifest-path xtask/peers/Cargo.toml --target-dir target/peers --all-features` runs this package's tests.

mod problem;
mod protocol;
mod sampling;

pub use problem::{Problem, layout_by_name, numbers, write_numbers};
pub use protocol::{Computation, serve};

use anyhow::{Result, ensure};
use convgrad::ConvShape;

/// The version of a package in this package's lock file, behind its name: what the program was built from.
///
/// # Panics
/// If the lock file has no such package.
pub fn version_of(package: &str) -> String {
    let entry = format!("name = \"{package}\"\nversion = \"");
    let lock = include_str!("../Cargo.lock");
    let version = lock.split_once(&entry).and_then(|(_, rest)| rest.split('"').next());
    format!("{package} {}", version.unwrap_or_else(|| panic!("Cargo.lock has no package `{package}`")))
}

/// Refuses a shape whose outputs do not follow from the same padding before and after the input, the only kind that
/// most libraries take.
pub fn expect_symmetric_padding(shape: &ConvShape) -> Result<()> {
    let symmetric = shape.spatial_axes().iter().all(|a| {
        let span = (a.input + 2 * a.padding).checked_sub(a.extent());
        // The stride of an axis with one output has no meaning and is kept as 1.
        a.output == 1 || span.is_some_and(|span| span / a.stride + 1 == a.output)
    });
    ensure!(symmetric, "takes the same padding before and after the input only");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        assert_eq!(version_of("convgrad"), format!("convgrad {}", manifest_version()));
    }

    /// The version in the library's manifest.
    fn manifest_version() -> &'static str {
        let manifest = include_str!("../../../Cargo.toml");
        let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
        line.expect("the manifest has a version").trim_matches('"')
    }

    #[test]
    fn padding_that_differs_at_the_two_ends_is_refused() {
        for (shape, symmetric) in [
            ("mb1ic1ih5oc1oh5kh3ph1", true),
            // The last input position is read by no output: symmetric all the same.
            ("mb1ic1ih6oc1oh3kh3sh2ph1", true),
            ("mb1ic1ih6oc1oh3kh3sh2ph0", false),
            ("mb1ic1ih5oc1oh4kh3ph1", false),
            ("mb1ic1iw5oc1ow5kw3pw1", true),
        ] {
            let read = expect_symmetric_padding(&shape.parse().unwrap()).is_ok();
            assert_eq!(read, symmetric, "{shape}");
        }
    }
}
