//! The `podcreds` command.

use std::panic::set_hook;
use std::process::{ExitCode, exit};

use podcreds::cli;

fn main() -> ExitCode {
    // What a panic says could hold a value; where it happened cannot.
    set_hook(Box::new(|panic| {
        cli::report_defect(panic.location());
        exit(cli::DEFECT.into());
    }));
    ExitCode::from(cli::run(std::env::args_os()))
}
