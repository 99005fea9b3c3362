//! The network: two convolutions, each followed by an activation and a pool, and a dense layer.
//!
//! ```text
//! 1 x 8x8  ->  3x3 to 16 channels  ->  pool to 4x4  ->  3x3 to 32 channels  ->  pool to 2x2  ->  dense to 10 classes
//! ```

use crate::layers::{Activation, Convolution, max_pool, max_pool_backward};
use crate::random::Random;
use convgrad::{Backend, Error, train};

/// Pictures 8 numbers wide in, a number for each class out.
#[derive(Debug, Clone)]
pub struct Network {
    pub activation: Activation,
    /// Two convolutions and the dense layer.
    pub layers: [Convolution; 3],
}

/// The sides of the planes that the pools read.
const POOLED: [usize; 2] = [8, 4];

/// What a forward pass leaves behind for the way back.
struct Trace {
    /// Of each layer, what it read.
    inputs: [Vec<f32>; 3],
    /// Of each convolution, its outputs after the activation, and the places the pool took.
    activated: [Vec<f32>; 2],
    places: [Vec<usize>; 2],
    logits: Vec<f32>,
}

impl Network {
    /// With random weights.
    pub fn new(activation: Activation, random: &mut Random) -> Network {
        let first = Convolution::new(1, 16, 8, 3, random);
        let second = Convolution::new(16, 32, 4, 3, random);
        let dense = Convolution::new(32, 10, 2, 2, random);
        Network { activation, layers: [first, second, dense] }
    }

    fn trace(&self, backend: &dyn Backend<f32>, batch: usize, pictures: &[f32]) -> Result<Trace, Error> {
        let convolve = |layer: usize, input: &[f32]| -> Result<_, Error> {
            let mut output = self.layers[layer].forward(backend, batch, input)?;
            self.activation.forward(&mut output);
            let (pooled, places) = max_pool(&output, POOLED[layer]);
            Ok((output, places, pooled))
        };
        let (first, first_places, first_pooled) = convolve(0, pictures)?;
        let (second, second_places, second_pooled) = convolve(1, &first_pooled)?;
        let logits = self.layers[2].forward(backend, batch, &second_pooled)?;
        Ok(Trace {
            inputs: [pictures.to_vec(), first_pooled, second_pooled],
            activated: [first, second],
            places: [first_places, second_places],
            logits,
        })
    }

    /// The logits of each picture's classes.
    pub fn logits(&self, backend: &dyn Backend<f32>, batch: usize, pictures: &[f32]) -> Result<Vec<f32>, Error> {
        Ok(self.trace(backend, batch, pictures)?.logits)
    }

    /// Leaves in each layer the gradients of the mean cross-entropy, which it gives.
    pub fn gradients(&mut self, backend: &dyn Backend<f32>, pictures: &[f32], labels: &[usize]) -> Result<f64, Error> {
        let batch = labels.len();
        let Trace { inputs, activated, places, logits } = self.trace(backend, batch, pictures)?;
        let mut delta = vec![0.0; logits.len()];
        let error = train::softmax_cross_entropy(&logits, logits.len() / batch, labels, &mut delta)?;
        let mut delta = self.layers[2].backward(backend, batch, &inputs[2], &delta, true)?;
        for layer in [1, 0] {
            delta = max_pool_backward(&delta, &places[layer], activated[layer].len());
            self.activation.backward(&activated[layer], &mut delta);
            // Nobody asks for the gradient of the pictures.
            delta = self.layers[layer].backward(backend, batch, &inputs[layer], &delta, layer > 0)?;
        }
        Ok(error)
    }

    /// A step of gradient descent with momentum along the gradients of all layers.
    pub fn step(&mut self, learning_rate: f32, momentum: f32) -> Result<(), Error> {
        self.layers.iter_mut().try_for_each(|layer| layer.step(learning_rate, momentum))
    }
}

/// The class of the largest logit of each picture.
pub fn classes(logits: &[f32], classes: usize) -> Vec<usize> {
    let largest = |logits: &[f32]| (0..classes).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
    logits.chunks_exact(classes).map(largest).collect()
}
