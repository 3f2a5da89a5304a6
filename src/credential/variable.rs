//! The names of environment variables, and those that a Secret must never set.

/// Variables that some shell computes itself or acts upon, and that say where programs are found. Given a value, a shell
/// evaluates it as arithmetic (and runs what stands in it), refuses it and drops the rest of the file, becomes another user,
/// or looks for its programs elsewhere.
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

/// Whether this is a name: `[A-Za-z_][A-Za-z0-9_]*`.
/// Source: <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap03.html#tag_03_216>
pub(crate) fn is_variable(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a shell, or the linker of programs, computes or acts upon the variable of this name.
pub(crate) fn is_shells_own(name: &str) -> bool {
    SHELLS_OWN.contains(&name) || SHELLS_OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
