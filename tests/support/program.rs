//! Programs that a test puts in place and then runs.
//!
//! Linux runs no file that a process has open to write (`ETXTBSY` in execve(2)). A child that another test starts
//! inherits what this process has open, until it has become its program. So another process writes the file.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Copies a program to `path`, for everyone to run.
pub(crate) fn copy(program: impl AsRef<Path>, path: &Path) {
    let mut install = Command::new("install");
    let status = install.args(["-m", "0755"]).arg(program.as_ref()).arg(path).status().unwrap();
    assert!(status.success(), "{install:?}: {status}");
}

/// Puts a program for `sh` at `path`.
pub(crate) fn script(path: &Path, text: &str) {
    let source = path.with_added_extension("new");
    fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
    copy(&source, path);
    fs::remove_file(source).unwrap();
}
