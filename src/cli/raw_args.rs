//! The arguments and the environment as they are, even where clap rejects them.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory, FromArgMatches};

use crate::cli::args::{Args, TERMINATION_LOG, TERMINATION_LOG_VARIABLE};

/// Parses the arguments (with the program's name first) and the environment.
///
/// # Errors
/// A usage error, or the help or version that was requested.
pub(crate) fn parse(args: &[OsString]) -> Result<Args, clap::Error> {
    let matches = with_variables(Args::command()).try_get_matches_from(args)?;
    Args::from_arg_matches(&matches)
}

/// Ignores empty variables, which is how manifests and charts leave a setting out, and hides the values of the others in
/// the help.
fn with_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    let command = command.mut_args(|arg| {
        let arg = if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg };
        arg.hide_env_values(true)
    });
    command.mut_subcommands(with_variables)
}

/// The path of the termination log, found before anything else is parsed: a usage error is written there too.
pub(crate) fn termination_log(args: &[OsString]) -> PathBuf {
    const FLAG: &str = "--termination-log";
    let args = our_args(args);
    let inline = |arg: &OsString| arg.to_str()?.strip_prefix(FLAG)?.strip_prefix('=').map(PathBuf::from);
    let next = args.iter().position(|arg| arg == FLAG).and_then(|at| args.get(at + 1)).map(PathBuf::from);
    let variable =
        || std::env::var_os(TERMINATION_LOG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    next.or_else(|| args.iter().find_map(inline)).or_else(variable).unwrap_or_else(|| TERMINATION_LOG.into())
}

/// The arguments before `--`; those after it belong to another program.
fn our_args(args: &[OsString]) -> &[OsString] {
    args.split(|arg| arg == "--").next().unwrap_or_default()
}

/// The variable that an invalid value came from; `None` means that it was passed as an argument.
pub(crate) fn variable_of(error: &clap::Error, args: &[OsString]) -> Option<OsString> {
    let ContextValue::String(flag) = error.get(ContextKind::InvalidArg)? else { return None };
    let long = flag.split([' ', '=']).next()?;
    let mut command = Args::command();
    command.build();
    let mut flags = command.get_subcommands().flat_map(Command::get_arguments).chain(command.get_arguments());
    let named = flags.find(|arg| arg.get_long().is_some_and(|name| long.strip_prefix("--") == Some(name)))?;
    let short = named.get_short().map(|short| format!("-{short}"));
    let matches = |arg: &str| {
        let is_short = |short: &String| arg.starts_with(short) && !arg.starts_with("--");
        arg.split('=').next() == Some(long) || short.as_ref().is_some_and(is_short)
    };
    let is_argument = our_args(args).iter().filter_map(|arg| arg.to_str()).any(matches);
    named.get_env().filter(|_| !is_argument).map(OsStr::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_termination_log_is_found_in_invalid_arguments_too() {
        let find = |args: &[&str]| termination_log(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(find(&["podcreds", "init", "--termination-log", "/a"]), PathBuf::from("/a"));
        assert_eq!(find(&["podcreds", "--wrong", "--termination-log=/b", "x"]), PathBuf::from("/b"));
        assert_eq!(find(&["podcreds", "init", "--termination-log"]), PathBuf::from(TERMINATION_LOG));
        for after_dashes in [&["--termination-log=/c"][..], &["--termination-log", "/c"]] {
            let args = [&["podcreds", "exec", "--", "app"], after_dashes].concat();
            assert_eq!(find(&args), PathBuf::from(TERMINATION_LOG));
        }
    }
}
