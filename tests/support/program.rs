//! Programs that a test writes and then runs.
//!
//! Linux refuses to execute a file that a process has open for writing (`ETXTBSY` in execve(2)). A child forked by
//! another test inherits this process's open files until its exec. So another process writes the file.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Copies a program to `path`, executable for everyone.
pub(crate) fn copy(program: impl AsRef<Path>, path: &Path) {
    let mut install = Command::new("install");
    let status = install.args(["-m", "0755"]).arg(program.as_ref()).arg(path).status().unwrap();
    assert!(status.success(), "{install:?}: {status}");
}

/// Writes a script for `sh` to `path`.
pub(crate) fn script(path: &Path, text: &str) {
    let source = path.with_added_extension("new");
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    copy(&source, path);
    fs::remove_file(source).unwrap();
}
