//! Formats that write every field under its own name: `env`, `dotenv` and `envfile` set environment variables; `json`, `yaml`
//! and `properties` are documents.

use std::collections::BTreeMap;

use crate::credential::{
    EnvExport, EnvFileFormat, FieldName, InjectorEnv, UriTemplate, is_env_name, is_reserved_by_linker,
    is_reserved_by_shell, is_setting_of_programs,
};
use crate::escape::{self, EscapeFn, percent};
use crate::formats::parts::{FieldText, PASSWORD, USERNAME, require_field};
use crate::formats::{Fields, FormatError, field_text};
use crate::secret::{SecretBuffer, SecretBytes};

/// Whether an annotation names the field. Otherwise the source chose the name.
pub(crate) type IsNamed<'a> = &'a dyn Fn(&FieldName) -> bool;

/// Every reason why the fields of one credential cannot be written.
pub(crate) type FormatErrors = Vec<FormatError>;

/// Writes the fields to a file that sets environment variables.
pub(crate) fn write_env_file(
    format: EnvFileFormat,
    fields: &Fields<'_>,
    is_named: IsNamed<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatErrors> {
    match format {
        EnvFileFormat::Env => {
            write_each(fields, out, &|field, value, out| write_env(field, value, is_named, out))
        }
        EnvFileFormat::Dotenv => {
            write_each(fields, out, &|field, value, out| write_dotenv(field, value, is_named, out))
        }
        EnvFileFormat::Envfile => write_each(fields, out, &write_envfile),
    }
}

/// Writes a file that sets each of the exported variables to this text.
pub(crate) fn export_env(
    export: &EnvExport,
    text: &SecretBytes,
    out: &mut SecretBuffer,
) -> Result<(), FormatErrors> {
    write_variables(export.file, &assign(&export.names, text).collect::<BTreeMap<_, _>>(), out)
}

/// Writes variables whose names are in annotations of their own, not in `.keys`.
fn write_variables(
    format: EnvFileFormat,
    variables: &Fields<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatErrors> {
    write_env_file(format, variables, &|_| true, out).map_err(|mut errors| {
        for error in &mut errors {
            *error = match error {
                FormatError::ReservedByShell { field, .. } => {
                    FormatError::ReservedVariable { name: field.clone() }
                }
                FormatError::Binary { field } => FormatError::BinaryVariable { name: field.clone() },
                FormatError::NotPortable { field, what } => {
                    FormatError::NotPortableVariable { name: field.clone(), what }
                }
                FormatError::NotForKubelet { field, problem, remedy } => FormatError::NotForKubeletVariable {
                    name: field.clone(),
                    problem,
                    is_too_large: *remedy == USE_FILES,
                },
                _ => continue,
            };
        }
        errors
    })
}

/// Writes one field.
type WriteField<'a> = &'a dyn Fn(&FieldName, &SecretBytes, &mut SecretBuffer) -> Result<(), FormatError>;

/// Writes every field, or returns every field that cannot be written.
fn write_each(
    fields: &Fields<'_>,
    out: &mut SecretBuffer,
    write: WriteField<'_>,
) -> Result<(), FormatErrors> {
    let mut errors = FormatErrors::new();
    for (field, value) in fields {
        errors.extend(write(field, value, out).err());
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// `env`: an `export NAME='value'` line that any POSIX shell can source, whatever the value contains. `export` passes the
/// variable to the programs that the shell starts.
fn write_env(
    field: &FieldName,
    value: &SecretBytes,
    is_named: IsNamed<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    let name = variable_name(field, is_named, &is_reserved_by_shell, &|_| false)?;
    out.push_str("export ");
    out.push_str(name);
    out.push_str("=");
    write_escaped(escape::shell, field, value, out)?;
    out.push_str("\n");
    Ok(())
}

/// `dotenv`: a `NAME='value'` line, with double quotes around a value that contains a single quote or a line break. There is no
/// standard, and libraries differ in escapes and in what they expand. So a value is written only if Node's dotenv (from version
/// 16), alone and with dotenv-expand, Node's own `--env-file`, Next.js, python-dotenv, Rust's dotenvy, phpdotenv, Symfony and
/// Ruby's dotenv all read it back unchanged; otherwise it is an error.
///
/// Sources: <https://github.com/motdotla/dotenv>, <https://github.com/motdotla/dotenv-expand>,
/// <https://nodejs.org/api/util.html#utilparseenvcontent>, <https://github.com/theskumar/python-dotenv>,
/// <https://github.com/allan2/dotenvy>, <https://github.com/vlucas/phpdotenv>, <https://symfony.com/doc/current/configuration.html>,
/// <https://github.com/bkeepers/dotenv>
fn write_dotenv(
    field: &FieldName,
    value: &SecretBytes,
    is_named: IsNamed<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    // Shells and interpreters that the application starts inherit the variables. Names in lower case mean something only to a
    // shell that reads the file itself.
    let is_inherited =
        |name: &str| is_reserved_by_shell(name) && !name.bytes().any(|b| b.is_ascii_lowercase());
    let name = variable_name(field, is_named, &is_reserved_by_linker, &is_inherited)?;
    let text = field_text(field, value)?;
    let quote = dotenv_quote(text).map_err(|what| FormatError::NotPortable { field: field.clone(), what })?;
    out.push_str(name);
    out.push_str("=");
    out.push_str(quote);
    for (index, line) in text.split('\n').enumerate() {
        out.push_str(if index == 0 { "" } else { "\\n" });
        out.push_str(line);
    }
    out.push_str(quote);
    out.push_str("\n");
    Ok(())
}

/// Returns the quotes in which every library reads this text unchanged, with line breaks as `\n`. If there are none, returns what in
/// the text prevents it.
fn dotenv_quote(text: &str) -> Result<&'static str, &'static str> {
    // Node turns CR LF into LF, also in quotes.
    if text.contains('\r') {
        return Err("a carriage return");
    }
    // dotenv-expand, which Next.js and Vite run, expands `$` before a name in every kind of quotes, and turns `\$` into `$`; Next.js
    // expands `$1` too. python-dotenv expands `${…}`, and django-environ everything after a `$` at the start.
    let expanded = |rest: &str| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "_{(".contains(c));
    if text.starts_with('$') || text.contains("\\$") || text.split('$').skip(1).any(expanded) {
        return Err("a $ that looks like a variable");
    }
    let has_break = text.contains('\n');
    // Inside single quotes, python-dotenv treats `\\` and `\'` as escapes, and the other libraries have no escapes. Inside double
    // quotes, all of them have more, and `\n` is the only one that they share. phpdotenv and Ruby end a value at a real line break.
    match text.contains('\'') || has_break {
        false if text.contains("\\\\") || text.ends_with('\\') => {
            Err("consecutive backslashes or a trailing backslash")
        }
        false => Ok("'"),
        true if !text.contains(['"', '\\', '$', '`']) => Ok("\""),
        true if has_break => Err("a line break together with \", \\, $ or `"),
        true => Err("a single quote together with \", \\, $ or `"),
    }
}

/// The longest line that the kubelet reads, without its line break: `bufio.Scanner` has a buffer of 64 KiB for the line and
/// its break. One longer line makes the whole file unreadable.
const KUBELET_LINE_LIMIT: usize = 64 * 1024 - 1;
/// The Linux limit for one variable: its name, `=`, its value and a NUL (`MAX_ARG_STRLEN`, execve(2)).
const VARIABLE_LIMIT: usize = 128 * 1024;

/// `envfile`: `NAME='value'` lines that the kubelet reads for `env[].valueFrom.fileKeyRef` (KEP-3721, on by default since
/// Kubernetes 1.35). Every field name is a valid key: printable ASCII without `=`. The pod's manifest maps keys to variables.
///
/// Nothing between the single quotes is special, so a single quote cannot be written at all. If the kubelet cannot read the
/// file, it does not start the container and gives no reason. So every value that it would reject or change is an error here.
///
/// Sources: <https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-via-file/#env-file-syntax>,
/// and `ParseEnv` in `pkg/kubelet/util/env` of Kubernetes 1.35 to 1.37 for details that the page omits.
fn write_envfile(field: &FieldName, value: &SecretBytes, out: &mut SecretBuffer) -> Result<(), FormatError> {
    let text = field_text(field, value)?;
    if let Some((problem, remedy)) = kubelet_problem(field, text) {
        return Err(FormatError::NotForKubelet { field: field.clone(), problem, remedy });
    }
    out.push_str(field.as_str());
    out.push_str("='");
    out.push_str(text);
    out.push_str("'\n");
    Ok(())
}

/// The remedy for a value that is too large.
const USE_FILES: &str = "use format files";

/// Returns why the kubelet cannot read this value, and what to do about it.
fn kubelet_problem(field: &FieldName, text: &str) -> Option<(&'static str, &'static str)> {
    if text.is_empty() {
        return Some((
            "is empty, which the kubelet treats as missing",
            "exclude the field with .keys, and mark its fileKeyRef optional: true",
        ));
    }
    if text.contains('\'') {
        return Some((
            "contains a single quote, which the kubelet reads as the end of the value",
            "use format uri with .variable, which encodes it, or format env with podcreds exec",
        ));
    }
    if text.contains("\r\n") {
        return Some((
            "contains CR LF, which the kubelet converts to LF",
            "store it with LF alone, or use format env with podcreds exec",
        ));
    }
    let last = text.matches('\n').count();
    let is_long = |(index, line): (usize, &str)| {
        let before = if index == 0 { field.as_str().len() + "='".len() } else { 0 };
        let after = if index == last { "'".len() } else { 0 };
        before + line.len() + after > KUBELET_LINE_LIMIT
    };
    if text.split('\n').enumerate().any(is_long) {
        return Some(("has a line of 64 KiB or more, which the kubelet cannot read", USE_FILES));
    }
    if field.as_str().len() + text.len() + "=\0".len() > VARIABLE_LIMIT {
        return Some(("is larger than 128 KiB, the Linux limit for one variable", USE_FILES));
    }
    None
}

/// `json`: an object of strings, indented by two spaces (RFC 8259).
pub(crate) fn write_json(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), FormatErrors> {
    let mut members = BTreeMap::new();
    let mut errors = FormatErrors::new();
    for (field, value) in fields {
        match value.expose_text() {
            Some(text) => drop(members.insert(field.as_str(), text)),
            None => errors.push(FormatError::Binary { field: field.clone() }),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    // Serializing strings into memory cannot fail.
    let _ = serde_json::to_writer_pretty(&mut *out, &members);
    out.push_str("\n");
    Ok(())
}

/// Plain scalars that YAML 1.1 or 1.2 does not read as strings.
/// Source: <https://yaml.org/type/bool.html>, <https://yaml.org/type/null.html>
const YAML_RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// `yaml`: a mapping of strings, one `key: "value"` line per field. Every value is in double quotes.
pub(crate) fn write_yaml(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), FormatErrors> {
    if fields.is_empty() {
        out.push_str("{}\n");
    }
    write_each(fields, out, &|field, value, out| {
        if is_plain_yaml_key(field.as_str()) {
            out.push_str(field.as_str());
        } else {
            write_escaped(escape::yaml, field, &field.as_str().into(), out)?;
        }
        out.push_str(": ");
        write_escaped(escape::yaml, field, value, out)?;
        out.push_str("\n");
        Ok(())
    })
}

/// Whether every reader takes this name for a string without quotes: it begins with a letter, is not reserved, and is not
/// what some readers of YAML 1.1 parse as an exponent (`e3`).
fn is_plain_yaml_key(name: &str) -> bool {
    let digits = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && !YAML_RESERVED.iter().any(|word| word.eq_ignore_ascii_case(name))
        && !name.strip_prefix(['e', 'E']).is_some_and(digits)
}

/// `properties`: one `key=value` line per field, for `java.util.Properties`. Field names need no escapes.
pub(crate) fn write_properties(fields: &Fields<'_>, out: &mut SecretBuffer) -> Result<(), FormatErrors> {
    write_each(fields, out, &|field, value, out| {
        out.push_str(field.as_str());
        out.push_str("=");
        write_escaped(escape::properties, field, value, out)?;
        out.push_str("\n");
        Ok(())
    })
}

/// Returns the field's name if it is valid for an environment variable, and podcreds may set that variable. Some only an
/// annotation may name: those by which programs find code, and what `needs_annotation` adds.
fn variable_name<'a>(
    field: &'a FieldName,
    is_named: IsNamed<'_>,
    is_reserved: &dyn Fn(&str) -> bool,
    needs_annotation: &dyn Fn(&str) -> bool,
) -> Result<&'a str, FormatError> {
    let name = field.as_str();
    let is_named = is_named(field);
    let named = || (field.clone(), "<its key>".to_owned());
    if !is_env_name(name) {
        let (field, key) = named();
        return Err(FormatError::InvalidEnvName { field, key, is_named });
    }
    if is_reserved(name) {
        let (field, key) = named();
        return Err(FormatError::ReservedByShell { field, key, is_named });
    }
    if (needs_annotation(name) || is_setting_of_programs(name)) && !is_named {
        let (field, key) = named();
        return Err(FormatError::SettingOfPrograms { field, key });
    }
    Ok(name)
}

/// Writes a field's value by an escaping rule.
fn write_escaped(
    rule: EscapeFn,
    field: &FieldName,
    value: &SecretBytes,
    out: &mut SecretBuffer,
) -> Result<(), FormatError> {
    if out.has_overflowed() {
        return Ok(());
    }
    let text = value.expose_text().ok_or_else(|| FormatError::Binary { field: field.clone() })?;
    rule(text, out).map_err(|refused| FormatError::unsupported(field, refused))
}

/// `env` for annotations of vault-db-injector: variables with the user name and the password, or with a URI that contains
/// both. Only these two fields are read, so that other fields of the Secret cannot be invalid.
pub(crate) fn write_injector_env(
    variables: &InjectorEnv,
    fields: &Fields<'_>,
    out: &mut SecretBuffer,
) -> Result<(), FormatErrors> {
    let (username, password) = match (require_field(fields, USERNAME), require_field(fields, PASSWORD)) {
        (Ok(username), Ok(password)) => (username, password),
        (username, password) => return Err(username.err().into_iter().chain(password.err()).collect()),
    };
    let mut write = |variables: &Fields<'_>| write_variables(EnvFileFormat::Env, variables, out);
    match variables {
        InjectorEnv::Classic { user, password: names } => {
            let (username, password) = (SecretBytes::from(username.text), SecretBytes::from(password.text));
            let variables = assign(user, &username).chain(assign(names, &password));
            write(&variables.collect::<BTreeMap<_, _>>())
        }
        InjectorEnv::Uri { names, uri } => {
            let uri = insert_user(uri, username, password).map_err(|error| vec![error])?;
            write(&assign(names, &uri).collect::<BTreeMap<_, _>>())
        }
    }
}

fn assign<'a>(
    names: &'a [FieldName],
    value: &'a SecretBytes,
) -> impl Iterator<Item = (FieldName, &'a SecretBytes)> {
    names.iter().map(move |name| (name.clone(), value))
}

fn insert_user(
    uri: &UriTemplate,
    username: FieldText<'_>,
    password: FieldText<'_>,
) -> Result<SecretBytes, FormatError> {
    let mut out = SecretBuffer::default();
    out.push_str(uri.scheme());
    username.write(percent, &mut out)?;
    out.push_str(":");
    password.write(percent, &mut out)?;
    out.push_str("@");
    out.push_str(uri.rest());
    Ok(out.finish())
}
