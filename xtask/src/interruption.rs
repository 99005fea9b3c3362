//! Ctrl-C, and the signals by which a system ends programs: noted, so that what was measured is kept and tidied up.
//!
//! A terminal sends the signal to the programs this one has started as well; they end, and whoever waits for them goes on
//! to ask whether to stop.

use anyhow::{Context, Result};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user wants this program to end.
#[derive(Clone, Default)]
pub struct Interruption(Arc<AtomicBool>);

impl Interruption {
    /// What a shell reports of a program that was interrupted.
    pub const EXIT_CODE: u8 = 130;

    /// From now on signals are noted only. To be called once.
    pub fn watch() -> Result<Interruption> {
        Interruption::watch_and(|| {})
    }

    /// From now on signals are noted, and then `act` is called, on another thread. To be called once.
    pub fn watch_and(mut act: impl FnMut() + Send + 'static) -> Result<Interruption> {
        let interruption = Interruption::default();
        let noted = interruption.clone();
        let handler = move || {
            noted.ask();
            act();
        };
        ctrlc::set_handler(handler).context("cannot watch for Ctrl-C")?;
        Ok(interruption)
    }

    /// Notes that the user wants this program to end, as a signal does.
    pub fn ask(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether a signal has come.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The outcome, but that an interruption is no failure of what it interrupted.
    pub fn or(&self, outcome: Result<ExitCode>) -> Result<ExitCode> {
        if !self.asked() {
            return outcome;
        }
        eprintln!("xtask: interrupted; what was measured before is kept");
        Ok(ExitCode::from(Self::EXIT_CODE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn an_interruption_takes_the_place_of_what_it_caused() {
        let interruption = Interruption::default();
        assert!(interruption.or(Err(anyhow!("ended"))).is_err());
        interruption.ask();
        let code = interruption.or(Err(anyhow!("ended"))).unwrap();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(130)));
    }
}
