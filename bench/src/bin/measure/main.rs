//! Runs several commands in turn and reports the wall time, processor time and peak resident memory of each.
//!
//! One round measures each command once, so that other load on the machine affects all of them alike. Rounds alternate
//! between forward and backward order, so that no command always follows the same one. [`commands`] documents the file format.
//!
//! `measure [--runs N] [--json FILE] COMMANDS_FILE`

mod commands;
mod report;
mod run;
mod table;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const USAGE: &str = "usage: measure [--runs N] [--json FILE] COMMANDS_FILE";

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some(run::NOTHING) {
        return Ok(());
    }
    let options = Options::parse(env::args().skip(1))?;
    let commands = commands::load(&options.commands)?;
    let rounds = (0..options.runs)
        .map(|round| run::round(&commands, round % 2 == 1))
        .collect::<Result<Vec<_>, _>>()?;

    let report = report::summarize(&commands, &rounds, run::least_peak_kib()?);
    print!("{}", table::render(&report));
    if let Some(path) = options.json {
        fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(())
}

struct Options {
    runs: usize,
    json: Option<PathBuf>,
    commands: PathBuf,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let (mut runs, mut json, mut commands) = (20, None, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--runs" => runs = arguments.next().ok_or(USAGE)?.parse()?,
                "--json" => json = Some(arguments.next().ok_or(USAGE)?.into()),
                path => commands = Some(path.into()),
            }
        }
        if runs == 0 {
            return Err("--runs 0: at least one run is needed".into());
        }
        Ok(Self { runs, json, commands: commands.ok_or(USAGE)? })
    }
}
