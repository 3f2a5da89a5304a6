//! From credentials and the content of their sources to a bundle. Pure: bytes in, files or every error out. A format is a
//! module with one function that writes all fields; `files` is the one that makes a folder instead.

mod connection;
mod dotenv;
mod env;
mod envfile;
mod error;
mod fields;
mod jdbc;
mod json;
mod libpq;
mod mycnf;
mod part;
mod properties;
mod service;
mod template;
mod uri;
mod uri_parts;
mod variables;
mod yaml;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

pub(crate) use error::{Error, Errors, Problem};
pub use fields::Sources;
pub(crate) use fields::{Omission, left_out};
pub(crate) use template::check as check_templates;

use crate::bundle::{Bundle, BundleFile};
use crate::credential::{Credential, FileMode, Format, PathClaims, RelativePath, Variables};
use crate::render::connection::Connection;
use crate::render::fields::Fields;
use crate::secret::{SecretBuffer, SecretBytes};

/// The most bytes of a whole bundle: it is held in memory, and most volumes are memory too.
const BUNDLE_LIMIT: usize = 32 * 1024 * 1024;
/// The most files of a whole bundle.
const FILE_LIMIT: usize = 10_000;

/// Renders every credential.
///
/// # Errors
/// Every reason why a credential cannot be rendered from these sources.
pub fn bundle(credentials: &[Credential], sources: &Sources) -> Result<Bundle, Errors> {
    render(credentials, sources, None)
}

/// Renders every credential with every value replaced, so that what is made of them can be shown.
///
/// # Errors
/// As [`bundle`].
pub(crate) fn hidden(
    credentials: &[Credential],
    sources: &Sources,
    replacement: &str,
) -> Result<Bundle, Errors> {
    render(credentials, sources, Some(&replacement.into()))
}

fn render(
    credentials: &[Credential],
    sources: &Sources,
    stand_in: Option<&SecretBytes>,
) -> Result<Bundle, Errors> {
    let mut bundle = Bundle::new();
    let mut claims = PathClaims::default();
    let mut errors = Vec::new();
    let mut size = 0;
    for credential in credentials {
        match files(credential, sources, stand_in) {
            Err(problems) => {
                errors.extend(problems.into_iter().map(|problem| Error::new(&credential.name, problem)));
            }
            Ok(files) => {
                for (path, content) in files {
                    size += content.expose().len();
                    let format = credential.format;
                    let claimed = match format.has_entries() {
                        true => claims.entries(&path, format, &credential.name),
                        false => claims.file(&path, &credential.name),
                    };
                    match claimed {
                        Ok(()) => add(&mut bundle, path, content, credential.mode),
                        Err(conflict) => errors.push(Error::new(&credential.name, conflict.into())),
                    }
                }
                let too_much = match (size > BUNDLE_LIMIT, bundle.len() > FILE_LIMIT) {
                    (false, false) => continue,
                    (true, _) => Problem::TooMuch { what: "bytes", limit: BUNDLE_LIMIT },
                    (false, true) => Problem::TooMuch { what: "files", limit: FILE_LIMIT },
                };
                errors.push(Error::new(&credential.name, too_much));
                return Err(Errors(errors));
            }
        }
    }
    if errors.is_empty() { Ok(bundle) } else { Err(Errors(errors)) }
}

/// Adds a file, or to a file that is there: what claimed its path says that this may be.
fn add(bundle: &mut Bundle, path: RelativePath, content: SecretBytes, mode: Option<FileMode>) {
    match bundle.entry(path) {
        Entry::Vacant(entry) => drop(entry.insert(BundleFile { content, mode })),
        Entry::Occupied(mut entry) => {
            let file = entry.get_mut();
            let mut both = SecretBuffer::with_capacity(file.content.expose().len() + content.expose().len());
            both.push(file.content.expose());
            both.push(content.expose());
            file.content = both.finish();
        }
    }
}

/// How one file is written.
enum Write<'a> {
    /// From all fields, under their names.
    Fields(fn(&Fields<'_>, &mut SecretBuffer) -> Result<(), Problem>),
    /// From user and password.
    Variables(&'a Variables),
    /// From the parts of a connection.
    Connection(fn(&Credential, &Fields<'_>, &Connection<'_>, &mut SecretBuffer) -> Result<(), Problem>),
}

/// The files of one credential: none if it is optional and has no source.
fn files(
    credential: &Credential,
    sources: &Sources,
    stand_in: Option<&SecretBytes>,
) -> Result<Vec<(RelativePath, SecretBytes)>, Vec<Problem>> {
    let Some(real) = fields::collect(credential, sources)? else { return Ok(Vec::new()) };
    let shown = |value| stand_in.unwrap_or(value);
    let fields = real.iter().map(|(field, value)| (field.clone(), shown(value))).collect::<BTreeMap<_, _>>();
    let write = match credential.format {
        Format::Files => {
            return Ok(fields
                .iter()
                .map(|(field, value)| (credential.path.join(field), (*value).clone()))
                .collect());
        }
        Format::Env => match &credential.variables {
            None => Write::Fields(env::write),
            Some(variables) => Write::Variables(variables),
        },
        Format::Dotenv => Write::Fields(dotenv::write),
        Format::Envfile => Write::Fields(envfile::write),
        Format::Json => Write::Fields(json::write),
        Format::Yaml => Write::Fields(yaml::write),
        Format::Properties => Write::Fields(properties::write),
        Format::Uri => Write::Connection(uri::write),
        Format::Jdbc => Write::Connection(jdbc::write),
        Format::Libpq => Write::Connection(libpq::write),
        Format::Pgpass => Write::Connection(libpq::write_pgpass),
        Format::Pgservice => Write::Connection(libpq::write_pgservice),
        Format::Mycnf => Write::Connection(mycnf::write),
        Format::Template => {
            let content = template::render(credential, sources, &fields, stand_in.is_some())
                .map_err(|problem| vec![problem])?;
            return Ok(content.map(|content| (credential.path.clone(), content)).into_iter().collect());
        }
    };
    let mut out = SecretBuffer::default();
    let written = match write {
        Write::Fields(write) => write(&fields, &mut out),
        Write::Variables(variables) => variables::write(variables, &fields, &mut out),
        // Its parts have forms, and so has what stands for them.
        Write::Connection(write) => uri_parts::missing(credential, &real).and_then(|parts| {
            let mut fields = real.clone();
            fields.extend(parts.iter().map(|(field, value)| (field.clone(), value)));
            let connection = Connection::of(credential, &fields)?;
            let connection = if stand_in.is_some() { connection.hidden() } else { connection };
            write(credential, &fields, &connection, &mut out)
        }),
    };
    let text = written.map(|()| out.finish());
    let content = text.and_then(|text| match &credential.exported {
        None => Ok(text),
        Some(exported) => variables::export(exported, &text),
    });
    Ok(vec![(credential.path.clone(), content.map_err(|problem| vec![problem])?)])
}

#[cfg(test)]
mod tests;
