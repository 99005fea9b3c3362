//! Innermost loops that multiply and add vectors, and what else they do.

use super::innermost::{Body, innermost};
use super::listing::{Function, Instruction};

/// An innermost loop with multiply-adds of vectors, counted by its instructions.
#[derive(Debug, Clone, PartialEq)]
pub struct HotLoop {
    pub instructions: usize,
    pub multiply_adds: usize,
    /// Vectors read from memory, operands of arithmetic included.
    pub loads: usize,
    /// Numbers read from memory into all lanes.
    pub broadcasts: usize,
    /// Vectors read from the stack by a loop that writes none there: constants for which there was no register.
    pub constants: usize,
    /// Vectors written to the stack, or read from it by a loop that writes some.
    pub spills: usize,
    /// Ways out of the loop into a panic.
    pub panics: usize,
}

impl HotLoop {
    /// The hot loops of a function.
    pub fn find(function: &Function) -> Vec<HotLoop> {
        let loops = innermost(function);
        loops.iter().map(|body| HotLoop::count(function, body)).filter(|hot| hot.multiply_adds > 0).collect()
    }

    fn count(function: &Function, body: &Body) -> HotLoop {
        let code: Vec<&Instruction> = body.iter().map(|&position| &function.instructions[position]).collect();
        let on_stack = |i: &&Instruction| is_vector(i) && touches_stack(function, i);
        let accesses = code.iter().copied().filter(on_stack).count();
        let writes = code.iter().copied().filter(on_stack).any(|i| !reads_memory(i));
        let number = |is_one: &dyn Fn(&Instruction) -> bool| code.iter().filter(|i| is_one(i)).count();
        HotLoop {
            instructions: code.len(),
            multiply_adds: number(&|i| i.mnemonic.starts_with("vfmadd") && is_vector(i)),
            loads: number(&|i| is_vector(i) && reads_memory(i) && !is_broadcast(i)),
            broadcasts: number(&|i| is_broadcast(i) && reads_memory(i)),
            constants: if writes { 0 } else { accesses },
            spills: if writes { accesses } else { 0 },
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

/// Whether an operand other than the last, which is written, perhaps under a mask, is in memory.
fn reads_memory(instruction: &Instruction) -> bool {
    let operands = instruction.operands.split("{%k").next().unwrap_or_default();
    operands.contains('(') && !operands.ends_with(')')
}

/// Whether an operand lies on the stack: by its pointer, or by the frame's where the function keeps one.
fn touches_stack(function: &Function, instruction: &Instruction) -> bool {
    let has_frame = function.instructions.iter().any(|i| i.mnemonic == "mov" && i.operands == "%rsp,%rbp");
    instruction.operands.contains("(%rsp") || (has_frame && instruction.operands.contains("(%rbp"))
}

/// Whether what follows at `target`, outside the loop, calls a panic before it jumps on or returns.
fn panics(function: &Function, body: &Body, target: u64) -> bool {
    let Some(first) = function.position(target).filter(|at| !body.contains(at)) else { return false };
    let straight = function.instructions[first..].iter().take_while(|i| i.target().is_none() && i.mnemonic != "ret");
    straight.into_iter().find(|i| i.mnemonic.starts_with("call")).is_some_and(Instruction::panics)
}
