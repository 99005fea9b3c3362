//! Records of measurements: one JSON line each, complete in itself, in files that are only ever added to.
//!
//! A time means nothing without the machine, the threads and the code it was taken with, so every line carries them all;
//! lines of any files can then be put together, sorted and compared. A line is on disk as soon as it is known: a run that
//! is interrupted keeps what it had measured, and a run never opens the file of another.

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The form of the lines. A reader refuses any other.
pub const FORMAT: u32 = 1;

/// Where record files lie in the repository, if not told otherwise.
pub const DIRECTORY: &str = "target/records";

/// One implementation's time, or its refusal, on one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    #[serde(flatten)]
    pub run: Run,
    /// The set of the catalogue the shape was taken from.
    pub set: String,
    /// The problem in its text form, with its name.
    pub shape: String,
    /// The pass that was timed: `wgrad`, `forward` or `dgrad`.
    pub pass: String,
    /// Memory order of input and delta: `nchw` or `nhwc`.
    pub layout: String,
    /// One of our backends by name, or a library.
    pub implementation: String,
    /// Whether the chooser, asked for its estimate, takes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
    /// What it belongs to and its version, such as `convgrad 0.1.0`.
    pub implementation_version: String,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The largest distance of an entry from the result in double precision, over the root mean square of the
    /// result, where it was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
}

/// What came of an implementation on a shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    Timed {
        best_ms: f64,
        median_ms: f64,
        samples: u64,
    },
    /// Not timed, and why.
    Refused {
        refused: String,
    },
}

/// What all records of one run with one number of threads and one number type share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it began, in UTC.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// The commit measured, `-dirty` if the tree held more.
    pub revision: String,
    pub rustc: String,
    #[serde(flatten)]
    pub machine: Machine,
}

/// The machine as `convgrad machine --json` describes it, measured beside the times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Version of convgrad.
    pub version: String,
    pub cpu: String,
    /// Processors this program may use.
    pub cores: usize,
    /// Instruction set, such as `avx512`.
    pub isa: String,
    pub threads: usize,
    /// Number type: `f32` or `f64`.
    pub dtype: String,
    /// Fused multiply-adds of all threads, two operations each, in 1e9 a second.
    pub peak_gflops: f64,
    /// Reading from each level of memory by all threads together, in 1e9 bytes a second.
    pub l1_gbs: f64,
    pub l2_gbs: f64,
    pub l3_gbs: f64,
    pub dram_gbs: f64,
}

/// Four digits that count, of times between a microsecond's part and minutes.
pub fn milliseconds(ms: f64) -> String {
    let decimals = (3.0 - ms.log10().floor()).clamp(0.0, 9.0);
    format!("{ms:.*}", decimals as usize)
}

/// A new file of records.
pub struct RecordFile {
    path: PathBuf,
    file: File,
}

impl RecordFile {
    /// Creates `directory/DATE-what.jsonl`, or with a number behind it if that is taken; never an existing file.
    pub fn create(directory: &Path, date: &str, what: &str) -> Result<RecordFile> {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let stem: String = format!("{date}-{what}").replace(':', "");
        for number in 1.. {
            let suffix = if number == 1 { String::new() } else { format!("-{number}") };
            let path = directory.join(format!("{stem}{suffix}.jsonl"));
            match OpenOptions::new().append(true).create_new(true).open(&path) {
                Ok(file) => return Ok(RecordFile { path, file }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot create {}", path.display())),
            }
        }
        bail!("{}: every name is taken", directory.display())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes one line, whole and at once: a [`Record`], or another form in a file of its own.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(record)? + "\n";
        self.file.write_all(line.as_bytes()).with_context(|| format!("cannot write to {}", self.path.display()))
    }
}

/// The records of a file. A last line without its end, which an interruption may leave, is left out.
pub fn read(path: &Path) -> Result<Vec<Record>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(number, line): (usize, &str)| {
        let at = || format!("{}, line {}", path.display(), number + 1);
        let record: Record = serde_json::from_str(line).with_context(|| format!("{}: not a record", at()))?;
        if record.format != FORMAT {
            bail!("{}: its format is {}, this program reads {FORMAT}; measure anew", at(), record.format);
        }
        Ok(record)
    };
    whole.lines().enumerate().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Outcome) -> Record {
        Record {
            format: FORMAT,
            run: Run {
                date: "2026-11-23T08:00:00Z".to_owned(),
                command: "cargo xtask bench quick".to_owned(),
                revision: "d0ba4468a1c2".to_owned(),
                rustc: "rustc 1.95.0".to_owned(),
                machine: Machine {
                    version: "0.1.0".to_owned(),
                    cpu: "AMD EPYC".to_owned(),
                    cores: 2,
                    isa: "avx512".to_owned(),
                    threads: 1,
                    dtype: "f32".to_owned(),
                    peak_gflops: 240.5,
                    l1_gbs: 400.0,
                    l2_gbs: 200.0,
                    l3_gbs: 100.0,
                    dram_gbs: 25.0,
                },
            },
            set: "example".to_owned(),
            shape: r#"mb1ic1ih5oc1oh4kh2n"example""#.to_owned(),
            pass: "wgrad".to_owned(),
            layout: "nchw".to_owned(),
            implementation: "direct".to_owned(),
            chosen: false,
            implementation_version: "convgrad 0.1.0".to_owned(),
            outcome,
            error: None,
        }
    }

    #[test]
    fn a_line_is_flat_and_reads_back() {
        let timed = record(Outcome::Timed { best_ms: 0.5, median_ms: 0.75, samples: 7 });
        let line = serde_json::to_string(&timed).unwrap();
        let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).unwrap();
        assert!(fields.values().all(|value| !value.is_object() && !value.is_null()), "{line}");
        assert_eq!(fields["best_ms"], 0.5);
        assert_eq!(fields["peak_gflops"], 240.5);
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), timed);
        let refused = record(Outcome::Refused { refused: "one dimension only".to_owned() });
        let line = serde_json::to_string(&refused).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), refused);
    }

    #[test]
    fn files_are_never_opened_twice_and_keep_every_whole_line() {
        let directory = tempfile::tempdir().unwrap();
        let create = || RecordFile::create(directory.path(), "2026-11-23T08:00:00Z", "bench").unwrap();
        let (mut first, mut second) = (create(), create());
        assert_eq!(first.path().file_name().unwrap(), "2026-11-23T080000Z-bench.jsonl");
        assert_eq!(second.path().file_name().unwrap(), "2026-11-23T080000Z-bench-2.jsonl");
        let records = [1.0, 2.0].map(|best_ms| record(Outcome::Timed { best_ms, median_ms: 3.0, samples: 5 }));
        for record in &records {
            first.append(record).unwrap();
        }
        second.append(&records[0]).unwrap();
        assert_eq!(read(first.path()).unwrap(), records);
        // What an interruption in the middle of a line leaves.
        second.file.write_all(b"{\"format\":1,\"date\"").unwrap();
        assert_eq!(read(second.path()).unwrap(), records[..1]);
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("records.jsonl");
        let line = serde_json::to_string(&record(Outcome::Refused { refused: String::new() })).unwrap();
        fs::write(&path, format!("{line}\n{{}}\n")).unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("records.jsonl, line 2: not a record"), "{error}");
        fs::write(&path, line.replace("\"format\":1", "\"format\":2") + "\n").unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        assert!(error.contains("line 1: its format is 2, this program reads 1"), "{error}");
    }
}
