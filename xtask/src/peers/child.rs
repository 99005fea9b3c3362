//! A contestant's process, asked one thing at a time, with a limit to every wait.

use super::answer::Answer;
use crate::process::line;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a wait looks up to see whether the user wants to stop.
const LOOK_UP: Duration = Duration::from_millis(50);

/// When to give up waiting.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// For one answer.
    pub limit: Duration,
    /// Whether the user wants to stop.
    pub stop: &'a dyn Fn() -> bool,
}

/// A running contestant. It ends when this is dropped, whatever it is doing.
pub struct Child {
    process: std::process::Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    /// The file its stderr goes to.
    complaints: PathBuf,
    version: String,
}

impl Child {
    /// Starts a program and waits for its greeting. Its last words on stderr are kept in `complaints`.
    pub fn start(command: &mut Command, complaints: &Path, patience: Patience<'_>) -> Result<Child> {
        let stderr = File::create(complaints).with_context(|| format!("cannot create {}", complaints.display()))?;
        // A group of its own: Ctrl-C in the terminal is for this program to hear, which then ends its children, and not
        // for them to be found dead of.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut process = command.spawn().with_context(|| format!("`{}` cannot be started", line(command)))?;
        let requests = process.stdin.take().context("it has no stdin")?;
        let stdout = process.stdout.take().context("it has no stdout")?;
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            // Ends with the process, with bytes that are no text, or when nobody listens any more.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut child = Child { process, requests, answers, complaints: complaints.to_owned(), version: String::new() };
        match child.answer("to be started", patience)? {
            Answer::Peer(version) => child.version = version,
            other => bail!("it began with {other:?} instead of a greeting"),
        }
        Ok(child)
    }

    /// What it is and its version, in its own words.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Takes up the problem that lies in a directory: ready, refused or failed.
    pub fn load(&mut self, directory: &Path, patience: Patience<'_>) -> Result<Answer> {
        self.ask(&format!("load {}", directory.display()), patience)
    }

    /// Computes the result once and writes it to `result.f32`: written or failed.
    pub fn compute(&mut self, patience: Patience<'_>) -> Result<Answer> {
        self.ask("compute", patience)
    }

    /// Times calls until `seconds` have passed: timed or failed.
    pub fn time(&mut self, seconds: f64, patience: Patience<'_>) -> Result<Answer> {
        self.ask(&format!("time {seconds}"), patience)
    }

    fn ask(&mut self, request: &str, patience: Patience<'_>) -> Result<Answer> {
        let sent = writeln!(self.requests, "{request}").and_then(|()| self.requests.flush());
        // Who no longer reads has died: what is waited for then says of what.
        match sent {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("it cannot be asked"),
            _ => self.answer(&format!("to `{request}`"), patience),
        }
    }

    fn answer(&mut self, occasion: &str, patience: Patience<'_>) -> Result<Answer> {
        let begin = Instant::now();
        loop {
            match self.answers.recv_timeout(LOOK_UP.min(patience.limit)) {
                Ok(line) => return line.parse(),
                Err(RecvTimeoutError::Disconnected) => bail!(self.last_words()),
                Err(RecvTimeoutError::Timeout) if (patience.stop)() => bail!("it was interrupted"),
                Err(RecvTimeoutError::Timeout) if begin.elapsed() >= patience.limit => {
                    bail!("it had not answered {occasion} after {} s", patience.limit.as_secs_f64())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// How it died, with the line of its complaints that says most: where a Rust program panicked, or else the last.
    fn last_words(&mut self) -> String {
        // It has closed its stdout and need not have ended; in either case it is of no use any more.
        let _ = self.process.kill();
        let status = self.process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        let text = std::fs::read(&self.complaints).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let panicked = lines.clone().skip_while(|line| !line.contains("panicked at"));
        let words = panicked.take(2).collect::<Vec<_>>().join(" ");
        let words = if words.is_empty() { lines.next_back().unwrap_or("it said nothing").to_owned() } else { words };
        format!("it died ({status}): {words}")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Either fails only where the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
