//! Names of environment variables that a program acts on. The author of the annotations often does not choose the keys of a
//! Secret, so a key must not decide what runs: podcreds never sets some variables, and others only if `.keys` or `.set` names
//! them. `tests/readers/variables.rs` compares the lists with installed shells and interpreters.

/// Variables that a shell computes, or acts on when they are assigned, when it shows a prompt or when it starts. It may
/// evaluate the value and run commands in it; change the value, or reject it and skip the rest of the file; or search for
/// programs elsewhere. `LD_` belongs to the dynamic linker, `A__z` to ksh93. A trailing `*` matches any
/// text, so it only follows a prefix that is unlikely in the names of an application's own variables.
/// Sources: the manuals of bash ("Shell Variables"), dash, mksh ("Parameters"), ksh93 and zsh ("Parameters Used By The Shell").
const SHELL_OR_LINKER: &str = "\
    _ A__z ARGC ARGV0 BASH* BAUD CDPATH CHILD_MAX COLUMNS COMP_CWORD COMP_KEY COMP_LINE COMP_POINT COMP_TYPE \
    COMP_WORDBREAKS COMP_WORDS DIRSTACK* EGID ENV EPOCHREALTIME EPOCHSECONDS ERRNO EUID EXECIGNORE EXECSHELL FCEDIT \
    FIGNORE FPATH FUNCNAME FUNCNEST GID GLOBIGNORE GROUPS HISTCHARS HISTCMD HISTCONTROL HISTEDIT HISTFILE* HISTIGNORE \
    HISTORY_IGNORE HISTSIZE HISTTIMEFORMAT IFS INPUTRC JOBMAX KEYBOARD_HACK KEYTIMEOUT KSH* LD_* LINENO LINES LISTMAX \
    LOGCHECK MAILCHECK MAILPATH MODULE_PATH NULLCMD OLDPWD OPTARG OPTERR OPTIND PATH PGRP PIPESTATUS POSIXLY_CORRECT \
    POSTEDIT PPID PROMPT PROMPT2 PROMPT3 PROMPT4 PROMPT_COMMAND PROMPT_DIRTRIM PROMPT_EOL_MARK PS0 PS1 PS2 PS3 PS4 PWD \
    RANDOM READNULLCMD REPLY RPROMPT RPROMPT2 RPS1 RPS2 SAVEHIST SECONDS SHELLOPTS SHLVL SPROMPT SRANDOM TIMEFMT \
    TIMEFORMAT TMOUT TRY_BLOCK_* TTYIDLE UID USER_ID ZDOTDIR ZLE_* ZSH_* histchars signals";

/// Variables by which interpreters, libraries and common tools find or load code, and those that a login sets.
/// Sources: `unsecvars` of glibc, `initial_badenv_table` of sudo, and the manuals of the programs.
const PROGRAMS: [&str; 9] = [
    // Of a login. zsh, running as root, switches to the user in USERNAME.
    "BROWSER EDITOR HOME LANG LANGUAGE LC_* LESS LESSCLOSE LESSEDIT LESSKEY* LESSOPEN MANPAGER PAGER SHELL TERM TERMCAP \
     TERMINFO* TMPDIR USERNAME VISUAL",
    // glibc and OpenSSL.
    "GCONV_PATH GETCONF_DIR GLIBC_TUNABLES HOSTALIASES LOCALDOMAIN LOCPATH MALLOC_* NIS_PATH NLSPATH OPENSSL_* RESOLV_HOST_CONF \
     RES_OPTIONS SASL_CONF_PATH SASL_PATH TZDIR KRB5_CONFIG",
    // Java.
    "CATALINA_* CLASSPATH IBM_JAVA_OPTIONS JAVA_* JDK_* JRE_HOME OPENJ9_JAVA_OPTIONS _JAVA_*",
    // Node and npm, which reads its settings in upper case too.
    "BUN_* NODE_OPTIONS NODE_PATH NODE_REPL_EXTERNAL_MODULE NPM_CONFIG_* npm_config_*",
    // .NET.
    "ASPNETCORE_HOSTINGSTARTUPASSEMBLIES COMPlus_* CORECLR_* COR_* DOTNET_ADDITIONAL_DEPS DOTNET_ROOT* DOTNET_SHARED_STORE \
     DOTNET_STARTUP_HOOKS",
    // Perl, Python and Ruby.
    "BUNDLE_* GEM_* GUNICORN_CMD_ARGS PERL* PYTHON* RUBY*",
    // Other languages.
    "ELIXIR_ERL_OPTIONS ERL_* GUILE_* JULIA_* LUA_* PHPRC PHP_INI_SCAN_DIR R_ENVIRON* R_HOME R_LIBS* R_PROFILE* TCLLIBPATH \
     TCL_LIBRARY",
    // Clients of databases.
    "LIBMYSQL_* MARIADB_PLUGIN_DIR MYSQL_HOME MYSQL_TEST_LOGIN_FILE ODBCINI ODBCINSTINI ODBCSYSINI ORACLE_HOME \
     PGSYSCONFDIR PSQLRC PSQL_EDITOR* PSQL_HISTORY PSQL_PAGER PSQL_WATCH_PAGER TNS_ADMIN",
    // Tools that run other programs.
    "GIT_ASKPASS GIT_CONFIG* GIT_DIR GIT_EDITOR GIT_EXEC_PATH GIT_EXTERNAL_DIFF GIT_PAGER GIT_PROXY_COMMAND GIT_SEQUENCE_EDITOR \
     GIT_SSH* GIT_TEMPLATE_DIR GIT_WORK_TREE GNUMAKEFLAGS KUBECONFIG MAKEFLAGS MFLAGS SSH_ASKPASS* SUDO_ASKPASS",
];

/// Whether this is a valid name of an environment variable: `[A-Za-z_][A-Za-z0-9_]*`.
/// Source: <https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap03.html#tag_03_216>
pub(crate) fn is_env_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(inner) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a shell or the dynamic linker computes or acts on the variable of this name, so that no file that a shell reads may
/// set it.
pub(crate) fn is_reserved_by_shell(name: &str) -> bool {
    contains(SHELL_OR_LINKER, name)
}

/// Whether the dynamic linker acts on the variable of this name.
pub(crate) fn is_reserved_by_linker(name: &str) -> bool {
    name.starts_with("LD_")
}

/// Whether an interpreter, a library or a common tool acts on the variable of this name, so that only `.keys` or `.set` may
/// choose it.
pub(crate) fn is_setting_of_programs(name: &str) -> bool {
    PROGRAMS.iter().any(|names| contains(names, name))
}

fn contains(patterns: &str, name: &str) -> bool {
    patterns.split_ascii_whitespace().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    })
}
