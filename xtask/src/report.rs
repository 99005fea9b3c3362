//! `cargo xtask report`: pictures, tables and words from records of measurements.
//!
//! Nothing is measured here and nothing typed: whatever the page, `docs/performance.md` and the README say was computed
//! from the records, and the same records give the same files. All of them are made in memory and checked before the
//! first is written.

mod accuracy;
mod axis;
mod bars;
mod contest;
#[cfg(test)]
mod fixture;
mod front_page;
mod heatmap;
mod measurement;
mod measurements;
mod numbers;
mod page;
mod palette;
mod performance;
mod picture;
mod publish;
mod reproduce;
mod roofline;
mod statistics;
mod summary;
mod table;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
use measurements::Measurements;
use page::Pictures;
use picture::{Marks, Picture};
use publish::Output;
use std::fs;
use std::path::{Path, PathBuf};

/// Options of `cargo xtask report`.
#[derive(clap::Args)]
pub struct Options {
    /// Files of records; all of target/records if none is given
    #[arg(value_name = "RECORDS.jsonl")]
    files: Vec<PathBuf>,

    /// Take records of several machines together
    #[arg(long)]
    mixed: bool,
}

/// Writes docs/report.html, docs/performance.md, two pictures beside them, and the README's block.
pub fn run(options: &Options, root: &Path) -> Result<()> {
    let files = if options.files.is_empty() { recorded(&root.join("target/records"))? } else { options.files.clone() };
    let measurements = Measurements::read(&files, options.mixed)?;
    let readme = fs::read_to_string(root.join("README.md")).context("cannot read README.md")?;
    let outputs = outputs(&measurements, &readme)?.into_iter();
    let outputs: Vec<Output> = outputs.map(|(path, text)| Output { path: root.join(path), text }).collect();
    publish::publish(&outputs)?;
    for Output { path, text } in outputs {
        println!("{}: {} KiB", path.display(), text.len().div_ceil(1024));
    }
    Ok(())
}

/// Files of records in a directory, by name.
fn recorded(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut files: Vec<_> = paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "jsonl")).collect();
    if files.is_empty() {
        bail!("there are no records in {}: run `cargo xtask bench` first", directory.display());
    }
    files.sort();
    Ok(files)
}

/// Everything a report consists of: paths from the repository, and what belongs there.
fn outputs(measurements: &Measurements, readme: &str) -> Result<Vec<(String, String)>> {
    let pictures = pictures(measurements)?;
    let shown: Vec<(String, &Picture)> = front_pictures(&pictures);
    let links: Vec<(String, String)> =
        shown.iter().map(|(name, picture)| (picture.title.clone(), format!("docs/{name}.svg"))).collect();
    let mut outputs = vec![
        ("docs/report.html".to_owned(), page::page(measurements, &pictures)),
        ("docs/performance.md".to_owned(), performance::document(measurements)),
        ("README.md".to_owned(), front_page::renewed(readme, measurements, &links)?),
    ];
    outputs.extend(shown.iter().map(|(name, picture)| (format!("docs/{name}.svg"), picture.standalone())));
    Ok(outputs)
}

fn pictures(measurements: &Measurements) -> Result<Pictures> {
    let marks = Marks::new(Measurements::contestants(&measurements.newest));
    let mut pictures = Pictures { rooflines: vec![], heat_maps: vec![], layers: vec![], accuracy: vec![] };
    for conditions in measurements.pictured() {
        pictures.rooflines.push(roofline::picture(measurements, &marks, &conditions)?);
        pictures.heat_maps.extend(heatmap::by_winner(measurements, &marks, &conditions)?);
        pictures.heat_maps.extend(heatmap::by_share(measurements, &conditions)?);
    }
    for set in measurements.sets() {
        for conditions in measurements.pictured() {
            pictures.layers.extend(bars::picture(measurements, &marks, set, &conditions)?);
        }
    }
    for dtype in measurements.distinct(|run| run.machine.dtype.clone()) {
        pictures.accuracy.extend(accuracy::picture(measurements, &marks, &dtype)?);
    }
    Ok(pictures)
}

/// The two pictures of the README: the roofline, and the layers of a network beside libraries or, without any, the
/// heat map.
fn front_pictures(pictures: &Pictures) -> Vec<(String, &Picture)> {
    let layers = pictures.layers.iter().find(|picture| picture.title.starts_with("resnet50:"));
    let second = layers.or(pictures.layers.first()).or(pictures.heat_maps.last());
    let roofline = pictures.rooflines.first().map(|picture| ("roofline".to_owned(), picture));
    roofline.into_iter().chain(second.map(|picture| ("layers".to_owned(), picture))).collect()
}
