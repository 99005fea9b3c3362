//! What the processor is called.
//!
//! Times measured on one say little about another, so whatever keeps them keeps its name as well.

/// The processor as its maker calls it, or at least its architecture.
///
/// ```
/// assert!(!convgrad::measure::cpu_name().is_empty());
/// ```
pub fn cpu_name() -> String {
    let name = if cfg!(target_os = "linux") {
        std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text))
    } else if cfg!(target_os = "macos") {
        let sysctl = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output();
        sysctl.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        // Windows sets it for every program.
        std::env::var("PROCESSOR_IDENTIFIER").ok()
    };
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// The first processor's name in Linux's description, if it has one there.
fn model_name(cpuinfo: &str) -> Option<String> {
    let is_name = |key: &str| ["model name", "cpu model", "Model"].contains(&key.trim());
    let (_, name) = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| is_name(key))?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_first_processors() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 17\nmodel name\t: AMD  EPYC 9B45 \n\
            processor\t: 1\nmodel name\t: other\n";
        assert_eq!(model_name(text).unwrap(), "AMD EPYC 9B45");
        assert_eq!(model_name("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
        assert!(!cpu_name().is_empty());
    }
}
