//! What the contestants of `cargo xtask peers` have in common.
//!
//! Each library computes in a process of its own: its threads, its allocator and its failures are its own, and one that
//! cannot be built leaves the others standing. A contestant lives through a whole run of one number of threads and is
//! spoken to in lines: it reads requests from stdin and answers each with one line on stdout.
//!
//! ```text
//!                    peer VERSION              once, before any request
//! load DIRECTORY     ready | refused WHY       takes the problem.json and the operands that lie there
//! compute            written                   computes once; result.f32 in the same directory
//! time SECONDS       timed SECONDS SECONDS ..  repeats the call; seconds of one call, of each sample
//! quit                                         ends; so does the end of stdin
//! ```
//!
//! Any request may be answered `failed WHY`. The files `input.f32`, `weights.f32`, `delta.f32` and `result.f32` are the numbers
//! one after the other, four bytes each, the least significant first: input and delta in the layout of the problem, weights
//! and the result always channels first, as `[out channels, in channels, kernel..]`. Every contestant reads the same bytes, so that there is one place where they are made, the
//! program `definition`.
//!
//! Rust contestants compute inside rayon's global pool, whose size the environment sets: that spares each call the
//! waking of the pool, for every library alike.
//!
//! `cargo test --manifest-path xtask/peers/Cargo.toml --target-dir target/peers --all-features` runs this package's tests.

mod problem;
mod protocol;
mod sampling;
mod shape;

pub use problem::{Pass, Problem, numbers, write_numbers};
pub use protocol::{Computation, serve};
pub use shape::{Axis, Layout, Shape};

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
}
