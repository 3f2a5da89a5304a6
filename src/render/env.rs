//! `env`: a file that any POSIX shell can source, whatever the values hold.

use crate::escape;
use crate::render::error::Problem;
use crate::render::fields::{Fields, escaped, variable};
use crate::secret::SecretBuffer;

/// Variables that some shell computes itself or acts upon. Given a value, it evaluates it as arithmetic (and runs what
/// stands in it), refuses it and drops the rest of the file, becomes another user, or looks for its programs elsewhere.
/// Sources: the manuals of bash ("Shell Variables"), dash, mksh ("Parameters") and zsh ("Parameters Used By The Shell").
const SHELLS_OWN: [&str; 63] = [
    "_",
    "ARGC",
    "ARGV0",
    "BASH",
    "BASHOPTS",
    "BASHPID",
    "BAUD",
    "CDPATH",
    "COLUMNS",
    "DIRSTACK",
    "DIRSTACKSIZE",
    "EGID",
    "ENV",
    "ERRNO",
    "EUID",
    "EXECSHELL",
    "FPATH",
    "FUNCNAME",
    "FUNCNEST",
    "GID",
    "GROUPS",
    "HISTCHARS",
    "HISTCMD",
    "HISTSIZE",
    "IFS",
    "JOBMAX",
    "KEYBOARD_HACK",
    "KEYTIMEOUT",
    "LANG",
    "LINENO",
    "LINES",
    "LISTMAX",
    "LOGCHECK",
    "MAILCHECK",
    "MODULE_PATH",
    "OPTARG",
    "OPTIND",
    "PATH",
    "PGRP",
    "PIPESTATUS",
    "POSIXLY_CORRECT",
    "PPID",
    "PS4",
    "RANDOM",
    "READNULLCMD",
    "REPLY",
    "SAVEHIST",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "TMOUT",
    "TTYIDLE",
    "UID",
    "USERNAME",
    "USER_ID",
    "ZDOTDIR",
    "argv",
    "cdpath",
    "fpath",
    "path",
    "psvar",
    "status",
];
/// What the names of more such variables begin with; `LD_` is the dynamic linker's.
const SHELLS_OWN_PREFIXES: [&str; 9] =
    ["BASH_", "COMP_", "EPOCH", "KSH", "LC_", "LD_", "TRY_BLOCK_", "ZLE_", "ZSH_"];

/// Writes `export NAME='value'` lines, so that what is sourced reaches the programs that the shell starts.
pub(super) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        let name = variable(field)?;
        if SHELLS_OWN.contains(&name) || SHELLS_OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return Err(Problem::ShellsOwn { field: field.clone() });
        }
        out.push_str("export ");
        out.push_str(name);
        out.push_str("=");
        escaped(escape::shell, field, value, out)?;
        out.push_str("\n");
    }
    Ok(())
}
