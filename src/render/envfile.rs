//! `envfile`: a file that the kubelet reads for `env[].valueFrom.fileKeyRef` (KEP-3721, on by default since Kubernetes 1.35).
//! A value stands in single quotes, and nothing in it is special: a single quote cannot be written at all. The kubelet reports no
//! reason when it cannot read a file and starts no container then, so all that it would refuse or change is refused here.
//!
//! Sources: <https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-via-file/#env-file-syntax>,
//! and `ParseEnv` in `pkg/kubelet/util/env` of Kubernetes 1.35 to 1.37 for what that page leaves open.

use crate::credential::FieldName;
use crate::render::error::Problem;
use crate::render::fields::{Fields, text};
use crate::secret::SecretBuffer;

/// The longest line, its line break not counted: the kubelet reads by a `bufio.Scanner`, whose buffer of 64 KiB holds a line with
/// its break. One longer line makes the whole file unreadable.
const LINE_LIMIT: usize = 64 * 1024 - 1;
/// The most that Linux takes for one variable: its name, `=`, its value and a NUL (`MAX_ARG_STRLEN`, execve(2)).
const VARIABLE_LIMIT: usize = 128 * 1024;

/// Writes `NAME='value'` lines. Every field name is a key that the kubelet takes: printable ASCII without `=`. The pod says which
/// variable gets its value.
pub(crate) fn write(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), Problem> {
    for (field, value) in fields {
        let text = text(field, value)?;
        if let Some((what, remedy)) = refusal(field, text) {
            return Err(Problem::NotForKubelet { field: field.clone(), what, remedy });
        }
        out.push_str(field.as_str());
        out.push_str("='");
        out.push_str(text);
        out.push_str("'\n");
    }
    Ok(())
}

/// Why the kubelet cannot take this value, and what to do.
fn refusal(field: &FieldName, text: &str) -> Option<(&'static str, &'static str)> {
    if text.is_empty() {
        return Some((
            "is empty, which the kubelet takes for missing",
            "leave the field out with .keys, and mark its fileKeyRef optional: true",
        ));
    }
    if text.contains('\'') {
        return Some((
            "holds a single quote, which ends a value for the kubelet",
            "use format uri with .variable, which encodes it, or format env with podcreds exec",
        ));
    }
    if text.contains("\r\n") {
        return Some((
            "holds CR LF, which the kubelet changes to LF",
            "store it with LF alone, or use format env with podcreds exec",
        ));
    }
    let last = text.matches('\n').count();
    let is_long = |(index, line): (usize, &str)| {
        let before = if index == 0 { field.as_str().len() + "='".len() } else { 0 };
        let after = if index == last { "'".len() } else { 0 };
        before + line.len() + after > LINE_LIMIT
    };
    if text.split('\n').enumerate().any(is_long) {
        return Some(("has a line of 64 KiB or more, which the kubelet does not read", "use format files"));
    }
    if field.as_str().len() + text.len() + "=\0".len() > VARIABLE_LIMIT {
        return Some((
            "is larger than 128 KiB, the most that Linux takes for a variable",
            "use format files",
        ));
    }
    None
}
