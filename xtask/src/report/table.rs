//! The table of everything: a row a record, in HTML that sorts and filters where scripts run and reads well without.

use super::measurement::Measurement;
use super::numbers::decimal;
use super::reproduce;
use maud::{Markup, html};

/// Titles of the columns, and whether they hold numbers.
const COLUMNS: [(&str, bool); 14] = [
    ("set", false),
    ("shape", false),
    ("layout", false),
    ("dtype", false),
    ("isa", false),
    ("threads", true),
    ("implementation", false),
    ("best ms", true),
    ("median ms", true),
    ("GFLOP/s", true),
    ("% of peak", true),
    ("error", true),
    ("run", true),
    ("command", false),
];

pub fn table(measurements: &[Measurement]) -> Markup {
    html! {
        div class="scroll" role="region" aria-label="All measurements" tabindex="0" {
            table id="everything" {
                thead {
                    tr {
                        @for (title, is_number) in COLUMNS {
                            th scope="col" class=[is_number.then_some("number")] { (title) }
                        }
                    }
                }
                tbody {
                    @for m in measurements { (row(m)) }
                }
            }
        }
    }
}

fn row(m: &Measurement) -> Markup {
    let machine = &m.record.run.machine;
    html! {
        tr {
            td { (m.record.set) }
            th scope="row" { (m.record.shape) }
            td { (m.record.layout) }
            td { (machine.dtype) }
            td { (machine.isa) }
            td { (machine.threads) }
            td { (m.implementation()) }
            @match &m.record.outcome {
                crate::record::Outcome::Timed { best_ms, median_ms, .. } => {
                    td { (milliseconds(*best_ms)) }
                    td { (milliseconds(*median_ms)) }
                    td { (decimal(m.gflops().unwrap_or_default())) }
                    td { (decimal(100.0 * m.share_of_peak().unwrap_or_default())) }
                    td { @if let Some(error) = m.record.error { (exponential(error)) } }
                }
                crate::record::Outcome::Refused { refused } => td class="refused" colspan="5" { "refused: " (refused) },
            }
            td { a href={ "#run-" (m.run + 1) } { (m.run + 1) } }
            td { details { summary { "show" } code { (reproduce::command(m)) } } }
        }
    }
}

/// As programs read it: the script sorts by it.
fn exponential(error: f64) -> String {
    if error == 0.0 { "0".to_owned() } else { format!("{error:.1e}") }
}

/// Four significant digits at least: from nanoseconds to seconds.
fn milliseconds(ms: f64) -> String {
    let digits = if ms >= 100.0 {
        1
    } else if ms >= 1.0 {
        3
    } else {
        6
    };
    format!("{ms:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_times_keep_their_digits() {
        assert_eq!([0.000152, 1.5, 12.34567, 1234.56].map(milliseconds), ["0.000152", "1.500", "12.346", "1234.6"]);
    }
}
