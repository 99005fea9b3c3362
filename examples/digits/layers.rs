//! The layers of a small network, each with its forward pass and the way back: what convgrad computes, and what lies between.

use crate::random::Random;
use convgrad::{Backend, ConvShape, Error, Gradients, Op, View, ViewMut, train};

/// A convolution with its bias; a dense layer is one whose kernel is as large as its input.
#[derive(Debug, Clone)]
pub struct Convolution {
    in_channels: usize,
    out_channels: usize,
    side: usize,
    kernel: usize,
    padding: usize,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    pub weight_gradient: Vec<f32>,
    pub bias_gradient: Vec<f32>,
    weight_velocity: Vec<f32>,
    bias_velocity: Vec<f32>,
}

impl Convolution {
    /// With weights drawn uniformly, of variance 2 over the terms of an output (He et al., 2015), and no bias.
    pub fn new(in_channels: usize, out_channels: usize, side: usize, kernel: usize, random: &mut Random) -> Self {
        let terms = in_channels * kernel * kernel;
        let len = out_channels * terms;
        let largest = (6.0 / terms as f32).sqrt();
        Convolution {
            in_channels,
            out_channels,
            side,
            kernel,
            // Outputs of as many positions as inputs, or of a single one.
            padding: if kernel == side { 0 } else { kernel / 2 },
            weights: (0..len).map(|_| largest * random.uniform()).collect(),
            bias: vec![0.0; out_channels],
            weight_gradient: vec![0.0; len],
            bias_gradient: vec![0.0; out_channels],
            weight_velocity: vec![0.0; len],
            bias_velocity: vec![0.0; out_channels],
        }
    }

    /// The problem for a batch of so many pictures.
    pub fn shape(&self, batch: usize) -> Result<ConvShape, Error> {
        let Convolution { in_channels, out_channels, side, kernel, padding, .. } = *self;
        ConvShape::conv2d(batch, in_channels, [side; 2], out_channels, [kernel; 2]).padding(padding).build()
    }

    /// `weights * input + bias`.
    pub fn forward(&self, backend: &dyn Backend<f32>, batch: usize, input: &[f32]) -> Result<Vec<f32>, Error> {
        let shape = self.shape(batch)?;
        let mut output = vec![0.0; shape.output_dims().iter().product()];
        backend.forward(
            &shape,
            View::nchw(input, &shape.input_dims())?,
            View::nchw(&self.weights, &shape.weights_dims())?,
            Some(&self.bias),
            ViewMut::nchw(&mut output, &shape.output_dims())?,
        )?;
        Ok(output)
    }

    /// Keeps the gradients of weights and bias, and gives that of the input, unless it is not wanted.
    pub fn backward(
        &mut self,
        backend: &dyn Backend<f32>,
        batch: usize,
        input: &[f32],
        delta: &[f32],
        wants_input: bool,
    ) -> Result<Vec<f32>, Error> {
        let shape = self.shape(batch)?;
        let mut input_gradient = vec![0.0; if wants_input { input.len() } else { 0 }];
        let gradients = Gradients {
            weights: Some(ViewMut::nchw(&mut self.weight_gradient, &shape.weights_dims())?),
            bias: Some(ViewMut::nchw(&mut self.bias_gradient, &[shape.out_channels()])?),
            input: match wants_input {
                true => Some(ViewMut::nchw(&mut input_gradient, &shape.input_dims())?),
                false => None,
            },
            ..Gradients::default()
        };
        backend.backward(
            &shape,
            View::nchw(input, &shape.input_dims())?,
            View::nchw(&self.weights, &shape.weights_dims())?,
            View::nchw(delta, &shape.output_dims())?,
            gradients,
        )?;
        Ok(input_gradient)
    }

    /// A step along the gradients that [`backward`](Self::backward) left.
    pub fn step(&mut self, learning_rate: f32, momentum: f32) -> Result<(), Error> {
        let Convolution { weights, weight_gradient, weight_velocity, bias, bias_gradient, bias_velocity, .. } = self;
        train::momentum_step(weights, weight_gradient, weight_velocity, learning_rate, momentum)?;
        train::momentum_step(bias, bias_gradient, bias_velocity, learning_rate, momentum)
    }

    /// The passes this layer is trained with.
    pub fn passes(is_first: bool) -> &'static [Op] {
        let all = &[Op::Forward, Op::WeightGradient, Op::InputGradient];
        if is_first { &all[..2] } else { all }
    }
}

/// What bends the sums of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Activation {
    /// The sum where it is positive, else 0
    Relu,
    /// 1 / (1 + e^-x)
    Sigmoid,
}

impl Activation {
    /// Bends the sums in place.
    pub fn forward(self, sums: &mut [f32]) {
        for x in sums {
            *x = match self {
                Activation::Relu => x.max(0.0),
                Activation::Sigmoid => 1.0 / (1.0 + (-*x).exp()),
            };
        }
    }

    /// From the error at the outputs `y` to that at the sums; both derivatives can be told from `y`.
    pub fn backward(self, outputs: &[f32], delta: &mut [f32]) {
        for (delta, &y) in delta.iter_mut().zip(outputs) {
            *delta *= match self {
                Activation::Relu => f32::from(u8::from(y > 0.0)),
                Activation::Sigmoid => y * (1.0 - y),
            };
        }
    }
}

/// The largest of each square of 2x2 numbers of planes `side` wide, and where it was; the first of equal ones.
pub fn max_pool(input: &[f32], side: usize) -> (Vec<f32>, Vec<usize>) {
    let planes = input.len() / (side * side);
    let corners = (0..planes * (side / 2)).flat_map(|row| (0..side / 2).map(move |x| 2 * (row * side + x)));
    corners
        .map(|corner| {
            let square = [corner, corner + 1, corner + side, corner + side + 1];
            square.into_iter().fold((f32::NEG_INFINITY, corner), |(largest, at), i| {
                if input[i] > largest { (input[i], i) } else { (largest, at) }
            })
        })
        .unzip()
}

/// Hands each error back to where its number came from.
pub fn max_pool_backward(delta: &[f32], places: &[usize], len: usize) -> Vec<f32> {
    let mut input_delta = vec![0.0; len];
    for (&delta, &place) in delta.iter().zip(places) {
        input_delta[place] = delta;
    }
    input_delta
}
