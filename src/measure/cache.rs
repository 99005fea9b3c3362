//! The caches of this machine, as far as the operating system tells.
//!
//! Linux describes those of each processor in files of a word each; elsewhere, and where a level is not described, usual
//! sizes stand in.

use std::path::Path;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Where Linux describes the caches that the first processor reads through, a folder each.
const LINUX_FOLDER: &str = "/sys/devices/system/cpu/cpu0/cache";

/// A cache, for data or for data and instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// What it holds.
    pub bytes: usize,
    /// Processors that share it, hardware threads counted one by one.
    pub shared_by: usize,
}

/// The caches one processor reads through.
///
/// ```
/// let caches = convgrad::measure::Caches::of_this_machine();
/// assert!(caches.l1.bytes > 0 && caches.l3.shared_by > 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caches {
    /// The level next to the processor; 32 KiB if nothing is known.
    pub l1: Cache,
    /// The second; 512 KiB if nothing is known.
    pub l2: Cache,
    /// The third; [`l2`](Self::l2) on a processor without a third, 8 MiB shared by all if nothing is known.
    pub l3: Cache,
}

impl Caches {
    /// Those of the first processor.
    pub fn of_this_machine() -> Caches {
        Caches::described_in(Path::new(LINUX_FOLDER))
    }

    fn described_in(folder: &Path) -> Caches {
        let described: Vec<(u32, Cache)> = std::fs::read_dir(folder)
            .map(|entries| entries.filter_map(|entry| read_index(&entry.ok()?.path())).collect())
            .unwrap_or_default();
        let level = |level| described.iter().find(|(found, _)| *found == level).map(|(_, cache)| *cache);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Caches {
            l1: level(1).unwrap_or(Cache { bytes: 32 * KIB, shared_by: 1 }),
            l2: level(2).unwrap_or(Cache { bytes: 512 * KIB, shared_by: 1 }),
            l3: level(3).or(level(2)).unwrap_or(Cache { bytes: 8 * MIB, shared_by: processors }),
        }
    }
}

/// The level of a cache and the cache, unless it is one of instructions or its files cannot be understood.
fn read_index(folder: &Path) -> Option<(u32, Cache)> {
    let read = |name| std::fs::read_to_string(folder.join(name)).ok();
    if read("type")?.trim() == "Instruction" {
        return None;
    }
    let cache = Cache { bytes: size(&read("size")?)?, shared_by: list_len(&read("shared_cpu_list")?)? };
    Some((read("level")?.trim().parse().ok()?, cache))
}

/// A size as Linux writes it, `48K`.
fn size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (number, unit) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], KIB),
        'M' => (&text[..text.len() - 1], MIB),
        _ => (text, 1),
    };
    number.parse::<usize>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

/// How many processors a list as Linux writes it has, `0-3,8,10-11`.
fn list_len(text: &str) -> Option<usize> {
    text.trim().split(',').try_fold(0usize, |len, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        len.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn sizes_and_lists_read_as_linux_writes_them() {
        assert_eq!(size("48K\n"), Some(48 * KIB));
        assert_eq!(size("32768K"), Some(32 * MIB));
        assert_eq!(size("2M"), Some(2 * MIB));
        assert_eq!(size("512"), Some(512));
        for text in ["", "K", "0K", "4T", "-4K", "18446744073709551615K"] {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(list_len("0\n"), Some(1));
        assert_eq!(list_len("0-1"), Some(2));
        assert_eq!(list_len("0,64"), Some(2));
        assert_eq!(list_len("0-3,8,10-11"), Some(7));
        for text in ["", "a", "0-", "3-1", "0,,1", "0-18446744073709551615"] {
            assert_eq!(list_len(text), None, "{text}");
        }
    }

    /// The caches described by lines of `level type size shared_cpu_list`.
    fn described(lines: &[&str]) -> Caches {
        let folder = tempfile::tempdir().unwrap();
        for (i, line) in lines.iter().enumerate() {
            let index = folder.path().join(format!("index{i}"));
            fs::create_dir(&index).unwrap();
            for (name, word) in ["level", "type", "size", "shared_cpu_list"].iter().zip(line.split(' ')) {
                fs::write(index.join(name), format!("{word}\n")).unwrap();
            }
        }
        fs::write(folder.path().join("uevent"), "").unwrap();
        Caches::described_in(folder.path())
    }

    #[test]
    fn each_level_is_found_and_instructions_are_left_out() {
        let caches = described(&["1 Instruction 32K 0", "1 Data 48K 0", "3 Unified 32768K 0-7", "2 Unified 1024K 0,8"]);
        assert_eq!(caches.l1, Cache { bytes: 48 * KIB, shared_by: 1 });
        assert_eq!(caches.l2, Cache { bytes: MIB, shared_by: 2 });
        assert_eq!(caches.l3, Cache { bytes: 32 * MIB, shared_by: 8 });
    }

    #[test]
    fn levels_not_described_have_usual_sizes_or_the_level_before() {
        let nothing = described(&[]);
        assert_eq!([nothing.l1.bytes, nothing.l2.bytes, nothing.l3.bytes], [32 * KIB, 512 * KIB, 8 * MIB]);
        let two = described(&["1 Data 64K 0", "2 Unified 4096K 0-3", "3 Unified many 0-3"]);
        assert_eq!(two.l3, Cache { bytes: 4 * MIB, shared_by: 4 });
        assert_eq!(Caches::described_in(Path::new("/no/such/folder")), nothing);
    }
}
