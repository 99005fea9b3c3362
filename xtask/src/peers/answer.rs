//! The lines contestants answer with. The protocol is described in `xtask/peers/src/lib.rs`.

use anyhow::{Context, Error, Result, bail, ensure};
use std::str::FromStr;

/// One line of a contestant.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Its greeting, with what it is and its version.
    Peer(String),
    Ready,
    Written,
    /// Seconds of one call, sample by sample; never empty.
    Timed(Vec<f64>),
    /// The problem is none of the library's, and why.
    Refused(String),
    /// The library broke off, and why.
    Failed(String),
}

impl FromStr for Answer {
    type Err = Error;

    fn from_str(line: &str) -> Result<Answer> {
        let nonsense = || format!("it answered `{}`, which is nothing of the protocol", shortened(line));
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, rest) {
            ("ready", "") => Ok(Answer::Ready),
            ("written", "") => Ok(Answer::Written),
            ("timed", samples) => {
                let samples: Vec<f64> =
                    samples.split(' ').map(str::parse).collect::<Result<_, _>>().with_context(nonsense)?;
                // Nothing takes no time.
                ensure!(samples.iter().all(|seconds| seconds.is_finite() && *seconds > 0.0), nonsense());
                Ok(Answer::Timed(samples))
            }
            ("peer" | "refused" | "failed", "") => bail!(nonsense()),
            ("peer", version) => Ok(Answer::Peer(version.to_owned())),
            ("refused", reason) => Ok(Answer::Refused(reason.to_owned())),
            ("failed", reason) => Ok(Answer::Failed(reason.to_owned())),
            _ => bail!(nonsense()),
        }
    }
}

/// As much of a text as a message can bear.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{} ..", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_protocol_is_read() {
        for (line, answer) in [
            ("peer torch 2.1+cpu", Answer::Peer("torch 2.1+cpu".to_owned())),
            ("ready", Answer::Ready),
            ("written", Answer::Written),
            ("timed 1.25e-3 0.5", Answer::Timed(vec![1.25e-3, 0.5])),
            ("refused no groups", Answer::Refused("no groups".to_owned())),
            ("failed out of memory", Answer::Failed("out of memory".to_owned())),
        ] {
            assert_eq!(line.parse::<Answer>().unwrap(), answer);
        }
    }

    #[test]
    fn anything_else_is_nonsense_and_quoted() {
        let long = "x".repeat(200);
        for line in [
            "",
            "Ready",
            "ready now",
            "refused",
            "timed",
            "timed ",
            "timed 1.0 x",
            "timed 0",
            "timed -1",
            "timed NaN",
            "timed inf",
            "peer",
            &long,
        ] {
            let error = format!("{:#}", line.parse::<Answer>().unwrap_err());
            assert!(error.contains("nothing of the protocol") && error.len() < 180, "{line}: {error}");
        }
    }
}
