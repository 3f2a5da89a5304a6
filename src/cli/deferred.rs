//! The arguments of a command, described when that command is called. All commands together have over a hundred, and the
//! variable of each is looked for in the environment when it is described, which in a pod may be long.

use std::ffi::OsStr;

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, FromArgMatches};

/// The arguments `T` of a command.
#[derive(Debug)]
pub(crate) struct Deferred<T>(pub(crate) T);

impl<T: Args> Args for Deferred<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| described(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| described(command, T::augment_args_for_update))
    }
}

/// The help is as if all had been described at once: about the command, and the arguments that every command has at its end.
fn described(command: Command, describe: fn(Command) -> Command) -> Command {
    let about = command.get_about().cloned();
    let global: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let command = describe(command).about(Resettable::from(about));
    // It takes an argument out and adds it again.
    let command = global.iter().fold(command, |command, id| command.mut_arg(id, |arg| arg));
    without_empty_variables(command)
}

impl<T: Args> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}

/// A variable that is empty counts as one that is not set: that is how a manifest or a chart says nothing.
pub(crate) fn without_empty_variables(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command.mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser, Subcommand};

    #[derive(Parser)]
    struct Now {
        #[command(subcommand)]
        _command: NowCommand,
        #[arg(long, global = true, help_heading = "Messages")]
        _level: Option<String>,
    }

    #[derive(Subcommand)]
    enum NowCommand {
        /// What it does
        Init(Own),
    }

    #[derive(Parser)]
    struct Later {
        #[command(subcommand)]
        _command: LaterCommand,
        #[arg(long, global = true, help_heading = "Messages")]
        _level: Option<String>,
    }

    #[derive(Subcommand)]
    enum LaterCommand {
        /// What it does
        Init(Deferred<Own>),
    }

    /// What a group of arguments is for
    #[derive(clap::Args)]
    struct Own {
        #[arg(long, help_heading = "Clusters")]
        _own: Option<String>,
    }

    #[test]
    fn the_help_is_the_same_as_if_all_were_described_at_once() {
        let help =
            |command: Command| command.try_get_matches_from(["x", "init", "--help"]).unwrap_err().to_string();
        assert_eq!(help(Later::command()), help(Now::command()));
    }
}
