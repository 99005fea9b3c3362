//! `convgrad gradient`: the gradient of a user's own arrays.

use crate::arguments::{AUTO, Dtype, LayoutName, Task, Threads};
use crate::data;
use crate::npy::{self, NpyElement, Source};
use crate::output::Output;
use anyhow::{Context, Result, ensure};
use convgrad::{Auto, Backend, ConvShape, Op, Update, ViewMut};
use std::io::{self, Write};
use std::path::PathBuf;

/// Options of `convgrad gradient`.
#[derive(clap::Args)]
#[command(after_help = "\
EXAMPLE
  python3 -c \"import numpy as n; n.save('X.npy', n.eye(5)[None, None])\"
  python3 -c \"import numpy as n; n.save('D.npy', n.ones((1, 1, 4, 4)))\"
  convgrad gradient mb1ic1ih5oc1kh2 --input X.npy --delta D.npy -o DW.npy
  python3 -c \"import numpy as n; print(n.load('DW.npy'))\"

Arrays are float32 or float64, both of one type, in C or Fortran order. Their axes are \
[batch, channels, spatial..] with --layout nchw and [batch, spatial.., channels] with nhwc, with one to three spatial axes.")]
pub struct GradientOptions {
    /// The problem, such as mb8ic64ih56oc64kh3ph1 (`convgrad --help` explains the form)
    #[arg(value_name = "SHAPE")]
    task: Task,

    /// The layer's input
    #[arg(long, value_name = "X.npy")]
    input: PathBuf,

    /// The error arriving at the layer's output, dE/dx
    #[arg(long, value_name = "D.npy")]
    delta: PathBuf,

    /// Where to write dE/dw, [out channels, in channels / groups, kernel..] in C order
    #[arg(short, long, value_name = "DW.npy")]
    output: PathBuf,

    /// Where to write dE/db, [out channels], if wished
    #[arg(long, value_name = "DB.npy")]
    bias_gradient: Option<PathBuf>,

    /// Backend by name, or auto for the one that is estimated to be the fastest (`convgrad choose` tells which, and why)
    #[arg(long, value_name = "NAME", default_value = AUTO, value_parser = auto_or_backend)]
    backend: String,

    /// Order of the axes of input and delta
    #[arg(long, value_enum, default_value = "nchw")]
    layout: LayoutName,

    #[command(flatten)]
    threads: Threads,
}

fn auto_or_backend(name: &str) -> Result<String, convgrad::Error> {
    if name != AUTO {
        convgrad::by_name::<f32>(name)?;
    }
    Ok(name.to_owned())
}

/// Reads, computes, writes.
pub fn run(options: &GradientOptions) -> Result<()> {
    let shape = &options.task.shape;
    let input = Source::open("--input", &options.input)?;
    let delta = Source::open("--delta", &options.delta)?;
    let dtype = npy::expect_one_dtype(&input, &delta)?;
    input.expect_dims(&shape.input_dims(), options.layout)?;
    delta.expect_dims(&shape.output_dims(), options.layout)?;
    options.threads.run(|| match dtype {
        Dtype::F32 => compute::<f32>(options, input, delta),
        Dtype::F64 => compute::<f64>(options, input, delta),
    })
}

fn compute<T: NpyElement>(options: &GradientOptions, input: Source, delta: Source) -> Result<()> {
    let shape = &options.task.shape;
    let (weight_backend, name) = choose::<T>(&options.backend, options.layout, Op::WeightGradient, shape)?;
    let bias_backend = match options.bias_gradient {
        Some(_) => Some(choose::<T>(&options.backend, options.layout, Op::BiasGradient, shape)?.0),
        None => None,
    };
    let (mut weight_output, mut bias_output) = outputs(options)?;

    let input = input.read::<T>(options.layout)?;
    let delta = delta.read::<T>(options.layout)?;
    let mut gradient: Vec<T> = data::filled(shape.weights_len(), T::default)?;
    let view = ViewMut::nchw(&mut gradient, &shape.weights_dims())?;
    weight_backend.weight_gradient(shape, input.view()?, delta.view()?, view, Update::overwrite())?;
    weight_output.fill(|out| npy::write(out, &shape.weights_dims(), &gradient))?;

    if let (Some(output), Some(backend)) = (&mut bias_output, bias_backend) {
        let dims = [shape.out_channels()];
        let mut gradient: Vec<T> = data::filled(shape.out_channels(), T::default)?;
        let view = ViewMut::nchw(&mut gradient, &dims)?;
        backend.bias_gradient(shape, delta.view()?, view, Update::overwrite())?;
        output.fill(|out| npy::write(out, &dims, &gradient))?;
    }

    weight_output.publish()?;
    bias_output.map_or(Ok(()), Output::publish)?;
    let dims = shape.weights_dims();
    writeln!(io::stdout(), "{}: {} {dims:?} by backend {name}", options.output.display(), T::NAME)?;
    Ok(())
}

/// The files to be, none of them one of the others or an operand.
fn outputs(options: &GradientOptions) -> Result<(Output, Option<Output>)> {
    let weights = Output::create("--output", &options.output)?;
    let bias = options.bias_gradient.as_ref().map(|path| Output::create("--bias-gradient", path)).transpose()?;
    for (argument, operand) in [("--input", &options.input), ("--delta", &options.delta)] {
        ensure!(!weights.is(operand), "--output is the file of {argument}; name another file");
        let taken = bias.as_ref().is_some_and(|bias| bias.is(operand));
        ensure!(!taken, "--bias-gradient is the file of {argument}; name another file");
    }
    let taken = bias.as_ref().is_some_and(|bias| bias.is_same(&weights));
    ensure!(!taken, "--bias-gradient is the file of --output; name another file");
    Ok((weights, bias))
}

/// The backend asked for, or the chooser, and the name of what will compute.
fn choose<T: NpyElement>(
    name: &str,
    layout: LayoutName,
    op: Op,
    shape: &ConvShape,
) -> Result<(Box<dyn Backend<T>>, &'static str)> {
    if name == AUTO {
        let auto = Auto::<T>::new().layout(layout.layout());
        let chosen = auto.choose(op, shape).map(Backend::name);
        let chosen = chosen.with_context(|| format!("--backend auto: no backend computes the {op} of this SHAPE"))?;
        return Ok((Box::new(auto), chosen));
    }
    let backend = convgrad::by_name(name)?;
    backend.supports(op, shape).with_context(|| format!("--backend {name}"))?;
    let name = backend.name();
    Ok((backend, name))
}
