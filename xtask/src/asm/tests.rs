//! Small listings, as objdump prints them, and what is read from them.

use super::hot_loop::HotLoop;
use super::listing::Function;
use super::{Kernel, fault};

const OUTER: &str = "<pulp::x86::v4::V4>::vectorize::imp::<<pulp::x86::v4::V4 as pulp::Simd>::vectorize::Impl<\
    convgrad::simd::outer::OuterTile<f32, 2, 1>>>";

/// A function with an outer loop from 4 on, and an inner one from 8 on whose body is given.
fn function(body: &str) -> Function {
    let listing = format!(
        "
convgrad.o:     file format elf64-x86-64

Disassembly of section .text.other:

0000000000000000 <other>:
   0:\tvfmadd231ps %zmm8,%zmm6,%zmm5
   6:\tjne    0 <other>

0000000000000000 <{OUTER}>:
   0:\tsub    $0x78,%rsp
   4:\tvxorps %xmm0,%xmm0,%xmm0
{body}
  80:\tjne    8 <{OUTER}+0x8>
  86:\tvmovups %zmm0,0x40(%rsp)
  8c:\tjne    4 <{OUTER}+0x4>
  90:\tret
  a0:\tmov    %rcx,%rdi
  a3:\tcall   a8 <{OUTER}+0xa8>
\t\t\ta4: R_X86_64_PLT32\tcore::panicking::panic_bounds_check-0x4
  b0:\tud2
"
    );
    let mut functions = Function::read_all(&listing, |name| Kernel::of(name).is_some());
    assert_eq!(functions.len(), 1, "{functions:?}");
    functions.remove(0)
}

const GOOD: &str = "   8:\tvmovups -0x40(%r10),%zmm6
  10:\tvmovups (%r10),%zmm7
  18:\tvbroadcastss -0x8(%r11,%r14,1),%zmm8
  20:\tvfmadd231ps %zmm8,%zmm6,%zmm5
  28:\tvfmadd231ps (%rbp){1to16},%zmm7,%zmm4
  30:\tadd    $0xc,%r14";

#[test]
fn a_good_loop_is_counted_and_outer_loops_and_other_functions_are_not() {
    let expected = HotLoop { instructions: 7, multiply_adds: 2, loads: 2, broadcasts: 2, spills: 0, panics: 0 };
    let found = HotLoop::find(&function(GOOD));
    assert_eq!(found, [expected]);
    assert_eq!(fault("avx512 OuterTile<f32, 2, 1>", &found[0]), None);
}

#[test]
fn vectors_on_the_stack_are_found_whichever_way_they_go() {
    for (line, loads) in [
        ("  38:\tvmovups %zmm5,0x140(%rsp)", 2),
        ("  38:\tvmovaps 0x40(%rsp),%ymm5", 3),
        ("  38:\tvfmadd231ps 0x40(%rsp,%rax,4),%zmm6,%zmm5", 3),
    ] {
        let found = HotLoop::find(&function(&format!("{GOOD}\n{line}")));
        assert_eq!((found.len(), found[0].spills, found[0].loads), (1, 1, loads), "{line}");
        assert!(fault("avx512 OuterTile<f32, 2, 1>", &found[0]).unwrap().contains("1 vectors on the stack"));
    }
    // A counter on the stack costs little.
    assert_eq!(HotLoop::find(&function(&format!("{GOOD}\n  38:\tadd    $0x1,0x40(%rsp)")))[0].spills, 0);
}

#[test]
fn the_base_pointer_is_the_stack_only_where_it_keeps_the_frame() {
    let body = format!("{GOOD}\n  38:\tvmovups %zmm5,-0x140(%rbp)");
    let mut function = function(&body);
    assert_eq!(HotLoop::find(&function)[0].spills, 0);
    function.instructions[0].mnemonic = "mov".to_owned();
    function.instructions[0].operands = "%rsp,%rbp".to_owned();
    assert_eq!(HotLoop::find(&function)[0].spills, 2, "the store, and the broadcast number of the loop itself");
}

#[test]
fn a_way_out_into_a_panic_is_found() {
    let found = HotLoop::find(&function(&format!("{GOOD}\n  38:\tjae    a0 <{OUTER}+0xa0>")));
    assert_eq!((found[0].panics, found[0].spills), (1, 0));
    assert!(fault("avx512 OuterTile<f32, 2, 1>", &found[0]).unwrap().contains("1 panics"));
    // An ordinary way out.
    assert_eq!(HotLoop::find(&function(&format!("{GOOD}\n  38:\tje     86 <{OUTER}+0x86>")))[0].panics, 0);
}

#[test]
fn kernels_are_known_by_their_symbols() {
    assert_eq!(Kernel::of(OUTER).unwrap().title(), "avx512 OuterTile<f32, 2, 1>");
    assert_eq!(Kernel::of(&OUTER.replace("v4", "v3")).unwrap().title(), "avx2 OuterTile<f32, 2, 1>");
    assert_eq!(Kernel::of("pulp::x86::v4::V4::vectorize::imp"), None);
    assert_eq!(Kernel::of("<convgrad::simd::outer::OuterTile<f32, 2, 1>>::new"), None);
}
