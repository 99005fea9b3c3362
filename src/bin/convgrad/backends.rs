//! `convgrad backends`: what there is to choose from on this processor.

use anyhow::Result;
use convgrad::{Backend, ConvShape, Isa, Op};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Problems of every kind a backend may refuse: each rank, groups, strides, dilation, uneven sizes, large kernels.
const SAMPLES: [&str; 7] = [
    "mb2ic16iw64oc16kw5pw2",
    "mb2ic16ih14oc32kh3ph1",
    "mb2g2ic8id6ih8oc8kd3kh3pd1ph1",
    "mb2g32ic32ih14oc32kh3ph1",
    "mb2ic3ih33iw47oc5kh5kw3sh2sw3ph2pw0",
    "mb1ic4ih20oc4kh3dh2",
    "mb1ic1ih64oc1kh31",
];

/// Prints every backend with its description and what it computes.
pub fn run() -> Result<()> {
    let out = &mut io::stdout().lock();
    let available = Isa::available().iter().map(Isa::name).collect::<Vec<_>>().join(", ");
    writeln!(out, "instruction set of this processor: {} (of {available})", Isa::best())?;
    // The registry holds the same backends for f64.
    for backend in convgrad::backends::<f32>() {
        writeln!(out, "\n{}: {}", backend.name(), backend.description())?;
        for op in [Op::WeightGradient, Op::BiasGradient, Op::Forward] {
            writeln!(out, "    {:16} {}", op.to_string(), support(&*backend, op)?)?;
        }
    }
    Ok(())
}

/// `yes`, or the reasons against, with a shape refused where others are not.
fn support(backend: &dyn Backend<f32>, op: Op) -> Result<String> {
    let mut refusals = BTreeSet::new();
    let mut computed = false;
    for sample in SAMPLES {
        match backend.supports(op, &sample.parse::<ConvShape>()?) {
            Ok(()) => computed = true,
            Err(refusal) => drop(refusals.insert(format!("{}; {}", refusal.reason, refusal.remedy))),
        }
    }
    let reasons = refusals.into_iter().collect::<Vec<_>>().join("; ");
    Ok(match (computed, reasons.is_empty()) {
        (_, true) => "yes".to_owned(),
        (true, _) => format!("not every shape: {reasons}"),
        (false, _) => format!("no: {reasons}"),
    })
}
