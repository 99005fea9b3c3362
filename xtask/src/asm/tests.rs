//! Small listings, as objdump prints them, and what is read from them.

use super::hot_loop::HotLoop;
use super::listing::{Function, Instruction};
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
    let expected =
        HotLoop { instructions: 7, multiply_adds: 2, loads: 2, broadcasts: 2, constants: 0, spills: 0, panics: 0 };
    let found = HotLoop::find(&function(GOOD));
    assert_eq!(found, [expected]);
    assert_eq!(fault("avx512 OuterTile<f32, 2, 1>", &found[0]), None);
}

const STORE: &str = "  38:\tvmovups %zmm5,0x140(%rsp)";

#[test]
fn vectors_that_go_to_the_stack_are_spills_whichever_way_they_come_back() {
    for (line, loads) in [
        ("", 2),
        ("  40:\tvmovaps 0x40(%rsp),%ymm5", 3),
        ("  40:\tvmovups 0x40(%rsp),%zmm5{%k1}{z}", 3),
        ("  40:\tvfmadd231ps 0x40(%rsp,%rax,4),%zmm6,%zmm5", 3),
        ("  40:\tvmovups %zmm5,0x40(%rsp){%k1}", 2),
    ] {
        let found = HotLoop::find(&function(&format!("{GOOD}\n{STORE}\n{line}")));
        let spills = 1 + usize::from(!line.is_empty());
        assert_eq!((found.len(), found[0].spills, found[0].constants, found[0].loads), (1, spills, 0, loads), "{line}");
        let message = fault("avx512 OuterTile<f32, 2, 1>", &found[0]).unwrap();
        assert!(message.contains(&format!("{spills} vectors and 0 constants on the stack")), "{message}");
    }
    // A counter on the stack costs little.
    assert_eq!(HotLoop::find(&function(&format!("{GOOD}\n  38:\tadd    $0x1,0x40(%rsp)")))[0].spills, 0);
}

#[test]
fn what_is_only_read_from_the_stack_is_a_constant_of_which_there_may_be_few() {
    let mask = "  38:\tvandps 0x40(%rsp),%ymm4,%ymm5";
    let found = HotLoop::find(&function(&format!("{GOOD}\n{mask}")));
    assert_eq!((found[0].constants, found[0].spills, found[0].loads), (1, 0, 3));
    assert!(fault("avx2 SlideTile<f32, 1, 2>", &found[0]).unwrap().contains("1 constants"));
    let found = HotLoop::find(&function(&format!("{GOOD}\n{mask}\n  40:\tvfmadd231ps %ymm5,%ymm6,%ymm7")));
    assert_eq!((found[0].constants, found[0].multiply_adds), (1, 3));
    assert_eq!(fault("avx2 SlideTile<f32, 1, 3>", &found[0]), None);
}

#[test]
fn an_outer_loop_is_none_of_its_own_where_a_step_ends_early() {
    // The inner loop, from 8 on, is passed by; so is the end of the outer loop's step, which lies before its beginning.
    for target in ["4", "2"] {
        let body = format!("   5:\tvfmadd231ps %zmm8,%zmm6,%zmm5\n   6:\tje     {target} <{OUTER}+0x{target}>\n{GOOD}");
        let mut function = function(&body);
        let end_of_step = Instruction { address: 2, mnemonic: "inc".to_owned(), ..function.instructions[0].clone() };
        let entry = Instruction { address: 1, mnemonic: "jmp".to_owned(), operands: "4".to_owned(), symbol: None };
        function.instructions.splice(1..1, [entry, end_of_step]);
        let found = HotLoop::find(&function);
        assert_eq!((found.len(), found[0].multiply_adds), (1, 2), "{target}: {found:?}");
    }
}

#[test]
fn nothing_follows_a_panic() {
    // The panic of the listing is the last instruction but one; a jump behind it, back to the start, closes no loop.
    let mut function = function(&format!("{GOOD}\n  38:\tjae    a0 <{OUTER}+0xa0>"));
    let last = function.instructions.len() - 1;
    function.instructions[last].mnemonic = "jmp".to_owned();
    function.instructions[last].operands = "0".to_owned();
    assert_eq!(HotLoop::find(&function)[0].instructions, 8);
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
