//! `cargo xtask asm`: whether the compiler kept the kernels' sums in registers.
//!
//! A micro-kernel is fast only if its innermost loop is multiply-adds, loads and nothing else. The compiler promises
//! nothing of the kind: a sum too many, or a loop of unknown length around the sums, and they are stored and read again at
//! every step, at a quarter of the speed and with the same result. So the library is compiled and disassembled, and the
//! innermost loops of every kernel are read. The v0 form of symbols tells kernels apart, down to their tile.
//!
//! Of a hot loop is demanded that
//!
//! 1. it writes no vector to the stack: what it would read again are sums;
//! 2. it reads [few](MULTIPLY_ADDS_OF_CONSTANT) from there: with 16 registers the masks of a sliding kernel have not always
//!    one, and are operands in memory, which cost a load and no more;
//! 3. it has no way out into a panic: bounds are checked once for all streams of a step, by the comparison that ends the
//!    loop.

mod hot_loop;
mod innermost;
mod listing;
#[cfg(test)]
mod tests;

use crate::process;
use anyhow::{Context, Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use hot_loop::HotLoop;
use listing::Function;
use std::path::Path;
use std::process::ExitCode;

/// Options of `cargo xtask asm`.
#[derive(clap::Args)]
pub struct Options {
    /// Print the loops of these kernels only, such as `OuterTile`; all are checked
    #[arg(long, value_name = "NAME")]
    kernel: Option<String>,
}

/// Multiply-adds there must be for each constant read from the stack. On AVX2 sliding tiles with up to two constants for
/// seven of them measured as fast on images as tiles without any, 3x3 much faster on a depthwise layer. With one for each,
/// as 1x12 would have, there are two loads for each multiply-add.
const MULTIPLY_ADDS_OF_CONSTANT: usize = 3;

/// Loops that may do what others may not: a part of their [title](Kernel::title), and the reason.
const EXCEPTIONS: [(&str, &str); 12] = [
    ("Transformed<", "a tile between the two passes of its map is more vectors than there are registers"),
    ("TransformedWeights<", "the same, with a check for each point it stores, once for all tiles"),
    ("forward::Outputs<", "the same, with a check for each point it loads"),
    (
        "SumChannels<f32, 1, 1>",
        "a single tile left over: a check where a block of channels begins; sums stay in registers",
    ),
    ("SumChannels<f64, 1, 1>", "the same"),
    ("Gradient<", "a tile between the two passes, once for all tiles of a pair of channels"),
    ("avx2 Transform<", "the points of a Fourier transform with their factors are more than sixteen registers hold"),
    ("avx512 Transform<", "a check for each row of its points; vectors stay in registers"),
    (" MultiplyAdd<", "a check for each row of spectra; vectors stay in registers"),
    (", 4, 1, 1, 1, 1>", "one row of taps: a check where a row of outputs ends; vectors stay in registers"),
    (", 5, 1, 1, 1, 1>", "the same"),
    (", 6, 1, 1, 1, 1>", "the same"),
];

/// A kernel compiled for an instruction set.
#[derive(Debug, PartialEq)]
struct Kernel {
    isa: &'static str,
    /// As in `OuterTile<f32, 2, 8>`: the number type, the vectors, and the vectors or numbers of the other operand.
    name: String,
}

impl Kernel {
    /// What pulp's function of this name runs, if it is a kernel of this crate.
    fn of(function: &str) -> Option<Kernel> {
        let isa = [("::v3::", "avx2"), ("::v4::", "avx512")].into_iter().find(|(part, _)| function.contains(part))?.1;
        let (_, path) = function.split_once("::vectorize::Impl<convgrad::simd::")?;
        let (_, name) = path.split_once("::")?;
        let (kernel, arguments) = name.split_once('<')?;
        Some(Kernel { isa, name: format!("{kernel}<{}>", arguments.split('>').next()?) })
    }

    fn title(&self) -> String {
        format!("{} {}", self.isa, self.name)
    }
}

/// Compiles, disassembles, prints a line for each hot loop, and fails on those that keep vectors on the stack or panic.
pub fn run(root: &Path, options: &Options) -> Result<ExitCode> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the hot loops can be read on x86-64 only: run `cargo xtask asm` there");
    }
    let functions = Function::read_all(&disassembly(root)?, |name| Kernel::of(name).is_some());
    let mut loops = Vec::new();
    for function in &functions {
        let kernel = Kernel::of(&function.name).context("functions are picked by their kernels")?;
        loops.extend(HotLoop::find(function).into_iter().map(|hot| (kernel.title(), hot)));
    }
    if loops.is_empty() {
        bail!("no kernel has a hot loop: has pulp changed the names of its functions, or the crate its kernels?");
    }
    loops.sort_by(|(a, _), (b, _)| a.cmp(b));
    print(loops.iter().filter(|(title, _)| options.kernel.as_ref().is_none_or(|name| title.contains(name))));
    let faults: Vec<String> = loops.iter().filter_map(|(title, hot)| fault(title, hot)).collect();
    println!("{} hot loops in {} kernels, {} at fault", loops.len(), functions.len(), faults.len());
    for fault in &faults {
        eprintln!("{fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The library's machine code. It has a target directory of its own, for its symbols are not those of other builds.
fn disassembly(root: &Path) -> Result<String> {
    let directory = root.join("target/asm");
    let mut cargo = process::cargo(root);
    cargo.args(["rustc", "--release", "--package", "convgrad", "--lib", "--target-dir"]).arg(&directory);
    process::run(cargo.args(["--", "-C", "symbol-mangling-version=v0"]))?;
    let mut objdump = process::program("objdump", root);
    objdump.args(["-dr", "-C", "--no-show-raw-insn"]).arg(directory.join("release/libconvgrad.rlib"));
    process::output(&mut objdump).context("objdump disassembles: install binutils")
}

fn print<'a>(loops: impl Iterator<Item = &'a (String, HotLoop)>) {
    let mut table = Table::new();
    let titles = ["kernel", "multiply-adds", "loads", "broadcasts", "instructions", "constants", "spills", "panics"];
    table.load_style(presets::NOTHING).set_header(titles);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for (title, hot) in loops {
        let HotLoop { instructions, multiply_adds, loads, broadcasts, constants, spills, panics } = hot;
        let counts = [multiply_adds, loads, broadcasts, instructions, constants, spills, panics].map(usize::to_string);
        table.add_row([title.clone()].into_iter().chain(counts));
    }
    println!("{table}");
}

/// What is wrong with a loop, unless that is excepted.
fn fault(title: &str, hot: &HotLoop) -> Option<String> {
    let HotLoop { constants, spills, panics, multiply_adds, .. } = hot;
    let excepted = EXCEPTIONS.iter().any(|(part, _)| title.contains(part));
    let few_constants = constants * MULTIPLY_ADDS_OF_CONSTANT <= *multiply_adds;
    let at_fault = (*spills > 0 || *panics > 0 || !few_constants) && !excepted;
    at_fault.then(|| {
        format!(
            "{title}: its loop of {multiply_adds} multiply-adds has {spills} vectors and {constants} constants on the stack, \
             and {panics} panics"
        )
    })
}
