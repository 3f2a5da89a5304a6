//! What was typed: the arguments and the environment as they came, also where they are wrong.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches};

use crate::cli::args::{Args, TERMINATION_LOG, TERMINATION_LOG_VARIABLE};
use crate::cli::deferred::without_empty_variables;

/// Reads the arguments, the program's name first, and the environment.
///
/// # Errors
/// What is wrong with them, or the help or version that was asked for.
pub(crate) fn parse(args: &[OsString]) -> Result<Args, clap::Error> {
    let matches = without_empty_variables(Args::command()).try_get_matches_from(args)?;
    Args::from_arg_matches(&matches)
}

/// Where the last words go, found before anything else is understood, because wrong usage has last words too.
pub(crate) fn termination_log(args: &[OsString]) -> PathBuf {
    const FLAG: &str = "--termination-log";
    let args = own(args);
    let inline = |arg: &OsString| arg.to_str()?.strip_prefix(FLAG)?.strip_prefix('=').map(PathBuf::from);
    let next = args.iter().position(|arg| arg == FLAG).and_then(|at| args.get(at + 1)).map(PathBuf::from);
    let variable =
        || std::env::var_os(TERMINATION_LOG_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    next.or_else(|| args.iter().find_map(inline)).or_else(variable).unwrap_or_else(|| TERMINATION_LOG.into())
}

/// The arguments before `--`; those after it are another program's.
fn own(args: &[OsString]) -> &[OsString] {
    args.split(|arg| arg == "--").next().unwrap_or_default()
}

/// The variable that a wrong value came from, if it was none of the arguments.
pub(crate) fn variable_of(error: &clap::Error, args: &[OsString]) -> Option<OsString> {
    let ContextValue::String(flag) = error.get(ContextKind::InvalidArg)? else { return None };
    let long = flag.split([' ', '=']).next()?;
    let mut command = Args::command();
    command.build();
    let mut flags =
        command.get_subcommands().flat_map(clap::Command::get_arguments).chain(command.get_arguments());
    let named = flags.find(|arg| arg.get_long().is_some_and(|name| long.strip_prefix("--") == Some(name)))?;
    let short = named.get_short().map(|short| format!("-{short}"));
    let is_it = |arg: &str| {
        let is_short = |short: &String| arg.starts_with(short) && !arg.starts_with("--");
        arg.split('=').next() == Some(long) || short.as_ref().is_some_and(is_short)
    };
    let typed = own(args).iter().filter_map(|arg| arg.to_str()).any(is_it);
    named.get_env().filter(|_| !typed).map(OsStr::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_last_words_is_found_in_any_arguments() {
        let find = |args: &[&str]| termination_log(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(find(&["podcreds", "init", "--termination-log", "/a"]), PathBuf::from("/a"));
        assert_eq!(find(&["podcreds", "--wrong", "--termination-log=/b", "x"]), PathBuf::from("/b"));
        assert_eq!(find(&["podcreds", "init", "--termination-log"]), PathBuf::from(TERMINATION_LOG));
        for theirs in [&["--termination-log=/c"][..], &["--termination-log", "/c"]] {
            let args = [&["podcreds", "exec", "--", "app"], theirs].concat();
            assert_eq!(find(&args), PathBuf::from(TERMINATION_LOG));
        }
    }
}
