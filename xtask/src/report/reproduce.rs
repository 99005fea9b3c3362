//! The command that measures one record anew, ready for a shell.

use super::measurement::Measurement;

/// What to type in the repository.
pub fn command(m: &Measurement) -> String {
    let machine = &m.record.run.machine;
    let (name, threads) = (quoted(m.implementation()), machine.threads);
    let pass = if m.record.pass == "wgrad" { String::new() } else { format!(" --pass {}", quoted(&m.record.pass)) };
    if !m.is_ours() {
        let (set, layout) = (quoted(&m.record.set), quoted(&m.record.layout));
        return format!("cargo xtask peers --set {set} --only {name} --threads {threads} --layout {layout}{pass}");
    }
    format!(
        "cargo convgrad bench {} --backend {name} --isa {} --threads {threads} --layout {} --dtype {}{pass}",
        quoted(&m.record.shape),
        quoted(&machine.isa),
        quoted(&m.record.layout),
        quoted(&machine.dtype)
    )
}

/// A word as a POSIX shell reads it back: in single quotes unless it is harmless.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:+,=".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_shell_reads_each_word_back() {
        for word in ["direct", "im2col-gemm", r#"mb1ic1ih5oc1kh2n"a""#, "it's", "$HOME `x` \\ \"\n*", "", "<&>"] {
            let script = format!("printf %s {}", quoted(word));
            let printed = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell runs");
            assert_eq!(String::from_utf8_lossy(&printed.stdout), word, "{script}");
        }
        assert_eq!(quoted("avx512"), "avx512");
    }

    #[test]
    fn ours_are_benched_and_libraries_are_peers() {
        let all = fixture::measurements().newest;
        let of = |name: &str| command(all.iter().find(|m| m.implementation() == name).expect("the fixture has it"));
        assert_eq!(
            of("direct"),
            "cargo convgrad bench 'mb1ic1ih5oc1oh5kh1n\"image_5:k1\"' --backend direct --isa avx512 --threads 1 \
             --layout nchw --dtype f32"
        );
        assert!(of("winograd").ends_with(" --dtype f32 --pass forward"));
        assert_eq!(of("im2col-gemm"), "cargo xtask peers --set mobilenet --only im2col-gemm --threads 1 --layout nchw");
    }
}
