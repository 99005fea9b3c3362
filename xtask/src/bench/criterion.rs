//! What criterion leaves on disk: for each benchmark a folder `new` with its id, its samples and its estimates.
//!
//! Criterion 0.8 writes `benchmark.json` last, so a folder that has it is complete; while its program runs that file may
//! be read half written, and is then read again later.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The times of one benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The three parts of its id.
    pub group: String,
    pub function: String,
    pub value: String,
    /// Time of an iteration in the shortest sample.
    pub best_ms: f64,
    pub median_ms: f64,
    pub samples: u64,
}

/// `benchmark.json`, of which nothing else is needed.
#[derive(Deserialize)]
struct Id {
    group_id: String,
    function_id: String,
    value_str: String,
}

/// `sample.json`: how often each sample called, and the nanoseconds that took.
#[derive(Deserialize)]
struct Samples {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// `estimates.json`, in nanoseconds an iteration.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

/// Criterion's folder, read again and again while results arrive.
pub struct Results {
    home: PathBuf,
    read: HashSet<PathBuf>,
}

impl Results {
    pub fn in_folder(home: &Path) -> Results {
        Results { home: home.to_owned(), read: HashSet::new() }
    }

    /// The benchmarks completed since the last call; one that cannot be read yet is left to a later call.
    pub fn arrived(&mut self) -> Vec<Measured> {
        self.unread().into_iter().filter_map(|folder| self.take(folder).ok()).collect()
    }

    /// Those not returned yet, when nothing writes any longer: one that cannot be read now never will be.
    pub fn rest(&mut self) -> Result<Vec<Measured>> {
        self.unread().into_iter().map(|folder| self.take(folder)).collect()
    }

    fn take(&mut self, folder: PathBuf) -> Result<Measured> {
        let measured =
            read(&folder).with_context(|| format!("{} is not what criterion 0.8 writes", folder.display()))?;
        self.read.insert(folder);
        Ok(measured)
    }

    fn unread(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        find(&self.home, &mut folders);
        folders.retain(|folder| !self.read.contains(folder));
        folders.sort();
        folders
    }
}

/// Adds the complete folders `new` below a folder.
fn find(folder: &Path, found: &mut Vec<PathBuf>) {
    // A folder that cannot be listed has no results; that there are too few is seen by whoever counts them.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == "new" && path.join("benchmark.json").is_file() {
            found.push(path);
        } else if path.is_dir() {
            find(&path, found);
        }
    }
}

fn read(folder: &Path) -> Result<Measured> {
    let Id { group_id, function_id, value_str } = json(&folder.join("benchmark.json"))?;
    let Samples { iters, times } = json(&folder.join("sample.json"))?;
    let estimates: Estimates = json(&folder.join("estimates.json"))?;
    let best = times.iter().zip(&iters).map(|(time, iterations)| time / iterations).min_by(f64::total_cmp);
    Ok(Measured {
        group: group_id,
        function: function_id,
        value: value_str,
        best_ms: best.context("there is no sample")? / 1e6,
        median_ms: estimates.median.point_estimate / 1e6,
        samples: times.len() as u64,
    })
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A folder as criterion 0.8.2 wrote it, fields that are not read included.
    fn write(home: &Path, backend: &str) -> PathBuf {
        let folder = home.join("weight_gradient_tiny").join(backend).join("mb1ic1ih5oc1oh4kh2/new");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("sample.json"), SAMPLE).unwrap();
        fs::write(folder.join("estimates.json"), ESTIMATES).unwrap();
        fs::write(folder.join("benchmark.json"), BENCHMARK.replace("BACKEND", backend)).unwrap();
        folder
    }

    const BENCHMARK: &str = r#"{"group_id":"weight_gradient/tiny","function_id":"BACKEND","value_str":"mb1ic1ih5oc1oh4kh2",
        "throughput":{"Elements":128},"full_id":"weight_gradient/tiny/BACKEND/mb1ic1ih5oc1oh4kh2",
        "directory_name":"weight_gradient_tiny/BACKEND/mb1ic1ih5oc1oh4kh2","title":"weight_gradient/tiny/BACKEND/mb1"}"#;
    const SAMPLE: &str = r#"{"sampling_mode":"Linear","iters":[10.0,20.0,30.0,40.0],
        "times":[5000000.0,8000000.0,15000000.0,40000000.0]}"#;
    const ESTIMATES: &str = r#"{
        "mean":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1.0,"upper_bound":2.0},
            "point_estimate":600000.0,"standard_error":1.0},
        "median":{"confidence_interval":{"confidence_level":0.95,"lower_bound":1.0,"upper_bound":2.0},
            "point_estimate":500000.0,"standard_error":1.0},
        "slope":null}"#;

    #[test]
    fn times_are_those_of_an_iteration_in_milliseconds() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "direct");
        let expected = Measured {
            group: "weight_gradient/tiny".to_owned(),
            function: "direct".to_owned(),
            value: "mb1ic1ih5oc1oh4kh2".to_owned(),
            best_ms: 0.4,
            median_ms: 0.5,
            samples: 4,
        };
        assert_eq!(Results::in_folder(home.path()).rest().unwrap(), [expected]);
    }

    #[test]
    fn results_are_returned_once_as_they_arrive() {
        let home = tempfile::tempdir().unwrap();
        let mut results = Results::in_folder(&home.path().join("not/there/yet"));
        assert_eq!(results.arrived(), []);
        let mut results = Results::in_folder(home.path());
        let names = |measured: Vec<Measured>| measured.into_iter().map(|m| m.function).collect::<Vec<_>>();
        write(home.path(), "naive");
        assert_eq!(names(results.arrived()), ["naive"]);
        // The copy that criterion keeps to compare the next run with is no result.
        fs::rename(write(home.path(), "copy"), home.path().join("base")).unwrap();
        let folder = write(home.path(), "direct");
        fs::remove_file(folder.join("benchmark.json")).unwrap();
        assert_eq!(names(results.arrived()), [""; 0]);
        fs::write(folder.join("benchmark.json"), "{\"group").unwrap();
        assert_eq!(names(results.arrived()), [""; 0]);
        let error = format!("{:#}", results.rest().unwrap_err());
        assert!(error.contains("new is not what criterion 0.8 writes"), "{error}");
        write(home.path(), "direct");
        assert_eq!(names(results.rest().unwrap()), ["direct"]);
        assert_eq!(names(results.rest().unwrap()), [""; 0]);
    }
}
