//! The README's lists against the code they describe: prose may not drift.

use crate::layering::ROOMS;

const README: &str = include_str!("../../README.md");

/// The lines after a heading, up to the next heading of any level.
fn section(heading: &str) -> impl Iterator<Item = &'static str> {
    let mut lines = README.lines().skip_while(move |&line| line != heading);
    assert_eq!(lines.next(), Some(heading), "README.md has no such heading");
    let mut in_code = false;
    lines.take_while(move |line| {
        in_code ^= line.starts_with("```");
        in_code || !line.starts_with('#')
    })
}

#[test]
fn the_table_of_backends_lists_the_registry() {
    let names = section("## Backends").filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let registry = convgrad::backends::<f32>();
    assert_eq!(names.collect::<Vec<_>>(), registry.iter().map(|backend| backend.name()).collect::<Vec<_>>());
}

#[test]
fn the_table_of_sets_lists_the_catalogue() {
    let rows = section("### Named sets").filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: Vec<_> =
        rows.map(|(name, rest)| (name, rest.split(" |").next().unwrap_or_default().to_owned())).collect();
    let sets = convgrad::catalog::sets().iter().map(|set| (set.name(), set.shapes().len().to_string()));
    assert_eq!(listed, sets.collect::<Vec<_>>());
}

#[test]
fn the_rooms_are_those_of_the_layering_check() {
    let mut lines = section("## Architecture").skip_while(|&line| line != "```text").skip(1);
    let rooms = lines.by_ref().take_while(|&line| line != "```").map(|line| {
        let names = line.split("  ").next().unwrap_or_default();
        names.split(", ").map(|file| file.strip_suffix(".rs").unwrap_or(file).replace('/', "::")).collect::<Vec<_>>()
    });
    // The front door and the programs stand outside the order: the first line and the last.
    let rooms: Vec<_> = rooms.collect();
    assert_eq!([rooms[0][0].as_str(), rooms[rooms.len() - 1][0].as_str()], ["lib", "bin::*"]);
    assert_eq!(rooms[1..rooms.len() - 1], ROOMS.iter().map(|line| line.to_vec()).collect::<Vec<_>>());
}

#[test]
fn the_commands_it_tells_exist() {
    let aliases = include_str!("../../.cargo/config.toml");
    for command in README.split("cargo ").skip(1).filter_map(|rest| rest.split([' ', '`', '\n']).next()) {
        let of_cargo = ["bench", "install", "run", "test"].contains(&command);
        assert!(of_cargo || aliases.contains(&format!("\n{command} = ")), "README.md tells `cargo {command}`");
    }
}
