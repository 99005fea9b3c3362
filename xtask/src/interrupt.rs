//! Ctrl-C: the program that is running is ended and the work stops with an error, so that all is put away on the way out.
//!
//! Programs are started in a group of their own. The terminal's Ctrl-C then reaches only this process, which ends the
//! whole group, compilers that cargo has started included; a signal sent to this process alone does the same.

use crate::process::line;
use anyhow::{Context, Error, Result, bail};
use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The exit code of a program that Ctrl-C ended, as shells have it.
pub const EXIT_CODE: u8 = 130;

/// The user wants no more of it.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Runs programs one at a time, until the user interrupts.
#[derive(Clone, Default)]
pub struct Watch {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    interrupted: AtomicBool,
    running: Mutex<Option<Child>>,
}

impl State {
    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// A watch that Ctrl-C, and the request to terminate, interrupt. A process can have one.
    pub fn install() -> Result<Watch> {
        let watch = Watch::default();
        let handler = watch.clone();
        ctrlc::set_handler(move || handler.interrupt()).context("cannot listen for Ctrl-C")?;
        Ok(watch)
    }

    /// Ends the program that is running and refuses to start others.
    pub fn interrupt(&self) {
        self.state.interrupted.store(true, Ordering::SeqCst);
        if let Some(child) = self.state.running().as_mut() {
            end(child);
        }
    }

    /// An error once the user has interrupted.
    pub fn check(&self) -> Result<()> {
        if self.state.interrupted.load(Ordering::SeqCst) {
            return Err(Error::new(Interrupted));
        }
        Ok(())
    }

    /// What a command printed; an error with its last words if it did not succeed.
    pub fn output(&self, command: &mut Command) -> Result<String> {
        self.finish(command.stderr(Stdio::piped()))
    }

    /// What a command printed, while its words to people go to this terminal.
    pub fn output_told(&self, command: &mut Command) -> Result<String> {
        self.finish(command.stderr(Stdio::inherit()))
    }

    fn finish(&self, command: &mut Command) -> Result<String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        let (stdout, stderr) = {
            // Held over the start: an interruption comes before it and is seen, or after it and finds the child.
            let mut running = self.state.running();
            self.check()?;
            let child = command.spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
            let child = running.insert(child);
            (child.stdout.take(), child.stderr.take())
        };
        let words = std::thread::spawn(move || read_all(stderr));
        let printed = read_all(stdout);
        let words = words.join().unwrap_or_default();
        // Both ends are closed, so the child is at its end and is not waited for long with the lock held.
        let ended = match self.state.running().take() {
            Some(mut child) => child.wait(),
            None => bail!("`{}` is watched by nobody", line(command)),
        };
        self.check()?;
        let status = ended.with_context(|| format!("cannot wait for `{}`", line(command)))?;
        if !status.success() {
            let words = String::from_utf8_lossy(&words);
            let separator = if words.trim().is_empty() { "" } else { ": " };
            bail!("`{}` ended with {status}{separator}{}", line(command), words.trim());
        }
        String::from_utf8(printed).with_context(|| format!("`{}` printed no text", line(command)))
    }
}

fn read_all(source: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What an ended program had still to say is of no use: its status tells.
    let _ = source.map(|mut source| source.read_to_end(&mut bytes));
    bytes
}

/// Ends a child and, where the system has groups of processes, all that it has started.
fn end(child: &mut Child) {
    // Nothing is left to be done about one that has ended by itself.
    #[cfg(unix)]
    if let Ok(id) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.kill();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_what_was_printed_or_the_last_words() {
        let watch = Watch::default();
        assert_eq!(watch.output(&mut shell("echo a b; echo c >&2")).unwrap(), "a b\n");
        let error = watch.output(&mut shell("echo a; echo why >&2; exit 3")).unwrap_err().to_string();
        assert!(error.ends_with("ended with exit status: 3: why"), "{error}");
    }

    #[test]
    fn an_interruption_ends_a_program_with_what_it_started_and_lets_no_other_start() {
        let watch = Watch::default();
        let handler = watch.clone();
        let start = Instant::now();
        let interrupting = std::thread::spawn(move || {
            while handler.state.running().is_none() && start.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
            handler.interrupt();
        });
        // The shell waits for a program of its own, which would hold the pipe open if it lived on.
        let error = watch.output(&mut shell("sleep 60; echo slept")).unwrap_err();
        interrupting.join().unwrap();
        assert!(error.is::<Interrupted>(), "{error}");
        assert!(start.elapsed() < Duration::from_secs(50), "the program was waited for");
        assert!(watch.output(&mut shell("true")).unwrap_err().is::<Interrupted>());
    }
}
