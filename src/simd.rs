//! Vectors of numbers: the only file that knows lanes and instruction sets.
//!
//! [`Isa`] is an instruction set this processor has, proven when the value is made; [`Lane`] is the arithmetic kernels
//! need, for `f32` and `f64` alike, on top of pulp. A kernel is a [`pulp::WithSimd`] struct whose `with_simd` is
//! `#[inline(always)]`; handed to [`Isa::run`] it becomes one function compiled for that instruction set.

pub(crate) mod channels;
pub(crate) mod correlate;
pub(crate) mod depthwise;
pub(crate) mod dot;
pub(crate) mod fourier;
pub(crate) mod grouped;
pub(crate) mod multiply;
pub(crate) mod outer;
pub(crate) mod planar;
pub(crate) mod shift;
pub(crate) mod slide;
pub(crate) mod tile;
pub(crate) mod toom;
pub(crate) mod totals;
pub(crate) mod transpose;
pub(crate) mod walk;
pub(crate) mod winograd;

use crate::error::Error;
use pulp::bytemuck::cast;
use pulp::{Simd, WithSimd};
use std::fmt;
use std::ops::Range;

/// An instruction set of this processor.
#[derive(Clone, Copy)]
pub struct Isa(Set);

#[derive(Clone, Copy)]
enum Set {
    Scalar,
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx2(pulp::x86::V3),
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Avx512(pulp::x86::V4),
    /// NEON, wasm: whatever pulp finds elsewhere.
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
    Native(pulp::Arch),
}

impl Isa {
    /// All instruction sets this processor has, from the plainest to the widest. Never empty.
    pub fn available() -> Vec<Isa> {
        let mut sets = vec![Isa::SCALAR];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            sets.extend(pulp::x86::V3::try_new().map(|simd| Isa(Set::Avx2(simd))));
            sets.extend(pulp::x86::V4::try_new().map(|simd| Isa(Set::Avx512(simd))));
        }
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        sets.push(Isa(Set::Native(pulp::Arch::new())));
        sets
    }

    /// One number at a time; every processor has it.
    pub const SCALAR: Isa = Isa(Set::Scalar);

    /// The widest instruction set this processor has.
    pub fn best() -> Isa {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        {
            if let Some(simd) = pulp::x86::V4::try_new() {
                return Isa(Set::Avx512(simd));
            }
            if let Some(simd) = pulp::x86::V3::try_new() {
                return Isa(Set::Avx2(simd));
            }
            Isa::SCALAR
        }
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        Isa(Set::Native(pulp::Arch::new()))
    }

    /// The instruction set of this name, if this processor has it.
    ///
    /// # Errors
    /// [`Error::UnknownIsa`] lists the names there are.
    pub fn by_name(name: &str) -> Result<Isa, Error> {
        Isa::available().into_iter().find(|isa| isa.name() == name).ok_or_else(|| Error::UnknownIsa {
            name: name.to_owned(),
            known: Isa::available().iter().map(Isa::name).collect::<Vec<_>>().join(", "),
        })
    }

    /// `scalar`, `avx2`, `avx512`, or `native` for what pulp finds on other processors.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Set::Scalar => "scalar",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Set::Avx2(_) => "avx2",
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Set::Avx512(_) => "avx512",
            #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
            Set::Native(_) => "native",
        }
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline(always)]
    pub(crate) fn run<K: WithSimd>(self, kernel: K) -> K::Output {
        match self.0 {
            Set::Scalar => Simd::vectorize(pulp::Scalar, kernel),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Set::Avx2(simd) => Simd::vectorize(simd, kernel),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Set::Avx512(simd) => Simd::vectorize(simd, kernel),
            #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
            Set::Native(arch) => arch.dispatch(kernel),
        }
    }

    /// Lanes of a vector of `T`, and the vector registers there are.
    pub(crate) fn registers<T: Lane>(self) -> Registers {
        struct Query<T>(std::marker::PhantomData<T>);
        impl<T: Lane> WithSimd for Query<T> {
            type Output = Registers;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Registers {
                Registers { lanes: T::lanes::<S>(), count: S::REGISTER_COUNT }
            }
        }
        self.run(Query::<T>(std::marker::PhantomData))
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Isa {
    fn eq(&self, other: &Isa) -> bool {
        self.name() == other.name()
    }
}

/// The register file a kernel can tile for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers {
    /// Numbers in one vector.
    pub lanes: usize,
    /// Vector registers.
    pub count: usize,
}

/// A number that has vectors on every instruction set.
pub trait Lane: Copy + Default + PartialEq + Send + Sync + pulp::bytemuck::Pod {
    /// A vector of `S::lanes` numbers.
    type Vector<S: Simd>: Copy + Send + Sync + pulp::bytemuck::Pod;

    /// Some of the lanes of a vector.
    type Mask<S: Simd>: Copy + Send + Sync;

    /// Numbers in a vector.
    fn lanes<S: Simd>() -> usize;

    /// The nearest number to a constant.
    fn constant(value: f64) -> Self;

    /// The lanes of a range.
    fn mask<S: Simd>(simd: S, lanes: Range<usize>) -> Self::Mask<S>;

    /// The numbers in some lanes, and zeros in all others.
    fn keep<S: Simd>(simd: S, mask: Self::Mask<S>, a: Self::Vector<S>) -> Self::Vector<S>;

    /// The numbers of a slice that is shorter than a vector, and zeros in all other lanes.
    fn partial<S: Simd>(simd: S, slice: &[Self]) -> Self::Vector<S>;

    /// The number in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Vector<S>;

    /// `a * b + c`, fused wherever the instruction set fuses.
    fn mul_add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>, c: Self::Vector<S>) -> Self::Vector<S>;

    /// `a + b`.
    fn add<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a - b`.
    fn subtract<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `a * b`.
    fn multiply<S: Simd>(simd: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;

    /// `-a`.
    fn negate<S: Simd>(simd: S, a: Self::Vector<S>) -> Self::Vector<S>;

    /// The sum of the lanes, in an order fixed by the instruction set.
    fn reduce_sum<S: Simd>(simd: S, a: Self::Vector<S>) -> Self;

    /// Four vectors as runs of four numbers, one of each vector, of the same lane; vectors have four lanes or more.
    fn interleave<S: Simd>(simd: S, rows: [Self::Vector<S>; 4]) -> [Self::Vector<S>; 4];

    /// Which of the interleaved runs is that of a lane, as pulp 0.22 orders them.
    fn run_of_lane(lane: usize, lanes: usize) -> usize;

    /// Of four vectors of four runs of four numbers each, the `i`-th runs of all as vector `i`; none where vectors are not of
    /// four such runs, or pulp has no way to do it for the instruction set.
    fn transpose_runs<S: Simd>(_: S, _: [Self::Vector<S>; 4]) -> Option<[Self::Vector<S>; 4]> {
        None
    }

    /// The numbers of four vectors, by fours.
    fn as_runs<V: pulp::bytemuck::Pod>(vectors: &[V; 4]) -> &[[Self; 4]];

    /// A slice as vectors, and the numbers left over. Any alignment is fine.
    fn as_vectors<S: Simd>(slice: &[Self]) -> (&[Self::Vector<S>], &[Self]);

    /// A mutable slice as vectors, and the numbers left over.
    fn as_vectors_mut<S: Simd>(slice: &mut [Self]) -> (&mut [Self::Vector<S>], &mut [Self]);
}

macro_rules! lane {
    ($t:ty, $vector:ident, $mask:ident, $index:ty, $between:ident, $select:ident, $partial:ident, $lanes:ident, $splat:ident, $mul_add:ident, $add:ident, $subtract:ident, $multiply:ident, $negate:ident, $reduce:ident, $interleave:ident, $run_of_lane:expr, $as:ident, $as_mut:ident, {$($more:item)*}) => {
        impl Lane for $t {
            type Vector<S: Simd> = S::$vector;
            type Mask<S: Simd> = S::$mask;

            #[inline(always)]
            fn mask<S: Simd>(simd: S, lanes: Range<usize>) -> S::$mask {
                simd.$between(lanes.start as $index, lanes.end as $index).mask()
            }

            #[inline(always)]
            fn keep<S: Simd>(simd: S, mask: S::$mask, a: S::$vector) -> S::$vector {
                simd.$select(mask, a, simd.$splat(0.0))
            }

            #[inline(always)]
            fn partial<S: Simd>(simd: S, slice: &[$t]) -> S::$vector {
                simd.$partial(slice)
            }

            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }

            #[inline(always)]
            fn constant(value: f64) -> $t {
                value as $t
            }

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: $t) -> S::$vector {
                simd.$splat(value)
            }

            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$vector, b: S::$vector, c: S::$vector) -> S::$vector {
                simd.$mul_add(a, b, c)
            }

            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$add(a, b)
            }

            #[inline(always)]
            fn subtract<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$subtract(a, b)
            }

            #[inline(always)]
            fn multiply<S: Simd>(simd: S, a: S::$vector, b: S::$vector) -> S::$vector {
                simd.$multiply(a, b)
            }

            #[inline(always)]
            fn negate<S: Simd>(simd: S, a: S::$vector) -> S::$vector {
                simd.$negate(a)
            }

            #[inline(always)]
            fn reduce_sum<S: Simd>(simd: S, a: S::$vector) -> $t {
                simd.$reduce(a)
            }

            #[inline(always)]
            fn interleave<S: Simd>(simd: S, rows: [S::$vector; 4]) -> [S::$vector; 4] {
                simd.$interleave(rows)
            }

            #[inline(always)]
            fn run_of_lane(lane: usize, lanes: usize) -> usize {
                $run_of_lane(lane, lanes)
            }

            #[inline(always)]
            fn as_runs<V: pulp::bytemuck::Pod>(vectors: &[V; 4]) -> &[[$t; 4]] {
                pulp::bytemuck::cast_slice(vectors)
            }

            #[inline(always)]
            fn as_vectors<S: Simd>(slice: &[$t]) -> (&[S::$vector], &[$t]) {
                S::$as(slice)
            }

            #[inline(always)]
            fn as_vectors_mut<S: Simd>(slice: &mut [$t]) -> (&mut [S::$vector], &mut [$t]) {
                S::$as_mut(slice)
            }

            $($more)*
        }
    };
}

/// Vectors of 128-bit quarters, each transposed on its own: vector `i` holds lanes `i, 4 + i, 8 + i, ...`.
#[inline(always)]
fn transposed_quarters(lane: usize, lanes: usize) -> usize {
    lane % 4 * (lanes / 4) + lane / 4
}

/// Of eight lanes, the vectors hold lanes 0 and 2, 1 and 3, 4 and 6, 5 and 7; of four, one each.
#[inline(always)]
fn interleaved_halves(lane: usize, lanes: usize) -> usize {
    if lanes < 8 { lane } else { (lane % 2 + lane / 4 * 2) * 2 + lane / 2 % 2 }
}

// pulp's `_e` form leaves the choice of fusing to the instruction set; without hardware FMA the other form would call libm.
lane!(
    f32,
    f32s,
    m32s,
    u32,
    mask_between_m32s,
    select_f32s,
    partial_load_f32s,
    F32_LANES,
    splat_f32s,
    mul_add_e_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    neg_f32s,
    reduce_sum_f32s,
    deinterleave_shfl_f32s,
    transposed_quarters,
    as_simd_f32s,
    as_mut_simd_f32s,
    {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        #[inline(always)]
        fn transpose_runs<S: Simd>(simd: S, rows: [S::f32s; 4]) -> Option<[S::f32s; 4]> {
            // Known when the kernel is compiled.
            let simd = *(&simd as &dyn std::any::Any).downcast_ref::<pulp::x86::V4>()?;
            let even = |a, b| simd.avx512f._mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let odd = |a, b| simd.avx512f._mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            let [a, b, c, d] = [cast(rows[0]), cast(rows[1]), cast(rows[2]), cast(rows[3])];
            let (ab, cd) = ([even(a, b), odd(a, b)], [even(c, d), odd(c, d)]);
            Some([cast(even(ab[0], cd[0])), cast(even(ab[1], cd[1])), cast(odd(ab[0], cd[0])), cast(odd(ab[1], cd[1]))])
        }
    }
);
lane!(
    f64,
    f64s,
    m64s,
    u64,
    mask_between_m64s,
    select_f64s,
    partial_load_f64s,
    F64_LANES,
    splat_f64s,
    mul_add_e_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    neg_f64s,
    reduce_sum_f64s,
    interleave_shfl_f64s,
    interleaved_halves,
    as_simd_f64s,
    as_mut_simd_f64s,
    {}
);
