//! `convgrad backends`: what there is to choose from on this processor, and how each would go about a problem.

use crate::arguments::{BackendList, Dtype, Pass, Task, Tasks};
use crate::table::{self, Column};
use anyhow::Result;
use convgrad::{Backend, ConvShape, Isa, Layout, Op, Registered};
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

/// Options of `convgrad backends`.
#[derive(clap::Args)]
#[command(mut_group("Tasks", |problems| problems.required(false)))]
#[command(after_help = "\
EXAMPLES
  convgrad backends
  convgrad backends mb8ic64ih56oc64kh3ph1
  convgrad backends --set resnet50 --backend direct --isa avx2

With problems: the scratch each backend needs for the pass, the operations it executes in units of the \
nominal ones, the bytes it moves, the constant of its error bound, and its plan, if it makes one.")]
pub struct BackendsOptions {
    #[command(flatten)]
    tasks: Option<Tasks>,

    #[command(flatten)]
    backends: BackendList,

    /// The pass of the layer
    #[arg(long, value_enum, default_value = "wgrad")]
    pass: Pass,

    /// Number type
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

/// Prints what backends there are, or what they would do with the problems given.
pub fn run(options: &BackendsOptions) -> Result<()> {
    let out = &mut io::stdout().lock();
    let (op, backends) = (options.pass.op(), &options.backends);
    match (&options.tasks, options.dtype) {
        (None, _) => list(options, out),
        (Some(tasks), Dtype::F32) => Ok(explain(op, &tasks.read()?, &backends.select::<f32>(Layout::Nchw), out)?),
        (Some(tasks), Dtype::F64) => Ok(explain(op, &tasks.read()?, &backends.select::<f64>(Layout::Nchw), out)?),
    }
}

/// What each backend spends on each problem, and its plan.
fn explain<T: Registered>(
    op: Op,
    tasks: &[Task],
    backends: &[Box<dyn Backend<T>>],
    out: &mut dyn Write,
) -> io::Result<()> {
    let width = backends.iter().map(|backend| backend.name().len()).max().unwrap_or(0);
    let columns = ["scratch MiB", "flops x", "moved MiB", "error bound"].map(|title| Column::new(title, 0));
    let columns: Vec<_> =
        [Column::new("backend", width)].into_iter().chain(columns).chain([Column::new("plan", 0)]).collect();
    for Task { text, shape } in tasks {
        writeln!(out, "{text}")?;
        table::write_titles(out, &columns)?;
        for backend in backends {
            if let Err(refusal) = backend.supports(op, shape) {
                let plan = format!("unsupported: {}; {}", refusal.reason, refusal.remedy);
                let [scratch, flops, moved, bound] = ["-"; 4].map(str::to_owned);
                let cells = [backend.name().to_owned(), scratch, flops, moved, bound, plan];
                table::write_row(out, &columns, cells)?;
                continue;
            }
            let cost = backend.cost(op, shape);
            let mebibytes = |bytes: f64| format!("{:.3}", bytes / f64::from(1 << 20));
            let cells = [
                backend.name().to_owned(),
                mebibytes((backend.scratch_len(op, shape) * size_of::<T::Acc>()) as f64),
                format!("{:.2}", cost.flops / shape.flops()),
                mebibytes(cost.bytes),
                format!("{:.0}", backend.error_bound(op, shape)),
                backend.plan(op, shape).unwrap_or_default(),
            ];
            table::write_row(out, &columns, cells)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Every backend with its description and what it computes.
fn list(options: &BackendsOptions, out: &mut dyn Write) -> Result<()> {
    let available = Isa::available().iter().map(Isa::name).collect::<Vec<_>>().join(", ");
    writeln!(out, "instruction set of this processor: {} (of {available})", Isa::best())?;
    // The registry holds the same backends for f64.
    for backend in options.backends.select::<f32>(Layout::Nchw) {
        writeln!(out, "\n{}: {}", backend.name(), backend.description())?;
        for op in Op::ALL {
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
