//! Numbers for people: three digits, as few zeros as possible.

/// Three significant digits, or all of the whole part.
pub fn decimal(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    // Where the third digit stands, after rounding to it: 9.999 is 10.0.
    let rounded: f64 = format!("{value:.2e}").parse().expect("it was printed as a number");
    let digits = (2 - rounded.abs().log10().floor() as i32).max(0) as usize;
    format!("{value:.digits$}")
}

/// A share of 1 as a percentage, whole from ten on.
pub fn percent(share: f64) -> String {
    format!("{}\u{a0}%", hundredths(share))
}

/// The same without its sign.
pub fn hundredths(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = if percent < 0.095 { 2 } else { usize::from(percent < 9.95) };
    format!("{percent:.digits$}")
}

/// How many times as fast.
pub fn times(ratio: f64) -> String {
    let digits = if ratio < 9.995 { 2 } else { usize::from(ratio < 99.95) };
    format!("{ratio:.digits$}")
}

/// A factor with this many decimals and a power of ten; the factor 1 is left out where it has none.
pub fn scientific(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$e}");
    let (factor, exponent) = text.split_once('e').expect("the format has an exponent");
    let raised = exponent.chars().map(|c| c.to_digit(10).map_or('⁻', |digit| RAISED[digit as usize]));
    let power: String = ['1', '0'].into_iter().chain(raised).collect();
    if factor == "1" { power } else { format!("{factor}·{power}") }
}

const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];

/// An error in words: how large, not how exactly.
pub fn magnitude(error: f64) -> String {
    if error == 0.0 { "0".to_owned() } else { scientific(error, 1) }
}

/// A count with its noun.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_whatever_the_size() {
        let printed = [12345.6, 243.7, 25.31, 9.999, 1.4211, 0.5, 0.012345, 0.0].map(decimal);
        assert_eq!(printed, ["12346", "244", "25.3", "10.0", "1.42", "0.500", "0.0123", "0"]);
    }

    #[test]
    fn percentages_and_errors_are_short() {
        assert_eq!([1.05, 0.0996, 0.0994, 0.001].map(percent), ["105\u{a0}%", "10\u{a0}%", "9.9\u{a0}%", "0.1\u{a0}%"]);
        assert_eq!(hundredths(0.00032), "0.03");
        assert_eq!([0.867, 1.4211, 18.04, 250.4].map(times), ["0.87", "1.42", "18.0", "250"]);
        assert_eq!([0.0, 3.21e-7].map(magnitude), ["0", "3.2·10⁻⁷"]);
        assert_eq!([1, 2].map(|n| count(n, "thread")), ["1 thread", "2 threads"]);
    }
}
