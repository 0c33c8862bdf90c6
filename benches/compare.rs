//! The table of the README: what a command notices of the wrapper it runs under, row by row, tried out here and now.
//!
//! `cargo bench --bench compare` prints it as Markdown; words after `--` choose rows that contain one of them, and
//! `HOOP_BENCH_BINARY` another `hoop`. A wrapper that is not installed is a column of dashes. The yardstick is the first
//! column: the command alone.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a program of its own, which starts others and owns them"
)]

mod rows;
mod support;

use std::io::{Write, stdout};
use std::process::ExitCode;

use crate::rows::{Cell, GROUPS, Row};
use crate::support::wrapper::Wrapper;
use crate::support::{Result, probe, process};

/// The columns after the first, with the words before a command.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("hoop", &["hoop", "run", "--"]),
    ("hoop --offline", &["hoop", "run", "--offline", "--"]),
    ("tini", &["tini", "--"]),
    ("dumb-init", &["dumb-init", "--"]),
    ("catatonit", &["catatonit", "--"]),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if probe::run(&arguments)? {
        return Ok(());
    }
    process::settle()?;
    let chosen = |name: &str| {
        let mut words = arguments.iter().skip(1).filter(|word| *word != "--bench");
        let none = words.clone().next().is_none();
        none || words.any(|word| name.contains(word.as_str()))
    };
    let place = tempfile::tempdir()?;
    let wrappers = Wrapper::those(WRAPPERS, place.path());
    let names = wrappers.iter().map(|wrapper| match wrapper {
        Ok(wrapper) => wrapper.name,
        Err(name) => name,
    });
    let mut out = stdout();
    writeln!(out, "| | {} |", names.collect::<Vec<_>>().join(" | "))?;
    writeln!(out, "|---|{}", "---|".repeat(wrappers.len()))?;
    for (title, rows) in GROUPS {
        let rows: Vec<_> = rows.iter().filter(|(name, _)| chosen(name)).collect();
        if !rows.is_empty() {
            writeln!(out, "| *{title}* |{}", " |".repeat(wrappers.len()))?;
        }
        for row in rows {
            let cells = wrappers
                .iter()
                .map(|wrapper| cell(row, wrapper.as_ref().ok()));
            let cells: Vec<_> = cells.collect();
            writeln!(out, "| {} | {} |", row.0, cells.join(" | "))?;
        }
    }
    Ok(())
}

/// Tries one thing with one wrapper.
fn cell((name, question): &Row, wrapper: Option<&Wrapper>) -> String {
    let Some(wrapper) = wrapper else {
        return Cell::Untested.to_string();
    };
    let answer = question(wrapper);
    process::sweep();
    match answer {
        Ok(cell) => cell.to_string(),
        Err(error) => {
            eprintln!("compare: {name}, {}: {error}", wrapper.name);
            "?".to_owned()
        }
    }
}
