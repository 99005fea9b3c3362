//! Arguments that subcommands share, each checked as it is read: what reaches a subcommand is known to be meaningful.

use anyhow::{Context, Result, anyhow, ensure};
use convgrad::catalog::{self, ShapeSet};
use convgrad::{Auto, Backend, ConvShape, Isa, Layout, NamedShape, Op, Registered};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// A problem and the words in which the user gave it.
#[derive(Debug, Clone)]
pub struct Task {
    /// The descriptor as written, without blanks and comment around it.
    pub text: String,
    /// What it says.
    pub shape: ConvShape,
}

impl FromStr for Task {
    type Err = convgrad::Error;

    fn from_str(text: &str) -> Result<Task, convgrad::Error> {
        let text = text.trim();
        Ok(Task { text: text.to_owned(), shape: text.parse()? })
    }
}

/// Where problems come from: there must be some, unless the command says that its group is not required.
#[derive(clap::Args)]
#[group(required = true, multiple = true)]
pub struct Tasks {
    /// Problems, such as mb8ic64ih56oc64kh3ph1 (`convgrad --help` explains the form)
    #[arg(value_name = "SHAPE")]
    shapes: Vec<Task>,

    /// Read problems from FILE, one a line, # begins a comment; - is standard input; may be repeated
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,

    /// Take the problems of a named set, such as core (`convgrad sets` lists them); separated by commas, or repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = known_set)]
    set: Vec<ShapeSet>,
}

impl Tasks {
    /// All problems: those of the command line, then those of the files, then those of the sets. Never empty.
    pub fn read(&self) -> Result<Vec<Task>> {
        let mut tasks = self.shapes.clone();
        for file in &self.file {
            tasks.extend(read_file(file)?);
        }
        let of_sets = self.set.iter().flat_map(ShapeSet::shapes);
        tasks.extend(of_sets.map(|named| Task { text: named.to_string(), shape: named.shape }));
        Ok(tasks)
    }
}

fn read_file(path: &Path) -> Result<Vec<Task>> {
    let name = path.display();
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)),
    };
    read.map_err(|e| anyhow!("--file {name}: {e}; name a readable text file of shapes"))?;
    let tasks: Vec<Task> = NamedShape::descriptors(&text)
        .map(|(line, descriptor)| descriptor.parse().with_context(|| format!("--file {name}, line {line}")))
        .collect::<Result<_>>()?;
    ensure!(!tasks.is_empty(), "--file {name}: there is no shape in it; write one a line, like mb8ic64ih56oc64kh3ph1");
    Ok(tasks)
}

/// The set of the catalogue that has this name.
pub fn known_set(name: &str) -> Result<ShapeSet, String> {
    let sets = catalog::sets();
    sets.iter().find(|set| set.name() == name).copied().ok_or_else(|| {
        let known: Vec<_> = sets.iter().map(ShapeSet::name).collect();
        format!("no set is called `{name}`; choose from {}", known.join(", "))
    })
}

/// Which backends to run.
#[derive(clap::Args)]
pub struct BackendList {
    /// Backends by name, separated by commas; all, which are those that compute; auto, which chooses among them
    #[arg(long = "backend", value_name = "LIST", default_value = ALL, value_delimiter = ',', value_parser = known_backend)]
    names: Vec<String>,

    /// Instruction set the backends use; the best of this processor if not given
    #[arg(long, value_name = "NAME", value_parser = Isa::by_name)]
    isa: Option<Isa>,
}

const ALL: &str = "all";

/// The chooser among all backends.
pub const AUTO: &str = "auto";

impl BackendList {
    /// The instruction set the backends use.
    pub fn isa(&self) -> Isa {
        self.isa.unwrap_or(Isa::best())
    }

    /// Whether a backend was asked for by its name, rather than with all others.
    pub fn names(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }

    /// The backends, in the registry's order; then the chooser, if it was named, for operands of this layout and the threads of
    /// the current pool.
    pub fn select<T: Registered>(&self, layout: Layout) -> Vec<Box<dyn Backend<T>>> {
        let wanted = |name: &str| self.names.iter().any(|n| n == ALL || n == name);
        let all = convgrad::backends_on(self.isa());
        let mut selected: Vec<_> = all.into_iter().filter(|backend| wanted(backend.name())).collect();
        if self.names(AUTO) {
            selected.push(Box::new(Auto::on(self.isa()).layout(layout)));
        }
        selected
    }
}

fn known_backend(name: &str) -> Result<String, convgrad::Error> {
    // Names do not depend on the number type.
    if name != ALL && name != AUTO {
        convgrad::by_name::<f32>(name)?;
    }
    Ok(name.to_owned())
}

/// Memory order of input, output and delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LayoutName {
    /// Channels before positions
    Nchw,
    /// Channels after positions
    Nhwc,
}

impl LayoutName {
    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            LayoutName::Nchw => "nchw",
            LayoutName::Nhwc => "nhwc",
        }
    }

    /// The library's word for it.
    pub fn layout(self) -> Layout {
        match self {
            LayoutName::Nchw => Layout::Nchw,
            LayoutName::Nhwc => Layout::Nhwc,
        }
    }
}

/// A pass of the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pass {
    /// The gradient with respect to the weights
    #[value(alias = "weight-gradient")]
    Wgrad,
    /// The gradient with respect to the bias
    #[value(alias = "bias-gradient")]
    Bgrad,
    /// The layer itself
    #[value(alias = "fprop")]
    Forward,
    /// The gradient with respect to the input
    #[value(alias = "input-gradient")]
    Dgrad,
}

impl Pass {
    /// The library's word for it.
    pub fn op(self) -> Op {
        match self {
            Pass::Wgrad => Op::WeightGradient,
            Pass::Bgrad => Op::BiasGradient,
            Pass::Forward => Op::Forward,
            Pass::Dgrad => Op::InputGradient,
        }
    }
}

/// Number type of the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// Single precision
    F32,
    /// Double precision
    F64,
}

/// Threads to compute with.
#[derive(clap::Args)]
pub struct Threads {
    /// Threads; 0 is one for each processor
    #[arg(long = "threads", value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = thread_count)]
    count: usize,
}

impl Threads {
    /// Runs `work` with this many threads.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.count).build();
        pool.with_context(|| format!("--threads {}: cannot be started; ask for fewer", self.count))?.install(work)
    }
}

/// More threads than this are a slip of the keyboard.
const MAX_THREADS: usize = 1024;

fn thread_count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|&count| count <= MAX_THREADS);
    count.ok_or_else(|| format!("give a whole number from 0, which is one for each processor, to {MAX_THREADS}"))
}

/// A positive time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "give a positive number of seconds, like 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn only_positive_times_are_times() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["nan", "NaN", "0", "-1", "inf", "1e300", "", "1s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pass_is_called_as_in_the_results() {
        for pass in Pass::value_variants() {
            let value = pass.to_possible_value().unwrap();
            assert_eq!(value.get_name(), pass.op().name());
        }
        assert_eq!(Pass::value_variants().len(), Op::ALL.len());
    }

    #[test]
    fn a_task_keeps_its_words() {
        let task: Task = "  mb1_ic1ih5oc1kh2n\"b\" ".parse().unwrap();
        assert_eq!(task.text, "mb1_ic1ih5oc1kh2n\"b\"");
        assert_eq!(task.shape, "mb1ic1ih5oc1oh4kh2".parse().unwrap());
    }

    #[test]
    fn a_list_keeps_the_order_of_the_registry() {
        let list = |names: &[&str]| BackendList { names: names.iter().map(|n| n.to_string()).collect(), isa: None };
        let names = |list: BackendList| list.select::<f32>(Layout::Nchw).iter().map(|b| b.name()).collect::<Vec<_>>();
        assert_eq!(names(list(&["naive", "direct", "naive"])), ["direct", "naive"]);
        assert_eq!(names(list(&["all"])).len(), convgrad::backends::<f32>().len());
        assert_eq!(names(list(&["auto", "direct"])), ["direct", "auto"]);
    }
}
