//! Makes a problem for the contestants and what their results are held against: `definition SHAPE LAYOUT PASS DIRECTORY`.
//!
//! The operands are drawn uniformly from [-1, 1), the same in every run. `expected.txt` has entries of the result by
//! the definition in double precision, one a line: its index in the order of the result's dimensions, channels before
//! positions, a blank, the value. Those are all entries where the problem is small, and otherwise some whole planes.

mod sample;

use anyhow::{Context, Result, bail, ensure};
use convgrad::{ConvShape, Update, View, ViewMut};
use peers::{Layout, Pass, Problem, Shape};
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
    ensure!(arguments.len() == 4, "usage: definition SHAPE LAYOUT PASS DIRECTORY");
    let shape: ConvShape = arguments[0].parse()?;
    let problem = random_problem(&shape, layout(&arguments[1])?, arguments[2].parse()?);
    let directory = Path::new(&arguments[3]);
    problem.write(directory)?;
    let mut text = String::new();
    for (index, value) in expected(&problem, &shape, &Sample::affordable(problem.pass, &shape))? {
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

fn random_problem(shape: &ConvShape, layout: Layout, pass: Pass) -> Problem {
    let mut random = fastrand::Rng::with_seed(1);
    let mut numbers = |dims: Vec<usize>| (0..dims.iter().product()).map(|_| 2.0 * random.f32() - 1.0).collect();
    let [input, delta] = [shape.input_dims(), shape.output_dims()].map(&mut numbers);
    Problem { pass, input, delta, weights: numbers(shape.weights_dims()), shape: Shape::of(shape, layout) }
}

/// The entries of the sample by the definition, each with its index.
fn expected(problem: &Problem, shape: &ConvShape, sample: &Sample) -> Result<Vec<(usize, f64)>> {
    let Problem { pass, shape: Shape { layout, .. }, input, weights, delta } = problem;
    let part = sample.of_one_group(shape)?;
    let dims = problem.pass.result_dims(&problem.shape);
    let (columns, positions) = (dims[1], dims[2..].iter().product::<usize>());
    let part_dims = pass.result_dims(&Shape::of(&part, Layout::Nchw));
    let mut result = vec![f64::NAN; part_dims.iter().product()];
    let mut entries = Vec::new();
    for &group in &sample.groups {
        let channels =
            |within: &[usize], size: usize| -> Vec<usize> { within.iter().map(|c| group * size + c).collect() };
        let inputs = channels(&sample.inputs, shape.group_in_channels());
        let outputs = channels(&sample.outputs, shape.group_out_channels());
        let input = picked(input, &shape.input_dims(), *layout, [&sample.images, &inputs]);
        let delta = picked(delta, &shape.output_dims(), *layout, [&sample.images, &outputs]);
        let weights = picked(weights, &shape.weights_dims(), Layout::Nchw, [&outputs, &sample.inputs]);
        let input = View::nchw(&input, &part.input_dims())?;
        let delta = View::nchw(&delta, &part.output_dims())?;
        let weights = View::nchw(&weights, &part.weights_dims())?;
        let reference = convgrad::reference::<f64>();
        let (view, update) = (ViewMut::nchw(&mut result, &part_dims)?, Update::overwrite());
        let (firsts, seconds) = match pass {
            Pass::Wgrad => {
                reference.weight_gradient(&part, input, delta, view, update)?;
                (&outputs, &sample.inputs)
            }
            Pass::Forward => {
                reference.forward(&part, input, weights, None, view)?;
                (&sample.images, &outputs)
            }
            Pass::Dgrad => {
                reference.input_gradient(&part, weights, delta, view, update)?;
                (&sample.images, &inputs)
            }
        };
        let planes = firsts.iter().flat_map(|first| seconds.iter().map(move |second| first * columns + second));
        for (plane, values) in planes.zip(result.chunks(positions)) {
            entries.extend((plane * positions..).zip(values.iter().copied()));
        }
    }
    entries.sort_unstable_by_key(|&(index, _)| index);
    Ok(entries)
}

/// These planes of an operand in double precision, by its first two dimensions.
fn picked(numbers: &[f32], dims: &[usize], layout: Layout, [firsts, seconds]: [&[usize]; 2]) -> Vec<f64> {
    let positions: usize = dims[2..].iter().product();
    let (channel_stride, position_stride) = match layout {
        Layout::Nchw => (positions, 1),
        Layout::Nhwc => (1, dims[1]),
    };
    let mut picked = Vec::with_capacity(firsts.len() * seconds.len() * positions);
    for first in firsts {
        let image = &numbers[first * dims[1] * positions..];
        for second in seconds {
            picked.extend((0..positions).map(|p| f64::from(image[second * channel_stride + p * position_stride])));
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole result by the definition.
    fn whole(problem: &Problem, shape: &ConvShape) -> Vec<f64> {
        let double = |numbers: &[f32]| numbers.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
        let [input, weights, delta] = [&problem.input, &problem.weights, &problem.delta].map(|numbers| double(numbers));
        let layout = problem.shape.layout.into();
        let input = View::new(&input, &shape.input_dims(), layout).unwrap();
        let delta = View::new(&delta, &shape.output_dims(), layout).unwrap();
        let weights = View::nchw(&weights, &shape.weights_dims()).unwrap();
        let dims = problem.pass.result_dims(&problem.shape);
        let mut result = vec![f64::NAN; dims.iter().product()];
        let view = ViewMut::nchw(&mut result, &dims).unwrap();
        let (reference, update) = (convgrad::reference(), Update::overwrite());
        match problem.pass {
            Pass::Wgrad => reference.weight_gradient(shape, input, delta, view, update),
            Pass::Forward => reference.forward(shape, input, weights, None, view),
            Pass::Dgrad => reference.input_gradient(shape, weights, delta, view, update),
        }
        .unwrap();
        result
    }

    #[test]
    fn a_sample_has_the_entries_of_the_whole() {
        let texts = ["mb3ic5ih7iw9oc6kh3kw2ph1", "mb3g3ic12ih6oc9kh3sh2ph1", "mb3ic3iw9oc4kw3dw1", "mb3g2ic6id3oc6kd2"];
        for text in texts {
            let shape: ConvShape = text.parse().unwrap();
            for pass in [Pass::Wgrad, Pass::Forward, Pass::Dgrad] {
                for layout in [Layout::Nchw, Layout::Nhwc] {
                    let problem = random_problem(&shape, layout, pass);
                    let whole = whole(&problem, &shape);
                    let all = expected(&problem, &shape, &Sample::affordable(pass, &shape)).unwrap();
                    assert_eq!(all, whole.iter().copied().enumerate().collect::<Vec<_>>(), "{text}");
                    let few = expected(&problem, &shape, &Sample::within(pass, &shape, 0.0, 0)).unwrap();
                    assert!(few.len() < whole.len());
                    assert!(few.iter().all(|&(index, value)| value == whole[index]), "{text}");
                    assert_eq!([few[0].0, few[few.len() - 1].0], [0, whole.len() - 1]);
                }
            }
        }
    }
}
