//! The ordered list of backends: adding one to the crate is one line here.

use crate::backend::Backend;
use crate::backend::direct::Direct;
use crate::backend::im2col::Im2col;
use crate::backend::naive::Naive;
use crate::element::Element;
use crate::error::Error;
use crate::simd::Isa;

/// All backends, the one to prefer first, the reference last, on the best instruction set of this processor.
///
/// ```
/// let names: Vec<_> = convgrad::backends::<f32>().iter().map(|b| b.name()).collect();
/// assert_eq!(names, ["direct", "im2col", "naive"]);
/// ```
pub fn backends<T: Element>() -> Vec<Box<dyn Backend<T>>> {
    backends_on(Isa::best())
}

/// All backends, on an instruction set of the caller's choice.
///
/// `im2col` leaves that choice to matrixmultiply and `naive` to the compiler; they are the same on every set.
pub fn backends_on<T: Element>(isa: Isa) -> Vec<Box<dyn Backend<T>>> {
    vec![Box::new(Direct::on(isa)), Box::new(Im2col), Box::new(Naive)]
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
pub fn by_name<T: Element>(name: &str) -> Result<Box<dyn Backend<T>>, Error> {
    let mut all = backends();
    match all.iter().position(|b| b.name() == name) {
        Some(i) => Ok(all.swap_remove(i)),
        None => Err(Error::UnknownBackend {
            name: name.to_owned(),
            known: all.iter().map(|b| b.name()).collect::<Vec<_>>().join(", "),
        }),
    }
}
