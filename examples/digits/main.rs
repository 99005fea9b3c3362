//! A convolutional network that learns to read handwritten digits in a fraction of a second, all its convolutions by convgrad.
//!
//! ```sh
//! cargo run --release --example digits
//! cargo run --release --example digits -- --backend naive
//! ```
//!
//! A quarter of 1,797 digits is held out and never learned from. The result depends on the seed alone: not on the number of
//! threads, for no backend's does, and not on what the chooser knows of it, for it chooses as on one thread.

mod data;
mod layers;
mod network;
mod picture;
mod random;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use convgrad::{Auto, Backend, ConvShape, Isa, Op};
use data::{CLASSES, Digits};
use indicatif::{ProgressBar, ProgressStyle};
use layers::{Activation, Convolution};
use network::{Network, classes};
use random::Random;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Trains a small convolutional network on handwritten digits.
#[derive(Parser)]
struct Options {
    /// Backend of the convolutions: auto, which chooses one for each layer and pass, or its name
    #[arg(long, default_value = "auto")]
    backend: String,

    /// Times that each digit is learned from
    #[arg(long, default_value_t = 12)]
    epochs: usize,

    /// Digits in a step
    #[arg(long, default_value_t = 32)]
    batch: usize,

    /// Begin of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Threads; 0 is one for each processor
    #[arg(long, default_value_t = 0)]
    threads: usize,

    /// What bends the sums of the convolutions
    #[arg(long, value_enum, default_value = "relu")]
    activation: Activation,

    /// Where the picture of the learned kernels and the misread digits goes
    #[arg(long, default_value = "target/digits.png")]
    picture: PathBuf,
}

/// The step's length at the beginning and at the end, between which it falls like half a cosine.
const LEARNING_RATES: [f32; 2] = [0.1, 0.001];

const MOMENTUM: f32 = 0.9;

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(options.epochs > 0 && options.batch > 0, "--epochs and --batch begin at 1");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build().context("--threads")?;
    pool.install(|| run(&options))
}

fn run(options: &Options) -> Result<()> {
    let mut random = Random::new(options.seed);
    let (learned, held_out) = Digits::load(&mut random)?;
    ensure!(options.batch <= learned.len(), "--batch {}: there are {} digits", options.batch, learned.len());
    let mut network = Network::new(options.activation, &mut random);
    println!("{} digits to learn from, {} held out", learned.len(), held_out.len());

    let auto = Auto::<f32>::new().threads(1);
    let named = (options.backend != "auto").then(|| convgrad::by_name::<f32>(&options.backend)).transpose()?;
    let backend: &dyn Backend<f32> = named.as_deref().unwrap_or(&auto);
    print_backends(&network, backend, options.batch)?;

    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?;
    let progress = ProgressBar::new(options.epochs as u64).with_style(style);
    println!("epoch   error  held-out accuracy       ms");
    let mut in_training = Duration::ZERO;
    let mut read = Vec::new();
    for epoch in 0..options.epochs {
        let begin = Instant::now();
        let error = train_epoch(&mut network, backend, &learned, epoch, options, &mut random)?;
        let elapsed = begin.elapsed();
        in_training += elapsed;
        read = classes(&network.logits(backend, held_out.len(), &held_out.pictures)?, CLASSES);
        let milliseconds = 1e3 * elapsed.as_secs_f64();
        let line = format!("{:5}  {error:.4}  {:15.2} %  {milliseconds:7.1}", epoch + 1, accuracy(&read, &held_out));
        progress.suspend(|| println!("{line}"));
        progress.inc(1);
    }
    progress.finish_and_clear();
    let misread: Vec<usize> = (0..held_out.len()).filter(|&i| read[i] != held_out.labels[i]).collect();
    println!(
        "\n{:.2} % of the held-out digits are read right, {} of {} are not; {:.1} ms an epoch",
        accuracy(&read, &held_out),
        misread.len(),
        held_out.len(),
        1e3 * in_training.as_secs_f64() / options.epochs as f64
    );
    picture::save(&options.picture, &network.layers[0].weights, &held_out, &read, &misread)?;
    println!("learned kernels and misread digits: {}", options.picture.display());
    Ok(())
}

/// Learns from all digits once, in random order; those that fill no batch are left for another epoch. Gives the mean error.
fn train_epoch(
    network: &mut Network,
    backend: &dyn Backend<f32>,
    digits: &Digits,
    epoch: usize,
    options: &Options,
    random: &mut Random,
) -> Result<f64> {
    let order = random.shuffled(digits.len());
    let batches = digits.len() / options.batch;
    let mut error = 0.0;
    for (step, indices) in order.chunks_exact(options.batch).enumerate() {
        let Digits { pictures, labels } = digits.select(indices);
        error += network.gradients(backend, &pictures, &labels)? / batches as f64;
        let done = (epoch * batches + step) as f32 / (options.epochs * batches) as f32;
        let [first, last] = LEARNING_RATES;
        let rate = last + 0.5 * (first - last) * (1.0 + (std::f32::consts::PI * done).cos());
        network.step(rate, MOMENTUM)?;
    }
    Ok(error)
}

/// Percent of the digits that were read right.
fn accuracy(read: &[usize], digits: &Digits) -> f64 {
    let right = read.iter().zip(&digits.labels).filter(|(read, label)| read == label).count();
    100.0 * right as f64 / digits.len() as f64
}

/// Tells what computes each pass of each layer.
fn print_backends(network: &Network, backend: &dyn Backend<f32>, batch: usize) -> Result<()> {
    println!("\n{:26}  {:15}  backend on {}", "layer", "pass", Isa::best());
    for (index, layer) in network.layers.iter().enumerate() {
        let shape = layer.shape(batch)?;
        for &op in Convolution::passes(index == 0) {
            println!("{:26}  {:15}  {}", shape.to_string(), op.to_string(), told(backend, op, &shape));
        }
    }
    println!();
    Ok(())
}

/// The backend, or the one chosen and why, with what it plans to do.
fn told(backend: &dyn Backend<f32>, op: Op, shape: &ConvShape) -> String {
    let plan = backend.plan(op, shape).unwrap_or_default();
    // Of a plan the beginning: the kernel and its tile.
    let kernel = |plan: &str| plan.split(',').next().unwrap_or_default().to_owned();
    match (backend.name(), plan.split_once(": ")) {
        ("auto", Some((choice, plan))) => format!("{choice}: {}", kernel(plan)),
        ("auto", None) => plan,
        (name, _) => format!("{name} {}", kernel(&plan)),
    }
}
