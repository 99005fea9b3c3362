//! Makes a problem for the contestants and what their results are held against: `definition SHAPE LAYOUT DIRECTORY`.
//!
//! The operands are drawn uniformly from [-1, 1), the same in every run. `expected.txt` has entries of the gradient by
//! the definition in double precision, one a line: its index in the order `[out channels, in channels, kernel..]`, a
//! blank, the value. Those are all entries where the problem is small, and otherwise all taps between a few channels.

mod sample;

use anyhow::{Context, Result, bail, ensure};
use convgrad::{ConvShape, Update, View, ViewMut};
use peers::{Layout, Problem, Shape};
use sample::Sample;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("definition: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments.len() == 3, "usage: definition SHAPE LAYOUT DIRECTORY");
    let shape: ConvShape = arguments[0].parse()?;
    let problem = random_problem(&shape, layout(&arguments[1])?);
    let directory = Path::new(&arguments[2]);
    problem.write(directory)?;
    let mut text = String::new();
    for (index, value) in expected(&problem, &shape, &Sample::affordable(&shape))? {
        writeln!(text, "{index} {value:e}")?;
    }
    let path = directory.join("expected.txt");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn layout(name: &str) -> Result<Layout> {
    match name {
        "nchw" => Ok(Layout::Nchw),
        "nhwc" => Ok(Layout::Nhwc),
        _ => bail!("the layout `{name}` is neither nchw nor nhwc"),
    }
}

fn random_problem(shape: &ConvShape, layout: Layout) -> Problem {
    let mut random = fastrand::Rng::with_seed(1);
    let mut numbers = |dims: Vec<usize>| (0..dims.iter().product()).map(|_| 2.0 * random.f32() - 1.0).collect();
    Problem { input: numbers(shape.input_dims()), delta: numbers(shape.output_dims()), shape: Shape::of(shape, layout) }
}

/// The entries of the sample by the definition, each with its index.
fn expected(problem: &Problem, shape: &ConvShape, sample: &Sample) -> Result<Vec<(usize, f64)>> {
    let Problem { shape: Shape { layout, .. }, input, delta } = problem;
    let part = sample.of_one_group(shape)?;
    let mut gradient = vec![f64::NAN; part.weights_len()];
    let mut entries = Vec::new();
    for &group in &sample.groups {
        let channels =
            |within: &[usize], size: usize| -> Vec<usize> { within.iter().map(|c| group * size + c).collect() };
        let inputs = channels(&sample.inputs, shape.group_in_channels());
        let outputs = channels(&sample.outputs, shape.group_out_channels());
        convgrad::reference::<f64>().weight_gradient(
            &part,
            View::nchw(&picked(input, &shape.input_dims(), *layout, &inputs), &part.input_dims())?,
            View::nchw(&picked(delta, &shape.output_dims(), *layout, &outputs), &part.output_dims())?,
            ViewMut::nchw(&mut gradient, &part.weights_dims())?,
            Update::overwrite(),
        )?;
        let pairs = outputs.iter().flat_map(|output| sample.inputs.iter().map(move |input| (output, input)));
        for ((output, input), taps) in pairs.zip(gradient.chunks(shape.taps())) {
            let first = (output * shape.group_in_channels() + input) * shape.taps();
            entries.extend((first..).zip(taps.iter().copied()));
        }
    }
    Ok(entries)
}

/// These channels of an operand in double precision, channels before positions.
fn picked(numbers: &[f32], dims: &[usize], layout: Layout, channels: &[usize]) -> Vec<f64> {
    let positions: usize = dims[2..].iter().product();
    let (channel_stride, position_stride) = match layout {
        Layout::Nchw => (positions, 1),
        Layout::Nhwc => (1, dims[1]),
    };
    let mut picked = Vec::with_capacity(dims[0] * channels.len() * positions);
    for image in numbers.chunks(dims[1] * positions) {
        for channel in channels {
            picked.extend((0..positions).map(|p| f64::from(image[channel * channel_stride + p * position_stride])));
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole gradient by the definition.
    fn whole(problem: &Problem, shape: &ConvShape) -> Vec<f64> {
        let double = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let mut gradient = vec![f64::NAN; shape.weights_len()];
        let (input, delta, layout) = (double(&problem.input), double(&problem.delta), problem.shape.layout.into());
        convgrad::reference()
            .weight_gradient(
                shape,
                View::new(&input, &shape.input_dims(), layout).unwrap(),
                View::new(&delta, &shape.output_dims(), layout).unwrap(),
                ViewMut::nchw(&mut gradient, &shape.weights_dims()).unwrap(),
                Update::overwrite(),
            )
            .unwrap();
        gradient
    }

    #[test]
    fn a_sample_has_the_entries_of_the_whole() {
        for text in ["mb2ic5ih7iw9oc6kh3kw2ph1", "mb2g3ic12ih6oc9kh3sh2ph1", "mb2ic3iw9oc4kw3dw1", "mb1g2ic4id3oc6kd2"]
        {
            let shape: ConvShape = text.parse().unwrap();
            for layout in [Layout::Nchw, Layout::Nhwc] {
                let problem = random_problem(&shape, layout);
                let whole = whole(&problem, &shape);
                let all = expected(&problem, &shape, &Sample::affordable(&shape)).unwrap();
                assert_eq!(all, whole.iter().copied().enumerate().collect::<Vec<_>>(), "{text}");
                let few = expected(&problem, &shape, &Sample::within(&shape, 0.0, 0)).unwrap();
                assert!(few.len() < whole.len());
                assert!(few.iter().all(|&(index, value)| value == whole[index]), "{text}");
                assert_eq!([few[0].0, few[few.len() - 1].0], [0, whole.len() - 1]);
            }
        }
    }
}
