//! Records as a machine might have made them, for the tests of this report: made up by formulas, the same each time.

use super::measurements::Measurements;
use crate::record::{FORMAT, Machine, Outcome, Record, Run};
use convgrad::{ConvShape, NamedShape};

/// A name that no markup, shell or table may stumble over.
pub const HOSTILE: &str = "it's <b>&\"|`$x`";

/// Our backends and libraries with their versions, and the share of a machine's limit they reach.
const OURS: [(&str, f64); 3] = [("direct", 0.8), ("im2col", 0.45), ("naive", 0.004)];
const LIBRARIES: [(&str, &str, f64); 4] = [
    ("torch", "torch 2.15.0", 0.55),
    ("candle", "candle 0.11.0", 0.12),
    ("burn-flex", "burn-flex 0.22.0", 0.15),
    ("im2col-gemm", "gemm 0.19.0", 0.42),
];

/// Records of the sets image, mobilenet and resnet50 on one and two threads, libraries beside them on the networks,
/// some refusals, double precision and channels last on few shapes, and a shape with a hostile name.
pub fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for threads in [1, 2] {
        let bench = run("2026-11-23T08:00:00Z", "cargo xtask bench --full", threads, "f32");
        for set in ["image", "mobilenet", "resnet50"] {
            let shapes = convgrad::catalog::set(set).expect("the set exists");
            for shape in &shapes {
                records.extend(OURS.map(|(name, share)| timed(&bench, set, shape, name, "convgrad 0.1.0", share)));
            }
            if set != "image" {
                records.extend(shapes.iter().flat_map(|shape| beside(threads, set, shape)));
            }
        }
    }
    let f64 = run("2026-11-23T09:00:00Z", "cargo xtask bench --dtype f64", 1, "f64");
    let nhwc = run("2026-11-23T09:30:00Z", "cargo xtask bench --layout nhwc", 1, "f32");
    for shape in convgrad::catalog::set("resnet50").expect("the set exists").iter().take(4) {
        for (name, share) in OURS {
            records.push(timed(&f64, "resnet50", shape, name, "convgrad 0.1.0", share));
            let record = timed(&nhwc, "resnet50", shape, name, "convgrad 0.1.0", share);
            records.push(Record { layout: "nhwc".to_owned(), ..record });
        }
    }
    let forward = run("2026-11-23T11:00:00Z", "cargo xtask peers --pass forward --torch", 1, "f32");
    for shape in convgrad::catalog::set("resnet50").expect("the set exists").iter().take(3) {
        for (name, version, share) in
            [("direct", "convgrad 0.1.0", 0.7), ("winograd", "convgrad 0.1.0", 0.9), ("torch", "torch 2.15.0", 0.5)]
        {
            let record = timed(&forward, "resnet50", shape, name, version, share);
            records.push(Record { pass: "forward".to_owned(), chosen: name == "winograd", ..record });
        }
    }
    let name = Some(HOSTILE.to_owned());
    let hostile = NamedShape { shape: "mb1ic3ih9oc4kh3".parse().expect("it is a shape"), name };
    records.push(timed(&nhwc, "mine <&>", &hostile, "direct", "convgrad 0.1.0", 0.3));
    records
}

/// The report's view of them.
pub fn measurements() -> Measurements {
    Measurements::new(records(), false).expect("the fixture is valid")
}

/// A run with libraries: ours are measured beside them.
fn beside(threads: usize, set: &str, shape: &NamedShape) -> Vec<Record> {
    let run = run("2026-11-23T10:00:00Z", &format!("cargo xtask peers --set {set} --torch"), threads, "f32");
    let ours = OURS[..2].iter().map(|(name, share)| timed(&run, set, shape, name, "convgrad 0.1.0", *share));
    let libraries = LIBRARIES.map(|(name, version, share)| {
        let record = timed(&run, set, shape, name, version, share);
        let refused = "grouped convolutions panic in its <gemm> & are left out".to_owned();
        if name == "burn-flex" && shape.shape.groups() > 1 {
            return Record { outcome: Outcome::Refused { refused }, error: None, ..record };
        }
        record
    });
    ours.chain(libraries).collect()
}

fn run(date: &str, command: &str, threads: usize, dtype: &str) -> Run {
    let n = threads as f64;
    let peak_gflops = if dtype == "f64" { 121.7 } else { 243.7 } * n;
    let machine = Machine {
        version: "0.1.0".to_owned(),
        cpu: "AMD EPYC".to_owned(),
        cores: 2,
        isa: "avx512".to_owned(),
        threads,
        dtype: dtype.to_owned(),
        peak_gflops,
        l1_gbs: 438.2 * n,
        l2_gbs: 214.9 * n,
        l3_gbs: 108.3 * n,
        dram_gbs: 31.4 * n.sqrt(),
    };
    let (date, command) = (date.to_owned(), command.to_owned());
    let (revision, rustc) = ("efd2ab8c0ffe".to_owned(), "rustc 1.95.0 (59807616e 2026-04-14)".to_owned());
    Run { date, command, revision, rustc, machine }
}

/// A time below the roofline, with some luck that depends on shape and implementation, and a fixed cost of a call.
fn timed(run: &Run, set: &str, named: &NamedShape, name: &str, version: &str, share: f64) -> Record {
    let shape = &named.shape;
    let luck = luck(&format!("{named}{name}{}", run.machine.threads));
    let is_small = shape.group_in_channels() < 8 && name != "direct";
    let reached = share * (0.6 + 0.6 * luck) * if is_small { 0.1 } else { 1.0 };
    let peak = run.machine.peak_gflops * reached;
    let memory = intensity(shape) * run.machine.l3_gbs;
    let call_ms = if name == "naive" { 0.1e-3 } else { 0.4e-3 };
    let best_ms = call_ms + shape.flops() / (peak.min(memory) * 1e6);
    let unit = if run.machine.dtype == "f64" { 1.1e-16 } else { 6e-8 };
    let growth = if name == "naive" { 1.0 } else { (shape.terms() as f64).powf(0.3) };
    let error = if shape.terms() == 1 { 0.0 } else { unit * growth * (0.5 + luck) };
    Record {
        format: FORMAT,
        run: run.clone(),
        set: set.to_owned(),
        shape: named.to_string(),
        pass: "wgrad".to_owned(),
        layout: "nchw".to_owned(),
        implementation: name.to_owned(),
        chosen: false,
        implementation_version: version.to_owned(),
        outcome: Outcome::Timed { best_ms, median_ms: best_ms * (1.01 + 0.1 * luck), samples: 20 },
        error: Some(error),
    }
}

fn intensity(shape: &ConvShape) -> f64 {
    let dims = [shape.input_dims(), shape.output_dims(), shape.weights_dims()];
    shape.flops() / (4 * dims.iter().map(|dims| dims.iter().product::<usize>()).sum::<usize>()) as f64
}

/// A number from 0 to 1 that is a function of the words (FNV-1a).
fn luck(words: &str) -> f64 {
    let hash = words
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (hash >> 40) as f64 / (1u64 << 24) as f64
}
