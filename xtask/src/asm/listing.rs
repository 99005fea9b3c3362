//! What objdump prints, as functions and their instructions.

/// A function of the listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Its name, demangled.
    pub name: String,
    pub instructions: Vec<Instruction>,
}

/// An instruction.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    pub address: u64,
    pub mnemonic: String,
    pub operands: String,
    /// The symbol that the linker will put in.
    pub symbol: Option<String>,
}

impl Function {
    /// The functions of a listing that `wanted` picks by their names, from `objdump -dr -C --no-show-raw-insn`.
    pub fn read_all(listing: &str, wanted: impl Fn(&str) -> bool) -> Vec<Function> {
        let mut functions: Vec<Function> = Vec::new();
        let mut is_wanted = false;
        for line in listing.lines() {
            if let Some(name) = title(line) {
                is_wanted = wanted(name);
                if is_wanted {
                    functions.push(Function { name: name.to_owned(), instructions: Vec::new() });
                }
            } else if let Some(function) = functions.last_mut().filter(|_| is_wanted) {
                if let Some(symbol) = relocation(line) {
                    if let Some(last) = function.instructions.last_mut() {
                        last.symbol = Some(symbol.to_owned());
                    }
                } else {
                    function.instructions.extend(Instruction::read(line));
                }
            }
        }
        functions
    }

    /// Where in the function an address is.
    pub fn position(&self, address: u64) -> Option<usize> {
        self.instructions.binary_search_by_key(&address, |instruction| instruction.address).ok()
    }
}

impl Instruction {
    /// An instruction from its line: `  20d:\tvmovups (%r10),%zmm7`.
    fn read(line: &str) -> Option<Instruction> {
        let (address, code) = line.trim_start().split_once(":\t")?;
        let address = u64::from_str_radix(address, 16).ok()?;
        let (mnemonic, operands) = code.trim().split_once(char::is_whitespace).unwrap_or((code.trim(), ""));
        let operands = operands.trim().to_owned();
        Some(Instruction { address, mnemonic: mnemonic.to_owned(), operands, symbol: None })
    }

    /// Whether it calls a panic, and so is the last one to run.
    pub fn panics(&self) -> bool {
        let is_panic = |symbol: &str| symbol.contains("core::panicking::") || symbol.contains("core::slice::index::");
        self.mnemonic.starts_with("call") && self.symbol.as_deref().is_some_and(is_panic)
    }

    /// Where a jump within the function goes.
    pub fn target(&self) -> Option<u64> {
        if !self.mnemonic.starts_with('j') {
            return None;
        }
        u64::from_str_radix(self.operands.split_whitespace().next()?, 16).ok()
    }
}

/// The name in a function's first line: `0000000000000000 <name>:`.
fn title(line: &str) -> Option<&str> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    address.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(name)
}

/// The symbol of a relocation: `\t\t\t20f: R_X86_64_PLT32\tsymbol-0x4`.
fn relocation(line: &str) -> Option<&str> {
    let (_, symbol) = line.split_once(": R_X86_64_")?;
    symbol.split_once('\t').map(|(_, symbol)| symbol)
}
