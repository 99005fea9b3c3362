//! `convgrad demo`.

use std::path::PathBuf;

/// Options of `convgrad demo`.
#[derive(clap::Args)]
pub struct DemoOptions {
    /// Write the pictures and the loss curve to DIR
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

/// Runs the demo.
pub fn run(options: &DemoOptions) -> anyhow::Result<()> {
    anyhow::bail!("the demo is not part of this build (asked to save to {:?})", options.save)
}
