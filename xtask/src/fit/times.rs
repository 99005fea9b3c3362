//! Measured times: of each setting some shapes, of each shape the backends that compute it.

use super::draw;
use crate::process;
use crate::record::Machine;
use crate::run::{self, Facts};
use anyhow::{Context, Result, anyhow};
use convgrad::auto::Rates;
use convgrad::measure::{Caches, cpu_name};
use convgrad::{ConvShape, Isa, Layout, Op};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Seconds for each backend and shape.
const MIN_TIME: &str = "0.012";

/// A backend that takes so many times as long as the fastest is not kept: it will not be chosen.
const HOPELESS: f64 = 20.0;

/// Work beyond which the reference, on its one thread, is not timed: it takes half a second.
const MOST_REFERENCE_FLOPS: f64 = 1e9;

/// What shapes are measured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Random ones that the weights are fitted to.
    Fit,
    /// Random ones that they are judged by.
    HeldOut,
    /// Those of the catalogue.
    Set,
}

/// Numbers of random shapes to fit, of layers to fit, and of random shapes to judge, in the settings of most users.
const MANY: [usize; 3] = [400, 250, 300];

/// The same in other settings.
const SOME: [usize; 3] = [200, 120, 150];

/// Instruction set, number type, memory order, threads, pass of the layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Setting {
    pub isa: String,
    pub dtype: String,
    pub layout: String,
    pub threads: usize,
    /// As `Op::name` has it.
    pub pass: String,
}

/// Every setting, and whether it is one of most users, in which the catalogue is measured as well.
const SETTINGS: [(&str, &str, &str, usize, &str, bool); 14] = [
    ("avx512", "f32", "nchw", 1, WGRAD, true),
    ("avx512", "f32", "nchw", 2, WGRAD, true),
    ("avx512", "f32", "nhwc", 1, WGRAD, false),
    ("avx512", "f64", "nchw", 1, WGRAD, false),
    ("avx2", "f32", "nchw", 1, WGRAD, false),
    ("avx2", "f64", "nchw", 1, WGRAD, false),
    ("scalar", "f32", "nchw", 1, WGRAD, false),
    ("avx512", "f32", "nchw", 1, "forward", false),
    ("avx512", "f32", "nchw", 2, "forward", false),
    ("avx512", "f32", "nchw", 1, "dgrad", false),
    ("avx512", "f32", "nhwc", 1, "forward", false),
    ("avx512", "f32", "nhwc", 1, "dgrad", false),
    ("avx512", "f64", "nchw", 1, "forward", false),
    ("avx2", "f32", "nchw", 1, "forward", false),
];

/// The pass that a setting's name leaves out.
const WGRAD: &str = "wgrad";

/// The times of a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub purpose: Use,
    pub setting: Setting,
    pub shape: ConvShape,
    /// Milliseconds by backend.
    pub ms: BTreeMap<String, f64>,
}

/// All that was measured.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Times {
    /// What was measured on, when and how: lines of a comment.
    pub header: Vec<String>,
    /// Of one thread, by instruction set and number type.
    pub rates: BTreeMap<(String, String), Rates>,
    pub records: Vec<Record>,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Use::Fit => "fit",
            Use::HeldOut => "held-out",
            Use::Set => "set",
        })
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.isa, self.dtype, self.layout, self.threads)?;
        if self.pass == WGRAD { Ok(()) } else { write!(f, "-{}", self.pass) }
    }
}

impl Setting {
    pub fn layout(&self) -> Layout {
        if self.layout == "nhwc" { Layout::Nhwc } else { Layout::Nchw }
    }

    /// The arguments that make the command line time or choose in it.
    pub fn arguments(&self) -> Vec<String> {
        let Setting { isa, dtype, layout, threads, pass } = self;
        let arguments =
            [("isa", isa), ("dtype", dtype), ("layout", layout), ("threads", &threads.to_string()), ("pass", pass)];
        arguments.iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }

    /// The pass.
    pub fn op(&self) -> Op {
        Op::ALL.into_iter().find(|op| op.name() == self.pass).unwrap_or(Op::WeightGradient)
    }
}

impl Times {
    /// Reads what [`measure`] wrote.
    pub fn read(path: &Path) -> Result<Times> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{}: `cargo xtask fit --measure` writes it", path.display()))?;
        let mut times = Times::default();
        for (number, line) in text.lines().enumerate() {
            let context = || format!("{}, line {}", path.display(), number + 1);
            if let Some(comment) = line.strip_prefix("# ") {
                times.header.push(comment.to_owned());
            } else if let Some(rates) = line.strip_prefix("rates,") {
                let (key, rates) = read_rates(rates).with_context(context)?;
                times.rates.insert(key, rates);
            } else {
                times.records.push(Record::read(line).with_context(context)?);
            }
        }
        Ok(times)
    }

    /// Whether it has all instruction sets that were measured.
    pub fn is_of_this_processor(&self) -> bool {
        self.rates.keys().all(|(isa, _)| Isa::by_name(isa).is_ok())
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut text: String = self.header.iter().map(|line| format!("# {line}\n")).collect();
        for ((isa, dtype), rates) in &self.rates {
            let Rates { peak_flops, l2, l3, dram, l2_bytes, l3_bytes } = rates;
            text +=
                &format!("rates,{isa},{dtype},{peak_flops:.3e},{l2:.3e},{l3:.3e},{dram:.3e},{l2_bytes},{l3_bytes}\n");
        }
        for record in &self.records {
            text += &record.line();
        }
        fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
        Ok(fs::write(path, text)?)
    }
}

fn read_rates(fields: &str) -> Result<((String, String), Rates)> {
    let fields: Vec<&str> = fields.split(',').collect();
    let [isa, dtype, numbers @ ..] = &fields[..] else { return Err(anyhow!("rates of what?")) };
    let numbers = numbers.iter().map(|number| number.parse::<f64>()).collect::<Result<Vec<_>, _>>()?;
    let &[peak_flops, l2, l3, dram, l2_bytes, l3_bytes] = &numbers[..] else { return Err(anyhow!("not six rates")) };
    Ok((((*isa).to_owned(), (*dtype).to_owned()), Rates { peak_flops, l2, l3, dram, l2_bytes, l3_bytes }))
}

impl Record {
    fn line(&self) -> String {
        let times = self.ms.iter().map(|(name, ms)| format!("{name}={}", crate::record::milliseconds(*ms)));
        format!("{},{},{},{}\n", self.purpose, self.setting, self.shape, times.collect::<Vec<_>>().join(" "))
    }

    fn read(line: &str) -> Result<Record> {
        let fields: Vec<&str> = line.split(',').collect();
        let &[purpose, setting, shape, times] = &fields[..] else { return Err(anyhow!("not four fields")) };
        let purpose = [Use::Fit, Use::HeldOut, Use::Set].into_iter().find(|known| known.to_string() == purpose);
        let parts: Vec<&str> = setting.split('-').collect();
        let &[isa, dtype, layout, threads, ref pass @ ..] = &parts[..] else {
            return Err(anyhow!("{setting} is no setting"));
        };
        let pass = pass.first().copied().unwrap_or(WGRAD);
        anyhow::ensure!(Op::ALL.iter().any(|op| op.name() == pass), "{setting} has no pass that is known");
        let times = times.split(' ').map(|time| {
            let (name, ms) = time.split_once('=').with_context(|| format!("{time} is no time"))?;
            Ok((name.to_owned(), ms.parse()?))
        });
        Ok(Record {
            purpose: purpose.context("no such use")?,
            setting: Setting {
                isa: isa.to_owned(),
                dtype: dtype.to_owned(),
                layout: layout.to_owned(),
                threads: threads.parse()?,
                pass: pass.to_owned(),
            },
            shape: shape.parse()?,
            ms: times.collect::<Result<_>>()?,
        })
    }
}

/// Measures all settings, or only some of them, and writes the times beside those that stay.
pub fn measure(root: &Path, path: &Path, only: &[String]) -> Result<()> {
    let facts = Facts::gather(root)?;
    let convgrad = crate::build::convgrad(root)?;
    let mut times = if only.is_empty() { Times::default() } else { Times::read(path).unwrap_or_default() };
    for (isa, dtype, layout, threads, pass, is_usual) in SETTINGS {
        let [isa, dtype, layout, pass] = [isa, dtype, layout, pass].map(str::to_owned);
        let setting = Setting { isa, dtype, layout, threads, pass };
        if !only.is_empty() && !only.contains(&setting.to_string()) {
            continue;
        }
        if Isa::by_name(&setting.isa).is_err() {
            eprintln!("xtask: {} is not of this processor, {setting} is left out", setting.isa);
            continue;
        }
        eprintln!("{setting}");
        let rates = rates(&run::machine(&convgrad, 1, &setting.dtype, Some(&setting.isa))?);
        times.rates.entry((setting.isa.clone(), setting.dtype.clone())).or_insert(rates);
        times.records.retain(|record| record.setting != setting);
        times.records.extend(measure_setting(&convgrad, &setting, is_usual)?);
        times.header = vec![
            "Written by `cargo xtask fit --measure`: use, setting, shape, best milliseconds of each backend."
                .to_owned(),
            format!("{}, {}, {}, revision {}", cpu_name(), facts.date, facts.rustc, facts.revision),
        ];
        times.write(path)?;
    }
    Ok(())
}

fn rates(machine: &Machine) -> Rates {
    let caches = Caches::of_this_machine();
    Rates {
        peak_flops: 1e9 * machine.peak_gflops,
        l2: 1e9 * machine.l2_gbs,
        l3: 1e9 * machine.l3_gbs,
        dram: 1e9 * machine.dram_gbs,
        l2_bytes: caches.l2.bytes as f64,
        l3_bytes: caches.l3.bytes as f64,
    }
}

fn measure_setting(convgrad: &Path, setting: &Setting, is_usual: bool) -> Result<Vec<Record>> {
    let mut shapes: Vec<(Use, ConvShape)> = Vec::new();
    let [fit, layers, held_out] = if is_usual { MANY } else { SOME };
    shapes.extend(draw::shapes(1, fit).into_iter().map(|shape| (Use::Fit, shape)));
    shapes.extend(draw::layers(3, layers).into_iter().map(|shape| (Use::Fit, shape)));
    shapes.extend(draw::shapes(2, held_out).into_iter().map(|shape| (Use::HeldOut, shape)));
    if is_usual {
        for named in convgrad::catalog::sets().iter().flat_map(|set| set.shapes()) {
            if !shapes.contains(&(Use::Set, named.shape)) {
                shapes.push((Use::Set, named.shape));
            }
        }
    }
    let backends = convgrad::backends::<f32>();
    let names: Vec<&str> = backends.iter().map(|backend| backend.name()).collect();
    // The reference is the last one.
    let (reference, others) =
        backends.split_last().zip(names.split_last()).map(|(b, n)| (b.0, n.1)).context("no backend")?;
    let is_long = |shape: &ConvShape| reference.cost(setting.op(), shape).flops > MOST_REFERENCE_FLOPS;
    let (long, short): (Vec<_>, Vec<_>) = shapes.into_iter().partition(|(_, shape)| is_long(shape));
    let mut records = bench(convgrad, setting, &short, &names)?;
    records.extend(bench(convgrad, setting, &long, others)?);
    Ok(records)
}

/// Times again what the weights explain worst, or had the fit choose wrongly: a machine that was busy elsewhere for a moment makes
/// a time too long, never too short, so that the shorter of both counts.
pub fn measure_again(root: &Path, path: &Path, doubtful: &[(Setting, ConvShape)]) -> Result<()> {
    let convgrad = crate::build::convgrad(root)?;
    let mut times = Times::read(path)?;
    let settings: BTreeSet<&Setting> = doubtful.iter().map(|(setting, _)| setting).collect();
    for setting in settings {
        let is_doubtful =
            |record: &Record| record.setting == *setting && doubtful.contains(&(setting.clone(), record.shape));
        let mut records: Vec<&mut Record> = times.records.iter_mut().filter(|record| is_doubtful(record)).collect();
        eprintln!("{setting}: {} shapes", records.len());
        for record in &mut records {
            let names: Vec<&str> = record.ms.keys().map(String::as_str).collect();
            let again = bench(&convgrad, setting, &[(record.purpose, record.shape)], &names)?;
            for (name, ms) in again.into_iter().flat_map(|record| record.ms) {
                record.ms.entry(name).and_modify(|known| *known = known.min(ms));
            }
        }
    }
    times.write(path)
}

/// The backends' best times on each shape, by the command line, which is built for release.
pub fn bench(
    convgrad: &Path,
    setting: &Setting,
    shapes: &[(Use, ConvShape)],
    backends: &[&str],
) -> Result<Vec<Record>> {
    let mut list = tempfile::NamedTempFile::new()?;
    for (_, shape) in shapes {
        writeln!(list, "{shape}")?;
    }
    let mut command = Command::new(convgrad);
    command.args(["bench", "--csv", "--min-time", MIN_TIME, "--backend", &backends.join(",")]);
    command.args(setting.arguments()).arg("--file").arg(list.path());
    let printed = process::output(&mut command)?;
    let mut ms: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
    for line in printed.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let &[backend, _, _, shape, _, best, ..] = &fields[..] else { return Err(anyhow!("no row of times: {line}")) };
        ms.entry(shape.to_owned()).or_default().insert(backend.to_owned(), best.parse()?);
    }
    let records = shapes.iter().filter_map(|(purpose, shape)| {
        let mut ms = ms.get(&shape.to_string())?.clone();
        let best = ms.values().copied().fold(f64::INFINITY, f64::min);
        ms.retain(|_, &mut time| time < HOPELESS * best);
        Some(Record { purpose: *purpose, setting: setting.clone(), shape: *shape, ms })
    });
    Ok(records.collect())
}
