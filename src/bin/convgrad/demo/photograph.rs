//! Learning a kernel from a photograph: gradient descent finds the edge filter that made a picture.
//!
//! The learner sees the photograph and what the filter made of it, never the filter. Its error is a quadratic in nine
//! weights, but a steep-sided valley: neighbouring pixels of a photograph resemble each other, so brightness is learned
//! a thousand times faster than detail. Three ordinary remedies are used and no other: the photograph's mean is
//! subtracted, the learning rate is what the steepest direction allows, and steps have momentum.

use super::able_backends;
use super::page::{Block, heading, side_by_side};
use super::pictures::Picture;
use crate::CheckFailed;
use crate::data::Random;
use convgrad::{Backend, ConvShape, Error, Op, Update, View, ViewMut, train};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// See `photograph.txt` beside it for its author, licence and making.
const PHOTOGRAPH: &[u8] = include_bytes!("photograph.png");
/// Sobel's filter for vertical edges: what is to be learned.
const SOBEL: [f32; 9] = [
    -1.0, 0.0, 1.0, //
    -2.0, 0.0, 2.0, //
    -1.0, 0.0, 1.0,
];
/// The part of its speed a step keeps, by Nesterov's rule `(r - 1) / (r + 1)` where `r * r` is the ratio of the largest
/// to the smallest curvature of the error: 1400 on this photograph (Introductory Lectures on Convex Optimization, 2.2.1).
const MOMENTUM: f32 = 0.95;
/// Learning ends when the error is this part of what it was at first.
///
/// With that ratio of curvatures no weight can then be off by more than `sqrt(1400 * SMALL)`, or 0.00012, of the distance
/// between the first kernel and the true one, which is less than 4.
const SMALL: f64 = 1e-11;
/// More than twice the steps that are needed.
const MAX_STEPS: usize = 1500;

/// A layer with one kernel, and what it should make of the photograph.
struct Lesson {
    shape: ConvShape,
    photograph: Picture,
    /// The photograph's pixels less their mean: the layer's input.
    input: Vec<f32>,
    target: Vec<f32>,
    /// Computes the layer's output; a backend may compute the gradient and not the layer.
    layer: Box<dyn Backend<f32>>,
}

/// How one backend's learning went.
struct Course {
    start: [f32; 9],
    kernel: [f32; 9],
    /// The error before each step, and after the last.
    errors: Vec<f64>,
    in_gradient: Duration,
    in_all: Duration,
}

/// What there is to be looked at afterwards.
pub struct Learned {
    /// The photograph as embedded.
    pub photograph: Picture,
    /// Width and height of what the layer makes of it.
    pub output_size: [usize; 2],
    /// What the true kernel makes of the photograph.
    pub target: Vec<f32>,
    /// What the learned kernel makes of it.
    pub result: Vec<f32>,
    /// The error before each step, and after the last.
    pub errors: Vec<f64>,
}

/// Prints what is to be learned, how the error falls, and what each backend learned in what time.
pub fn show(out: &mut impl Write) -> anyhow::Result<Learned> {
    heading(out, "2  Learning a kernel from a photograph")?;
    let lesson = Lesson::new(SOBEL)?;
    let [width, height] = [lesson.photograph.width, lesson.photograph.height];
    let learning_rate = 1.0 / lesson.largest_curvature()?;
    writeln!(out, "   input     a photograph of {width} x {height} pixels, CC0 by Lav Varshney, its mean subtracted")?;
    writeln!(out, "   target    the same through Sobel's edge filter; the learner is not told the filter")?;
    writeln!(out, "   start     nine random weights")?;
    writeln!(out, "   a step    the layer's output x -> delta = x - target -> gradient dE/dw -> w moves downhill")?;
    writeln!(
        out,
        "   its size  eta = {learning_rate:.2e}, one over the steepest curvature of E; momentum {MOMENTUM}\n"
    )?;

    let mut courses = Vec::new();
    for backend in able_backends(&lesson.shape) {
        let bar = progress_bar(backend.name());
        let course = lesson.learn(&*backend, learning_rate, |step, error, first| {
            bar.set_position((first / error).log10().max(0.0) as u64);
            bar.set_message(format!("step {step}, error {error:.1e}"));
        })?;
        bar.finish_and_clear();
        courses.push((backend, course));
    }
    let (first, course) = &courses[0];
    errors_table(out, &course.errors)?;
    // Rounded first, then added to 0: of a small negative number no sign is left.
    let three_decimals = |kernel: [f32; 9]| kernel.map(|w| format!("{:.3}", (1000.0 * w).round() / 1000.0 + 0.0));
    let blocks = [
        Block::matrix("start", 3, three_decimals(course.start)),
        Block::matrix(&format!("learned ({})", first.name()), 3, three_decimals(course.kernel)),
        Block::matrix("the true filter", 3, three_decimals(SOBEL)),
    ];
    side_by_side(out, &blocks)?;
    writeln!(out, "   backend    steps   one gradient   all steps   worst weight off by")?;
    for (backend, course) in &courses {
        let steps = course.errors.len() - 1;
        let micros = course.in_gradient.as_secs_f64() * 1e6 / steps as f64;
        let seconds = course.in_all.as_secs_f64();
        let off = course.off_by();
        writeln!(out, "   {:<9} {steps:>6} {micros:>11.1} us {seconds:>9.2} s {off:>21.5}", backend.name())?;
    }
    writeln!(out, "   (All steps includes the layer's output, which {} computes in each.)", lesson.layer.name())?;
    writeln!(out)?;
    for (backend, course) in &courses {
        let failure = || CheckFailed(format!("{} did not learn the filter to three decimals", backend.name()));
        anyhow::ensure!(course.off_by() < 0.0005, failure());
    }
    let result = lesson.output(&course.kernel)?;
    let errors = course.errors.clone();
    let [_, height, width] = lesson.shape.axes().map(|a| a.output);
    Ok(Learned { photograph: lesson.photograph, output_size: [width, height], target: lesson.target, result, errors })
}

impl Lesson {
    fn new(filter: [f32; 9]) -> anyhow::Result<Self> {
        let photograph = Picture::decode(PHOTOGRAPH)?;
        let shape = ConvShape::conv2d(1, 1, [photograph.height, photograph.width], 1, [3, 3]).build()?;
        let mean = photograph.pixels.iter().sum::<f32>() / photograph.pixels.len() as f32;
        let input = photograph.pixels.iter().map(|p| p - mean).collect();
        let layer = convgrad::backends()
            .into_iter()
            .find(|b| b.supports(Op::Forward, &shape).is_ok())
            .ok_or_else(|| anyhow::anyhow!("no backend computes the forward pass"))?;
        let mut lesson = Lesson { shape, photograph, input, target: Vec::new(), layer };
        lesson.target = lesson.output(&filter)?;
        Ok(lesson)
    }

    /// What the layer makes of the photograph with this kernel.
    fn output(&self, kernel: &[f32; 9]) -> Result<Vec<f32>, Error> {
        let mut output = vec![0.0; self.shape.output_positions()];
        self.layer.forward(
            &self.shape,
            View::nchw(&self.input, &self.shape.input_dims())?,
            View::nchw(kernel, &self.shape.weights_dims())?,
            None,
            ViewMut::nchw(&mut output, &self.shape.output_dims())?,
        )?;
        Ok(output)
    }

    /// `dE/dw` by `backend`.
    fn gradient(&self, backend: &dyn Backend<f32>, delta: &[f32]) -> Result<[f32; 9], Error> {
        let mut gradient = [0.0; 9];
        backend.weight_gradient(
            &self.shape,
            View::nchw(&self.input, &self.shape.input_dims())?,
            View::nchw(delta, &self.shape.output_dims())?,
            ViewMut::nchw(&mut gradient, &self.shape.weights_dims())?,
            Update::overwrite(),
        )?;
        Ok(gradient)
    }

    /// The largest eigenvalue of the Hessian of the error, by power iteration.
    ///
    /// The output is linear in the kernel, so the Hessian times a kernel is the weight gradient with that kernel's
    /// output for delta: it is never formed. The next eigenvalue is 50 times smaller, so a few rounds are plenty.
    fn largest_curvature(&self) -> Result<f32, Error> {
        let mut direction = [1.0 / 3.0; 9];
        let mut curvature = 0.0;
        for _ in 0..5 {
            let image = self.gradient(&*self.layer, &self.output(&direction)?)?;
            curvature = image.iter().map(|v| v * v).sum::<f32>().sqrt();
            direction = image.map(|v| v / curvature);
        }
        Ok(curvature)
    }

    /// Gradient descent from a random kernel, the gradients by `backend`.
    ///
    /// `watch` is told step, error and first error now and then.
    fn learn(
        &self,
        backend: &dyn Backend<f32>,
        learning_rate: f32,
        watch: impl Fn(usize, f64, f64),
    ) -> anyhow::Result<Course> {
        let mut random = Random::new();
        let start: [f32; 9] = std::array::from_fn(|_| random.uniform() as f32);
        let mut kernel = start;
        let mut velocity = [0.0; 9];
        let mut delta = vec![0.0; self.target.len()];
        let mut errors = Vec::new();
        let mut in_gradient = Duration::ZERO;
        let begin = Instant::now();
        loop {
            let error = train::half_squared_error(&self.output(&kernel)?, &self.target, &mut delta)?;
            let step = errors.len();
            errors.push(error);
            if step % 16 == 0 {
                watch(step, error, errors[0]);
            }
            if error <= SMALL * errors[0] || step == MAX_STEPS {
                return Ok(Course { start, kernel, errors, in_gradient, in_all: begin.elapsed() });
            }
            let before = Instant::now();
            let gradient = self.gradient(backend, &delta)?;
            in_gradient += before.elapsed();
            // Nesterov's step goes by where the speed is about to lead, and so overshoots less.
            velocity = std::array::from_fn(|i| MOMENTUM * velocity[i] + gradient[i]);
            let ahead: [f32; 9] = std::array::from_fn(|i| MOMENTUM * velocity[i] + gradient[i]);
            train::sgd_step(&mut kernel, &ahead, learning_rate)?;
        }
    }
}

impl Course {
    /// Distance of the weight that is farthest from its true value.
    fn off_by(&self) -> f32 {
        self.kernel.iter().zip(SOBEL).map(|(w, t)| (w - t).abs()).fold(0.0, f32::max)
    }
}

/// The error at a few steps, from the first to the last.
fn errors_table(out: &mut impl Write, errors: &[f64]) -> std::io::Result<()> {
    let last = errors.len() - 1;
    let steps = [0, 1, 3, 10, 30, 100, 300].into_iter().filter(|&s| s < last).chain([last]);
    let (mut first_row, mut second_row) = (String::new(), String::new());
    for step in steps {
        first_row += &format!("{step:>10}");
        second_row += &format!("{:>10.1e}", errors[step]);
    }
    writeln!(out, "   step   {first_row}\n   error E{second_row}\n")
}

/// A bar that fills as the error falls through its decades; seen only where standard error is a terminal.
fn progress_bar(backend: &'static str) -> ProgressBar {
    let decades = -SMALL.log10();
    let style = ProgressStyle::with_template("   {prefix:<9} [{bar:40}] {msg}").expect("the template is well-formed");
    ProgressBar::new(decades as u64).with_style(style.progress_chars("=> ")).with_prefix(backend)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;

    #[test]
    fn every_backend_learns_the_filter_to_three_decimals() {
        let lesson = Lesson::new(SOBEL).unwrap();
        let learning_rate = 1.0 / lesson.largest_curvature().unwrap();
        for backend in able_backends(&lesson.shape) {
            let course = lesson.learn(&*backend, learning_rate, |_, _, _| ()).unwrap();
            assert!(course.errors.len() <= MAX_STEPS, "{} was stopped", backend.name());
            assert_abs_diff_eq!(course.kernel[..], SOBEL[..], epsilon = 0.0005);
        }
    }

    #[test]
    fn another_filter_is_learned_as_well() {
        let sharpen = [0.0, -1.0, 0.0, -1.0, 5.0, -1.0, 0.0, -1.0, 0.0];
        let lesson = Lesson::new(sharpen).unwrap();
        let learning_rate = 1.0 / lesson.largest_curvature().unwrap();
        let course = lesson.learn(&*lesson.layer, learning_rate, |_, _, _| ()).unwrap();
        assert_abs_diff_eq!(course.kernel[..], sharpen[..], epsilon = 0.0005);
    }

    #[test]
    fn the_curvature_bounds_every_direction() {
        let lesson = Lesson::new(SOBEL).unwrap();
        let largest = lesson.largest_curvature().unwrap();
        let mut random = Random::new();
        for _ in 0..20 {
            let direction: [f32; 9] = std::array::from_fn(|_| random.uniform() as f32);
            let output = lesson.output(&direction).unwrap();
            let length: f32 = direction.iter().map(|v| v * v).sum();
            let curvature = output.iter().map(|v| v * v).sum::<f32>() / length;
            assert!(curvature <= 1.001 * largest, "{curvature} > {largest}");
        }
        let flat = lesson.output(&[1.0 / 3.0; 9]).unwrap();
        assert!(flat.iter().map(|v| v * v).sum::<f32>() > 0.9 * largest);
    }
}
