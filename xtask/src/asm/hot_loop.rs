//! Innermost loops that multiply and add vectors, and what else they do.

use super::listing::{Function, Instruction};
use std::ops::Range;

/// An innermost loop with multiply-adds of vectors, counted by its instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct HotLoop {
    pub instructions: usize,
    pub multiply_adds: usize,
    /// Vectors read from memory, operands of arithmetic included.
    pub loads: usize,
    /// Numbers read from memory into all lanes.
    pub broadcasts: usize,
    /// Vectors read from or written to the stack.
    pub spills: usize,
    /// Ways out of the loop into a panic.
    pub panics: usize,
}

impl HotLoop {
    /// The hot loops of a function.
    pub fn find(function: &Function) -> Vec<HotLoop> {
        let code = &function.instructions;
        let back = |(end, jump): (usize, &Instruction)| {
            let start = function.position(jump.target()?)?;
            (start <= end).then_some(start..end + 1)
        };
        let loops: Vec<Range<usize>> = code.iter().enumerate().filter_map(back).collect();
        let holds = |outer: &Range<usize>, inner: &Range<usize>| {
            outer != inner && outer.start <= inner.start && inner.end <= outer.end
        };
        let innermost = loops.iter().filter(|outer| !loops.iter().any(|inner| holds(outer, inner)));
        innermost.map(|body| HotLoop::count(function, body)).filter(|hot| hot.multiply_adds > 0).collect()
    }

    fn count(function: &Function, body: &Range<usize>) -> HotLoop {
        let code = &function.instructions[body.clone()];
        let number = |is_one: &dyn Fn(&Instruction) -> bool| code.iter().filter(|i| is_one(i)).count();
        HotLoop {
            instructions: code.len(),
            multiply_adds: number(&|i| i.mnemonic.starts_with("vfmadd") && is_vector(i)),
            loads: number(&|i| is_vector(i) && reads_memory(i) && !is_broadcast(i)),
            broadcasts: number(&|i| is_broadcast(i) && reads_memory(i)),
            spills: number(&|i| is_vector(i) && touches_stack(function, i)),
            panics: number(&|i| i.target().is_some_and(|target| panics(function, body, target))),
        }
    }
}

/// Whether a whole vector register takes part.
fn is_vector(instruction: &Instruction) -> bool {
    let Instruction { mnemonic, operands, .. } = instruction;
    mnemonic.starts_with('v') && ["%xmm", "%ymm", "%zmm"].iter().any(|register| operands.contains(register))
}

fn is_broadcast(instruction: &Instruction) -> bool {
    instruction.mnemonic.starts_with("vbroadcast") || instruction.operands.contains("{1to")
}

/// Whether an operand other than the last, which is written, is in memory.
fn reads_memory(instruction: &Instruction) -> bool {
    instruction.operands.contains('(') && !instruction.operands.ends_with([')', '}'])
}

/// Whether an operand lies on the stack: by its pointer, or by the frame's where the function keeps one.
fn touches_stack(function: &Function, instruction: &Instruction) -> bool {
    let has_frame = function.instructions.iter().any(|i| i.mnemonic == "mov" && i.operands == "%rsp,%rbp");
    instruction.operands.contains("(%rsp") || (has_frame && instruction.operands.contains("(%rbp"))
}

/// Whether what follows at `target`, outside the loop, calls a panic before it jumps on or returns.
fn panics(function: &Function, body: &Range<usize>, target: u64) -> bool {
    let Some(first) = function.position(target).filter(|at| !body.contains(at)) else { return false };
    let straight = function.instructions[first..].iter().take_while(|i| i.target().is_none() && i.mnemonic != "ret");
    let mut symbols = straight.filter_map(|i| i.symbol.as_deref().filter(|_| i.mnemonic.starts_with("call")));
    symbols.next().is_some_and(|symbol| symbol.contains("core::panicking::") || symbol.contains("core::slice::index::"))
}
