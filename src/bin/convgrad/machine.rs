//! `convgrad machine`: what this machine has to give, measured, so that a rate can be called good or bad.

use crate::arguments::{Dtype, Threads};
use anyhow::Result;
use convgrad::measure::{self, Cache, Caches, ReadBandwidth};
use convgrad::{Element, Isa};
use serde::Serialize;
use std::io::{self, Write};

/// Options of `convgrad machine`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLES
  convgrad machine
  convgrad machine --threads 1 --dtype f64
  convgrad machine --isa avx2 --json

Rates are those of all threads together: fused multiply-adds, counted as two operations, and reading. Each is the best \
of many short turns, so that a busy machine is described nearly as a quiet one; it takes about a second.")]
pub struct MachineOptions {
    #[command(flatten)]
    threads: Threads,

    /// Number type
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,

    /// Instruction set; the best of this processor if not given
    #[arg(long, value_name = "NAME", value_parser = Isa::by_name)]
    isa: Option<Isa>,

    /// Print one JSON object, rates in 1e9 operations and 1e9 bytes a second
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub fn run(options: &MachineOptions) -> Result<()> {
    let isa = options.isa.unwrap_or(Isa::best());
    let machine = options.threads.run(|| {
        Ok(match options.dtype {
            Dtype::F32 => Machine::measure::<f32>(isa),
            Dtype::F64 => Machine::measure::<f64>(isa),
        })
    })?;
    let out = &mut io::stdout();
    match options.json {
        true => writeln!(out, "{}", serde_json::to_string(&machine)?)?,
        false => machine.describe(&Caches::of_this_machine(), out)?,
    }
    Ok(())
}

/// The machine, and its rates for one number of threads and one number type; its fields are those of the JSON object.
#[derive(Serialize)]
struct Machine {
    /// Of this program.
    version: &'static str,
    cpu: String,
    /// Processors this program may use.
    cores: usize,
    isa: &'static str,
    threads: usize,
    dtype: &'static str,
    peak_gflops: f64,
    l1_gbs: f64,
    l2_gbs: f64,
    l3_gbs: f64,
    dram_gbs: f64,
}

impl Machine {
    /// With the threads of the current pool.
    fn measure<T: Element>(isa: Isa) -> Machine {
        let peak = measure::peak_flops::<T>(isa);
        let ReadBandwidth { l1, l2, l3, dram } = measure::read_bandwidth::<T>(isa);
        // A tenth of a unit: more digits would be noise.
        let giga = |rate: f64| (rate / 1e8).round() / 10.0;
        Machine {
            version: env!("CARGO_PKG_VERSION"),
            cpu: measure::cpu_name(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            isa: isa.name(),
            threads: rayon::current_num_threads(),
            dtype: T::NAME,
            peak_gflops: giga(peak),
            l1_gbs: giga(l1),
            l2_gbs: giga(l2),
            l3_gbs: giga(l3),
            dram_gbs: giga(dram),
        }
    }

    fn describe(&self, caches: &Caches, out: &mut dyn Write) -> io::Result<()> {
        let Machine { version, cpu, cores, isa, threads, dtype, peak_gflops, .. } = self;
        writeln!(out, "{cpu}, {}; convgrad {version}", counted(*cores, "processor"))?;
        writeln!(out, "{}, {dtype} on {isa}\n", counted(*threads, "thread"))?;
        writeln!(out, "FMA peak   {peak_gflops:8.1} GFLOP/s")?;
        let cached = |cache: Cache| match cache.shared_by {
            0 | 1 => size(cache.bytes),
            processors => format!("{}, shared by {processors} processors", size(cache.bytes)),
        };
        let levels = [
            ("L1", self.l1_gbs, cached(caches.l1)),
            ("L2", self.l2_gbs, cached(caches.l2)),
            ("L3", self.l3_gbs, cached(caches.l3)),
            ("DRAM", self.dram_gbs, String::new()),
        ];
        for (level, gbs, what) in levels {
            writeln!(out, "{}", format!("{level:4} reads {gbs:8.1} GB/s     {what}").trim_end())?;
        }
        writeln!(
            out,
            "\nBelow {:.1} operations a byte from DRAM, memory is the limit, and not arithmetic.",
            self.peak_gflops / self.dram_gbs
        )
    }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn size(bytes: usize) -> String {
    let kib = bytes >> 10;
    if kib >= 1 << 10 && kib.is_multiple_of(1 << 10) { format!("{} MiB", kib >> 10) } else { format!("{kib} KiB") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_names_units_and_sizes() {
        let machine = Machine {
            version: "0.1.0",
            cpu: "AMD EPYC".to_owned(),
            cores: 2,
            isa: "avx512",
            threads: 1,
            dtype: "f32",
            peak_gflops: 240.0,
            l1_gbs: 400.0,
            l2_gbs: 200.25,
            l3_gbs: 100.0,
            dram_gbs: 30.0,
        };
        let cache = |bytes, shared_by| Cache { bytes, shared_by };
        let caches = Caches { l1: cache(48 << 10, 1), l2: cache(1 << 20, 1), l3: cache(33 << 19, 2) };
        let mut out = Vec::new();
        machine.describe(&caches, &mut out).unwrap();
        let expected = "\
AMD EPYC, 2 processors; convgrad 0.1.0
1 thread, f32 on avx512

FMA peak      240.0 GFLOP/s
L1   reads    400.0 GB/s     48 KiB
L2   reads    200.2 GB/s     1 MiB
L3   reads    100.0 GB/s     16896 KiB, shared by 2 processors
DRAM reads     30.0 GB/s

Below 8.0 operations a byte from DRAM, memory is the limit, and not arithmetic.
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
