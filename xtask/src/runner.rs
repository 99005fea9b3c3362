//! Programs run one at a time, and ended by an interruption, so that all is put away on the way out.
//!
//! Each is started in a group of its own. The terminal's Ctrl-C then reaches only this process, which ends the whole
//! group, compilers that cargo has started included; a signal sent to this process alone does the same.

use crate::interruption::Interruption;
use crate::process::line;
use anyhow::{Context, Result, bail, ensure};
use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Runs programs until the user interrupts.
#[derive(Clone, Default)]
pub struct Runner {
    interruption: Interruption,
    running: Running,
}

/// The program that is running.
#[derive(Clone, Default)]
struct Running(Arc<Mutex<Option<Child>>>);

impl Running {
    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        if let Some(child) = self.child().as_mut() {
            end(child);
        }
    }
}

impl Runner {
    /// A runner whose programs end with Ctrl-C. To be called once.
    pub fn watch() -> Result<Runner> {
        let running = Running::default();
        let at_signal = running.clone();
        Ok(Runner { interruption: Interruption::watch_and(move || at_signal.end())?, running })
    }

    /// What a signal does.
    #[cfg(test)]
    pub fn interrupt(&self) {
        self.interruption.ask();
        self.running.end();
    }

    /// An error once the user has interrupted.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.interruption.asked(), "interrupted");
        Ok(())
    }

    /// The outcome, but that an interruption is no failure of what it interrupted.
    pub fn or(&self, outcome: Result<ExitCode>) -> Result<ExitCode> {
        self.interruption.or(outcome)
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
            let mut running = self.running.child();
            self.check()?;
            let child = command.spawn().with_context(|| format!("cannot start `{}`", line(command)))?;
            let child = running.insert(child);
            (child.stdout.take(), child.stderr.take())
        };
        let words = std::thread::spawn(move || read_all(stderr));
        let printed = read_all(stdout);
        let words = words.join().unwrap_or_default();
        // Both ends are closed, so the child is at its end and is not waited for long with the lock held.
        let ended = match self.running.child().take() {
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
        let runner = Runner::default();
        assert_eq!(runner.output(&mut shell("echo a b; echo c >&2")).unwrap(), "a b\n");
        let error = runner.output(&mut shell("echo a; echo why >&2; exit 3")).unwrap_err().to_string();
        assert!(error.ends_with("ended with exit status: 3: why"), "{error}");
    }

    #[test]
    fn an_interruption_ends_a_program_with_what_it_started_and_lets_no_other_start() {
        let runner = Runner::default();
        let handler = runner.clone();
        let start = Instant::now();
        let interrupting = std::thread::spawn(move || {
            while handler.running.child().is_none() && start.elapsed() < Duration::from_secs(20) {
                std::thread::yield_now();
            }
            handler.interrupt();
        });
        // The shell waits for a program of its own, which would hold the pipe open if it lived on.
        let error = runner.output(&mut shell("sleep 60; echo slept")).unwrap_err().to_string();
        interrupting.join().unwrap();
        assert_eq!(error, "interrupted");
        assert!(start.elapsed() < Duration::from_secs(50), "the program was waited for");
        assert_eq!(runner.output(&mut shell("true")).unwrap_err().to_string(), "interrupted");
        assert_eq!(format!("{:?}", runner.or(Ok(ExitCode::SUCCESS)).unwrap()), format!("{:?}", ExitCode::from(130)));
    }
}
