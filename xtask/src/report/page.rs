//! The page: everything in one HTML file that needs no network and, but for sorting and filtering, no scripts.

use super::measurement::Conditions;
use super::measurements::Measurements;
use super::numbers::{count, decimal, percent, times};
use super::palette;
use super::picture::Picture;
use super::summary::{self, Beside, Refusals, SetSummary};
use super::table;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The pictures by section.
pub struct Pictures {
    pub rooflines: Vec<Picture>,
    pub heat_maps: Vec<Picture>,
    pub layers: Vec<Picture>,
    pub accuracy: Vec<Picture>,
}

/// The whole page.
pub fn page(measurements: &Measurements, pictures: &Pictures) -> String {
    let style = [include_str!("page.css"), &palette::dark_style()].concat();
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content="cargo xtask report";
                title { "convgrad: measurements" }
                style { (PreEscaped(style)) }
            }
            body {
                (header(measurements))
                main {
                    (in_short(measurements))
                    (figures("roofline", "How far from the machine's limit", ROOFLINE, &pictures.rooflines, html! {}))
                    (figures("kernels", "Kernel size by image size", KERNELS, &pictures.heat_maps, html! {
                        p { "No record of the set " code { "image" } ": measure it with " code { "cargo xtask bench" } "." }
                    }))
                    (by_set(measurements))
                    (libraries(measurements, &pictures.layers))
                    (figures("accuracy", "Accuracy", ACCURACY, &pictures.accuracy, html! {
                        p { "No record carries an error." }
                    }))
                    (refusals(measurements))
                    (reading())
                    section id="table" class="wide" {
                        h2 { "Everything" }
                        p {
                            "The newest record of each implementation on each shape, with the command that measures it \
                             anew. Times are those of one call."
                        }
                        (table::table(&measurements.newest))
                    }
                    (runs(measurements))
                }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    markup.into_string()
}

const ROOFLINE: &str = "Rates count nominal operations: two for each tap, channel pair and output position, padding \
    included, whatever a backend executes. One that leaves the padding out can therefore exceed the peak, and one whose \
    data stay in a cache can exceed the line of the memory below it.";

const KERNELS: &str = "One image of one channel, both square: no channels to compute over, only positions and taps. \
    On the smallest of these problems the cost of a call outweighs the computing. A margin of a few percent is noise.";

const ACCURACY: &str = "The distance of a result from one computed in double precision on the same operands: the \
    largest of its entries' errors, over the root mean square of the result. `cargo xtask peers` takes it before it times, of \
    large results on a sample of channels.";

fn header(measurements: &Measurements) -> Markup {
    let joined = |values: Vec<String>| values.join(", ");
    let versions = joined(measurements.distinct(|run| run.machine.version.clone()));
    let revisions = measurements.distinct(|run| run.revision.clone());
    let machines: Vec<String> = measurements.machines().into_iter().collect();
    html! {
        header {
            h1 { "convgrad " (versions) ": measurements" }
            p class="lead" {
                "The gradient of a convolution with respect to its weights: which backend is fastest where, and how far \
                 from what the machine allows."
            }
            nav aria-label="Sections" {
                ul {
                    @for (id, title) in SECTIONS { li { a href={ "#" (id) } { (title) } } }
                }
            }
            dl {
                dt { "Processor" } dd { (machines.join("; ")) }
                dt { "Instruction sets" } dd { (joined(measurements.distinct(|run| run.machine.isa.clone()))) }
                dt { "Measured" } dd { (joined(measurements.distinct(|run| day(&run.date)))) " (UTC)" }
                dt { "Compiler" } dd { (joined(measurements.distinct(|run| run.rustc.clone()))) }
                dt { "Revision" } dd { (joined(revisions.clone())) }
                dt { "Limits" }
                @for conditions in measurements.pictured() { dd { (limits(measurements, &conditions)) } }
                dt { "Measured by" }
                @for command in measurements.distinct(|run| run.command.clone()) { dd { code { (command) } } }
                dt { "Written by" } dd { code { "cargo xtask report" } }
            }
            @if machines.len() > 1 {
                p class="notice" {
                    strong { "Several machines. " }
                    "Times of different machines stand side by side here; compare only rows whose run has the same \
                     processor."
                }
            }
            @if revisions.len() > 1 {
                p class="notice" {
                    strong { "Several revisions. " }
                    "The newest record of each kind was taken, and they do not all measure the same code; the column \
                     " em { "run" } " says which."
                }
            }
        }
    }
}

/// Such as `1 thread, f32, avx512: 240 GFLOP/s of multiply-adds; reading L1 400, L2 200, L3 100, DRAM 25 GB/s`.
fn limits(measurements: &Measurements, conditions: &Conditions) -> String {
    let roofs = measurements.roofs(conditions);
    let levels: Vec<_> = roofs.levels.iter().map(|(name, gbs)| format!("{name} {}", decimal(*gbs))).collect();
    format!(
        "{}, {}, {}: {} GFLOP/s of multiply-adds; reading {} GB/s",
        count(conditions.threads, "thread"),
        conditions.dtype,
        conditions.isa,
        decimal(roofs.peak_gflops),
        levels.join(", ")
    )
}

const SECTIONS: [(&str, &str); 10] = [
    ("short", "In short"),
    ("roofline", "Roofline"),
    ("kernels", "Kernel sizes"),
    ("sets", "Sets"),
    ("libraries", "Libraries"),
    ("accuracy", "Accuracy"),
    ("refused", "Refused"),
    ("noise", "Noise"),
    ("table", "Everything"),
    ("runs", "Runs"),
];

/// The date of a point in time.
pub fn day(date: &str) -> String {
    date.split('T').next().unwrap_or_default().to_owned()
}

fn in_short(measurements: &Measurements) -> Markup {
    html! {
        section id="short" {
            h2 { "In short" }
            ul { @for sentence in summary::sentences(measurements) { li { (sentence) } } }
        }
    }
}

/// A section of pictures, or what to say when there are none.
fn figures(id: &str, title: &str, words: &str, pictures: &[Picture], none: Markup) -> Markup {
    html! {
        section id=(id) {
            h2 { (title) }
            p { (words) }
            @for picture in pictures { (figure(picture)) }
            @if pictures.is_empty() { (none) }
        }
    }
}

fn figure(picture: &Picture) -> Markup {
    html! {
        figure {
            div class="scroll" role="region" aria-label=(picture.title) tabindex="0" {
                (PreEscaped(picture.embedded()))
            }
            figcaption { (picture.description) }
        }
    }
}

fn number(text: impl AsRef<str>) -> Markup {
    html! { td class="number" { (text.as_ref()) } }
}

fn by_set(measurements: &Measurements) -> Markup {
    html! {
        section id="sets" {
            h2 { "Who is fastest, by set" }
            p { "Our backends among each other. Shares of the peak are those of the fastest backend on each shape." }
            @for conditions in measurements.conditions() {
                @let summaries = SetSummary::all(measurements, &conditions);
                @if !summaries.is_empty() {
                    h3 { (conditions.describe()) }
                    div class="scroll" role="region" aria-label={ "Sets, " (conditions.describe()) } tabindex="0" {
                        table {
                            thead { tr {
                                th scope="col" { "set" }
                                th scope="col" class="number" { "shapes" }
                                th scope="col" { "fastest" }
                                @for title in ["least", "median", "greatest"] {
                                    th scope="col" class="number" { (title) }
                                }
                            } }
                            tbody { @for summary in &summaries { tr {
                                th scope="row" { (summary.set) }
                                (number(summary.winners.len().to_string()))
                                td { (summary.wins()) }
                                @for share in summary.shares() { (number(percent(share))) }
                            } } }
                        }
                    }
                }
            }
        }
    }
}

fn libraries(measurements: &Measurements, pictures: &[Picture]) -> Markup {
    let beside = |conditions: &Conditions| Beside::all(measurements, conditions);
    let all: Vec<_> = measurements.conditions();
    let all: Vec<Beside> = all.iter().flat_map(beside).collect();
    html! {
        section id="libraries" {
            h2 { "Beside libraries" }
            @if all.is_empty() {
                p { "No record of a library: run " code { "cargo xtask peers" } " for a comparison." }
            } @else {
                p {
                    "The library's time over that of our first choice, both of one run, taken in turns: above 1 ours is \
                     faster. Means are geometric."
                }
                div class="scroll" role="region" aria-label="Ratios to libraries" tabindex="0" {
                    table {
                        thead { tr {
                            @for title in ["library", "set", "conditions"] { th scope="col" { (title) } }
                            @for title in ["shapes", "mean", "worst"] { th scope="col" class="number" { (title) } }
                            th scope="col" { "worst on" }
                        } }
                        tbody { @for beside in &all {
                            @let ratios = beside.ratios();
                            tr {
                                th scope="row" { (beside.library.implementation()) }
                                td { (beside.set) }
                                td { (beside.conditions.describe()) }
                                (number(ratios.count.to_string()))
                                (number(format!("{}×", times(ratios.mean))))
                                (number(format!("{}×", times(ratios.worst.ratio()))))
                                td { (ratios.worst.library.name) }
                            }
                        } }
                    }
                }
            }
            @for picture in pictures { (figure(picture)) }
        }
    }
}

fn refusals(measurements: &Measurements) -> Markup {
    let all = Refusals::all(measurements);
    html! {
        section id="refused" {
            h2 { "Refused" }
            @if all.is_empty() {
                p { "Nothing: every implementation computed every shape it was given." }
            } @else {
                p { "An implementation that cannot compute a shape, or not correctly, is not timed on it." }
                ul { @for refusals in &all { li {
                    strong { (refusals.implementation) } ": " (refusals.reason)
                    details {
                        summary { (count(refusals.shapes().len(), "shape")) }
                        ul { @for shape in refusals.shapes() { li { code { (shape) } } } }
                    }
                } } }
            }
        }
    }
}

fn reading() -> Markup {
    html! {
        section id="noise" {
            h2 { "How to read noise" }
            p {
                "Rates come from the best sample of each implementation: others on the machine can only lengthen a call. \
                 The median beside it says how quiet the machine was; where it exceeds the best by more than a tenth, take \
                 the row as rough."
            }
            p {
                "A share of the peak relates two figures of one run, so that a slower clock lowers both. Times of \
                 different runs may differ by several percent without any change of the code: to tell whether a change \
                 made something slower, " code { "cargo xtask compare" } " measures two revisions in turns and says how \
                 large a difference must be to count."
            }
        }
    }
}

fn runs(measurements: &Measurements) -> Markup {
    html! {
        section id="runs" class="wide" {
            h2 { "Runs" }
            p { "Each measured the peak of multiply-adds and the bandwidths of reading itself, with all its threads." }
            div class="scroll" role="region" aria-label="Runs" tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" class="number" { "run" }
                        @for title in ["began (UTC)", "revision", "processor", "isa", "dtype"] { th scope="col" { (title) } }
                        @for title in ["threads", "GFLOP/s", "L1 GB/s", "L2 GB/s", "L3 GB/s", "DRAM GB/s"] {
                            th scope="col" class="number" { (title) }
                        }
                        @for title in ["compiler", "command"] { th scope="col" { (title) } }
                    } }
                    tbody { @for (i, run) in measurements.runs.iter().enumerate() {
                        @let machine = &run.machine;
                        tr id={ "run-" (i + 1) } {
                            th scope="row" class="number" { (i + 1) }
                            td { (run.date) }
                            td { (run.revision) }
                            td { (machine.cpu) ", " (machine.cores) " cores" }
                            td { (machine.isa) }
                            td { (machine.dtype) }
                            (number(machine.threads.to_string()))
                            @for value in [machine.peak_gflops, machine.l1_gbs, machine.l2_gbs, machine.l3_gbs, machine.dram_gbs] {
                                (number(decimal(value)))
                            }
                            td { (run.rustc) }
                            td { code { (run.command) } }
                        }
                    } }
                }
            }
        }
    }
}
