//! The `podcreds` command.

use std::panic::set_hook;
use std::process::{ExitCode, exit};

use podcreds::cli;

fn main() -> ExitCode {
    // A panic's message could contain a secret value; its location cannot.
    set_hook(Box::new(|panic| {
        cli::report_panic(panic.location());
        exit(cli::EXIT_BUG.into());
    }));
    ExitCode::from(cli::run(std::env::args_os()))
}
