//! The ordered list of backends: adding one to the crate is one line here.
//!
//! Kernels are generic over the element type, and generic code is compiled in the crate that calls it, with that
//! crate's optimisation: a debug build of a user's program would run kernels that are hundreds of times slower. So the
//! list is made for each element type *here*, and backends leave this crate only behind the trait.

use crate::backend::Backend;
use crate::backend::direct::Direct;
use crate::backend::fft::Fft;
use crate::backend::im2col::Im2col;
use crate::backend::naive::Naive;
use crate::backend::winograd::Winograd;
use crate::element::Element;
use crate::error::Error;
use crate::simd::Isa;

/// An element type that backends are compiled for: `f32` and `f64`.
pub trait Registered: Element {
    /// See [`backends_on`].
    fn backends_on(isa: Isa) -> Vec<Box<dyn Backend<Self>>>;
}

macro_rules! register {
    ($element:ty) => {
        impl Registered for $element {
            fn backends_on(isa: Isa) -> Vec<Box<dyn Backend<$element>>> {
                // The one to prefer first, the reference last.
                vec![
                    Box::new(Direct::on(isa)),
                    Box::new(Winograd::on(isa)),
                    Box::new(Winograd::with_small_tiles_on(isa)),
                    Box::new(Fft::on(isa)),
                    Box::new(Im2col),
                    Box::new(Naive),
                ]
            }
        }
    };
}

register!(f32);
register!(f64);

/// All backends, the one to prefer first, the reference last, on the best instruction set of this processor.
///
/// ```
/// let names: Vec<_> = convgrad::backends::<f32>().iter().map(|b| b.name()).collect();
/// assert_eq!(names, ["direct", "winograd", "winograd-2x2", "fft", "im2col", "naive"]);
/// ```
pub fn backends<T: Registered>() -> Vec<Box<dyn Backend<T>>> {
    backends_on(Isa::best())
}

/// All backends, on an instruction set of the caller's choice.
///
/// `im2col` leaves that choice to matrixmultiply and `naive` to the compiler; they are the same on every set.
pub fn backends_on<T: Registered>(isa: Isa) -> Vec<Box<dyn Backend<T>>> {
    T::backends_on(isa)
}

/// The backend of this name.
///
/// # Errors
/// [`Error::UnknownBackend`] lists the names there are.
///
/// ```
/// use convgrad::Backend;
/// let direct = convgrad::by_name::<f32>("direct")?;
/// assert_eq!(direct.name(), "direct");
/// assert!(convgrad::by_name::<f32>("fastest").is_err());
/// # Ok::<(), convgrad::Error>(())
/// ```
pub fn by_name<T: Registered>(name: &str) -> Result<Box<dyn Backend<T>>, Error> {
    let mut all = backends();
    match all.iter().position(|b| b.name() == name) {
        Some(i) => Ok(all.swap_remove(i)),
        None => Err(Error::UnknownBackend {
            name: name.to_owned(),
            known: all.iter().map(|b| b.name()).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The backend the others are judged by: `naive`, on one thread, summed in `f64`.
///
/// ```
/// assert_eq!(convgrad::reference::<f64>().name(), "naive");
/// ```
pub fn reference<T: Registered>() -> Box<dyn Backend<T>> {
    // The list ends with it.
    backends().pop().unwrap_or_else(|| unreachable!("the registry is empty"))
}
