//! The gradient of a convolution with respect to its weights.
//!
//! A convolution layer shares one kernel `w` over its whole input `o`, so every output position contributes to the
//! gradient of the error `E` with respect to each weight. With `delta = dE/dx`, the error arriving at the output `x`:
//!
//! ```text
//! x[i,j]        = sum_m sum_n  w[m,n] * o[i+m, j+n] + b
//! dE/dw[m',n']  = sum_i sum_j  delta[i,j] * o[i+m', j+n']
//! ```
//!
//! and in full, with batch, groups, stride `s`, dilation `d` and padding `p`, zeros standing outside the input:
//!
//! ```text
//! dW[oc,ic,kh,kw] = sum_n sum_oh sum_ow  delta[n,oc,oh,ow] * input[n,ic, oh*s + kh*d - p, ow*s + kw*d - p]
//! ```
//!
//! This crate computes that sum in interchangeable ways behind one trait, [`Backend`]: each is verified against the
//! others, each gives the same bits on any number of threads.
//!
//! # Quick start
//!
//! ```
//! use convgrad::{Backend, ConvShape, Update, View, ViewMut};
//!
//! let shape = ConvShape::conv2d(1, 1, [3, 3], 1, [2, 2]).build()?;
//! let input = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
//! let delta = [1.0f32, 0.0, 0.0, -1.0];
//! let mut gradient = [0.0f32; 4];
//!
//! let backend: &dyn Backend<f32> = &*convgrad::by_name("direct")?;
//! backend.weight_gradient(
//!     &shape,
//!     View::nchw(&input, &shape.input_dims())?,
//!     View::nchw(&delta, &shape.output_dims())?,
//!     ViewMut::nchw(&mut gradient, &shape.weights_dims())?,
//!     Update::overwrite(),
//! )?;
//! assert_eq!(gradient, [1.0 - 5.0, 2.0 - 6.0, 4.0 - 8.0, 5.0 - 9.0]);
//! # Ok::<(), convgrad::Error>(())
//! ```
//!
//! # Map
//!
//! - [`ConvShape`] is the problem, by builder or from the text form of benchdnn; [`NamedShape`] keeps the text's name.
//! - [`View`] and [`ViewMut`] are operands: a slice, dimensions, strides.
//! - [`backends`], [`by_name`] give the implementations; [`Backend`] is what they have in common.
//! - [`Auto`] is a backend that chooses the fastest of the others for each problem and says why; [`auto`] has its limits,
//!   policies and memory.
//! - [`Verify`] computes with two backends and tells where they disagree.
//! - [`DirectPlan`] tells what the backend `direct` chose for a shape.
//! - [`Backend::forward`] and [`Backend::backward`] are a layer's other passes; [`Gradients`] says which are wanted.
//! - [`Problem`] with the caller's scratch is the form for a training loop that must not allocate.
//! - [`train`] has the formulas around the gradients: errors to train with, and the step along them.
//! - [`catalog`] holds named shapes; [`measure`] times backends on them.

#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod auto;
mod backend;
mod backward;
mod bias;
pub mod catalog;
mod correlation;
mod cost;
mod element;
mod error;
mod gemm;
pub mod measure;
mod op;
mod partition;
mod problem;
mod registry;
mod shape;
mod simd;
mod tensor;
pub mod train;
mod verify;
mod write;

pub use auto::Auto;
pub use backend::direct::{DirectKernel, DirectPlan, KernelPlan};
pub use backend::{Backend, ErrorScale};
pub use backward::{Backward, Gradients};
pub use cost::Cost;
pub use element::Element;
pub use error::{Error, Unsupported};
pub use op::Op;
pub use problem::{BiasGradient, Forward, InputGradient, Problem, Update, WeightGradient};
pub use registry::{Registered, backends, backends_on, by_name, reference};
pub use shape::{Axis, ConvBuilder, ConvShape, NamedShape, PerAxis};
pub use simd::Isa;
pub use tensor::{Layout, View, ViewMut};
pub use verify::Verify;

/// The README's examples, run with the documentation's own.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
