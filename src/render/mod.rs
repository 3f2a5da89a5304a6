//! Renders credentials and the content of their sources to a bundle. This module selects the fields and decides which file
//! they go to; `formats` writes them. Pure: bytes in, files or every error out.

mod address;
mod engine;
mod entries;
mod error;
mod fields;
mod header;
mod json;
mod login;
mod missing_key;
mod names;
mod notice;
mod overrides;
mod redaction;
mod shared;
mod short_host;
mod template;
mod url;
mod write;

use std::collections::BTreeMap;
use std::iter::Sum;

pub(crate) use address::{Address, addresses};
pub(crate) use engine::lacks_engine;
pub(crate) use error::{Error, Errors, Problem};
pub use fields::Sources;
pub(crate) use notice::{Notice, missing_inputs};
pub(crate) use template::{check as check_templates, work_share};

use crate::credential::{
    Bundle, BundleFile, ClientFileFormat, ConnectionStringFormat, Credential, CredentialName, DocumentFormat,
    Engine, EnvExport, EnvFileFormat, FieldName, Format, Header, Output, PathClaims, RelativePath,
};
use crate::formats::options::OptionSet;
use crate::formats::{Fields, adonet, jdbc, libpq, mycnf, pkcs12, text, uri};
use crate::render::redaction::{Redaction, shown};
use crate::render::shared::{SharedFiles, is_shared};
use crate::render::write::{ConnectionInput, Write, WriteConnection, buffered, problems, write_connection};
use crate::secret::SecretBytes;

/// The largest bundle, in bytes. It is kept in memory, and most volumes are memory too.
const BUNDLE_LIMIT: usize = 16 * 1024 * 1024;
/// The most bytes that all sources may have together: they are kept in memory too, as a whole, even if only some keys are used.
pub(crate) const SOURCES_LIMIT: usize = 24 * 1024 * 1024;
/// The most files of a bundle.
const FILE_LIMIT: usize = 10_000;

/// The number of errors after which no further credential is rendered. Each key of a large object may be one.
const ERROR_LIMIT: usize = 10_000;

/// The maximum number of certificates of one credential that podcreds reports. Each one is a series of a metric, and a Secret may
/// have many keys.
const CERTIFICATE_LIMIT: usize = 20;

const TOO_MANY_BYTES: Problem = Problem::TooLarge { limit: BUNDLE_LIMIT, unit: "bytes" };

/// The result of rendering.
#[derive(Debug)]
pub struct Rendered<'a> {
    /// The files of all credentials.
    pub bundle: Bundle,
    /// What was omitted because that is allowed, and what is probably a mistake.
    pub(crate) notices: Vec<Notice<'a>>,
    /// How many credentials were not skipped.
    pub(crate) credentials: usize,
    /// The headers of notifications, each with its credential.
    pub(crate) headers: Vec<(&'a Credential, Header)>,
    /// When the certificates among the fields expire.
    pub(crate) expiries: Vec<Expiry<'a>>,
}

/// A field that contains a certificate.
#[derive(Debug)]
pub(crate) struct Expiry<'a> {
    pub(crate) credential: &'a CredentialName,
    pub(crate) field: FieldName,
    /// Unix time.
    pub(crate) not_after: u64,
}

/// What was found while a credential was rendered.
#[derive(Default)]
struct Findings<'a> {
    notices: Vec<Notice<'a>>,
    expiries: Vec<Expiry<'a>>,
}

/// The size of a bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    bytes: usize,
    files: usize,
}

impl Size {
    pub(crate) fn of(bundle: &Bundle) -> Self {
        let bytes = bundle.values().map(|file| file.content.expose().len()).sum();
        Self { bytes, files: bundle.len() }
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |sum, size| Self {
            bytes: sum.bytes.saturating_add(size.bytes),
            files: sum.files.saturating_add(size.files),
        })
    }
}

/// Renders every credential.
///
/// # Errors
/// Every reason why a credential cannot be rendered from these sources.
pub fn render<'a>(credentials: &'a [Credential], sources: &'a Sources) -> Result<Rendered<'a>, Errors> {
    render_with(credentials, sources, None, Size::default(), work_share(credentials))
}

/// Renders credentials. `taken` is the part of the limits that other files already take. Each template may do `work`, its share of
/// the work of all templates of the pod ([`work_share`]).
///
/// # Errors
/// As [`render`].
pub(crate) fn render_beside<'a>(
    taken: Size,
    work: usize,
    credentials: &'a [Credential],
    sources: &'a Sources,
) -> Result<Rendered<'a>, Errors> {
    render_with(credentials, sources, None, taken, work)
}

/// Renders every credential with a placeholder for each value from a Secret, so that the output can be shown. If values that are not
/// secret do not fit beside the placeholders, they are replaced too.
///
/// # Errors
/// As [`render`].
pub fn render_redacted<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
    placeholder: &str,
) -> Result<Rendered<'a>, Errors> {
    let placeholder = SecretBytes::from(placeholder);
    let with = |all| {
        let redaction = Redaction { placeholder: &placeholder, all };
        render_with(credentials, sources, Some(redaction), Size::default(), work_share(credentials))
    };
    with(false).or_else(|_| with(true))
}

fn render_with<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
    redaction: Option<Redaction<'_>>,
    taken: Size,
    work: usize,
) -> Result<Rendered<'a>, Errors> {
    let mut bundle = Bundle::new();
    let (mut claims, mut shared_files) = (PathClaims::default(), SharedFiles::default());
    let mut errors = Vec::new();
    let (mut findings, mut headers) = (Findings::default(), Vec::new());
    let mut rendered = 0;
    let mut room = Size {
        bytes: BUNDLE_LIMIT.saturating_sub(taken.bytes),
        files: FILE_LIMIT.saturating_sub(taken.files),
    };
    for credential in credentials {
        let files = match files(credential, sources, redaction, room, work, &mut findings) {
            Ok(Some(files)) => files,
            Ok(None) => continue,
            Err(problems) => {
                let is_full = problems.iter().any(Problem::is_too_large);
                errors.extend(problems.into_iter().map(|problem| Error::new(&credential.name, problem)));
                if is_full || errors.len() >= ERROR_LIMIT {
                    // Rendering more would only take more time.
                    break;
                }
                continue;
            }
        };
        if let Some(template) = &credential.on_change_header {
            match header::render(credential, template, sources, redaction, work) {
                Ok(Some(header)) => headers.push((credential, header)),
                Ok(None) => continue,
                Err(problems) => {
                    errors.extend(problems.into_iter().map(|problem| Error::new(&credential.name, problem)));
                    continue;
                }
            }
        }
        rendered += 1;
        let format = credential.output.file_format();
        let is_shared = is_shared(credential, credentials);
        for (path, content) in files {
            room.bytes -= content.expose().len();
            let claimed =
                claims.file(&path, format, &credential.name).map_err(|conflict| vec![conflict.into()]);
            let added = claimed.and_then(|()| {
                if !is_shared {
                    bundle.insert(path, BundleFile { content, mode: credential.mode });
                    return Ok(());
                }
                let original = match redaction {
                    Some(_) if format == Format::Pgpass => one_file(credential, sources, room, work)?,
                    _ => None,
                };
                let entries = shared::entries(credential, sources, work)?;
                shared_files.add(credential, content, original, &entries, &mut claims)
            });
            for problem in added.err().into_iter().flatten() {
                errors.push(Error::new(&credential.name, problem));
            }
        }
        room.files = FILE_LIMIT.saturating_sub(taken.files + bundle.len() + shared_files.len());
    }
    errors.extend(shared_files.check_lines());
    if !errors.is_empty() {
        return Err(Errors(errors));
    }
    shared_files.join_into(&mut bundle);
    let Findings { mut notices, expiries } = findings;
    notices.extend(missing_inputs(credentials, sources));
    Ok(Rendered { bundle, notices, credentials: rendered, headers, expiries })
}

/// The content of the only file of a credential, without redaction.
fn one_file(
    credential: &Credential,
    sources: &Sources,
    room: Size,
    work: usize,
) -> Result<Option<SecretBytes>, Vec<Problem>> {
    let files = files(credential, sources, None, room, work, &mut Findings::default())?.unwrap_or_default();
    Ok(files.into_iter().next().map(|(_, content)| content))
}

/// Renders the files of one credential. Returns `None` if the credential is optional and a source or its template is missing.
/// Checks that the files fit into `room` before it copies anything.
fn files<'a>(
    credential: &'a Credential,
    sources: &'a Sources,
    redaction: Option<Redaction<'_>>,
    room: Size,
    work: usize,
    Findings { notices, expiries }: &mut Findings<'a>,
) -> Result<Option<Vec<(RelativePath, SecretBytes)>>, Vec<Problem>> {
    let Some(selection) = fields::select(credential, sources, work)? else { return Ok(None) };
    let fields::Selection { fields: selected, public, overrides, url, notices: more, derived: _ } = selection;
    notices.extend(more);
    let mut values = Fields::new();
    values.extend(selected.iter().map(|(field, value)| (field.clone(), &**value)));
    notices.extend(names::leave_out(credential, &mut values));
    notices.extend(notice::line_breaks(credential, &values));
    // A connection does not contain the certificates that its source may also have.
    if !matches!(credential.output, Output::ConnectionString { .. } | Output::ClientFile { .. }) {
        // One key may have many names.
        let mut searched = 0;
        let within_limit = values.iter().take_while(|(_, value)| {
            searched += value.expose().len();
            searched <= SOURCES_LIMIT
        });
        let certificates = within_limit.filter_map(|(field, value)| {
            let not_after = pkcs12::not_after(value.expose())?;
            Some(Expiry { credential: &credential.name, field: field.clone(), not_after })
        });
        expiries.extend(certificates.take(CERTIFICATE_LIMIT));
    }
    let is_public = |field: &FieldName| public.binary_search(field).is_ok();
    let fields = values
        .iter()
        .map(|(field, value)| (field.clone(), shown(redaction, value, is_public(field))))
        .collect::<BTreeMap<_, _>>();
    let files = match credential.output {
        Output::Files => fields.len(),
        Output::Pkcs12 => pkcs12::FILES,
        _ => 1,
    };
    if files > room.files {
        return Err(vec![Problem::TooLarge { limit: FILE_LIMIT, unit: "files" }]);
    }
    // One key may have many names.
    let writes_all = matches!(credential.output, Output::Files | Output::Env(_) | Output::Document(_));
    if writes_all && fields.values().map(|value| value.expose().len()).sum::<usize>() > room.bytes {
        return Err(vec![TOO_MANY_BYTES]);
    }
    let buffered = |write: Write<'_>| buffered(write, room.bytes, TOO_MANY_BYTES);
    let input = ConnectionInput { url, overrides: &overrides, redaction, is_public: &is_public };
    let connect = |engine: Option<Engine>, option_set, write: WriteConnection<'_>| {
        write_connection(credential, engine, option_set, &values, &input, write)
    };
    let content = match &credential.output {
        Output::Files => {
            let file = |(field, value): (&_, &&SecretBytes)| (credential.path.join(field), (*value).clone());
            return Ok(Some(fields.iter().map(file).collect()));
        }
        Output::Pkcs12 => {
            let files = pkcs12::write(credential, &values).map_err(|error| problems(vec![error]))?;
            if files.iter().map(|(_, content)| content.expose().len()).sum::<usize>() > room.bytes {
                return Err(vec![TOO_MANY_BYTES]);
            }
            let file =
                |(name, content)| (credential.path.join(&name), shown(redaction, &content, false).clone());
            return Ok(Some(files.into_iter().map(file).collect()));
        }
        Output::Template { env_export, .. } => {
            match template::render(credential, sources, &fields, redaction, work)? {
                Some(content) => exported(env_export.as_ref(), content, room.bytes),
                None => return Ok(None),
            }
        }
        Output::Env(format) => {
            let is_named = |field: &_| credential.named_fields().any(|named| named == field);
            buffered(&|out| text::write_env_file(*format, &fields, &is_named, out))
                .map_err(|problems| names::name_keys(credential, sources, problems))
        }
        Output::InjectorEnv(variables) => buffered(&|out| text::write_injector_env(variables, &fields, out)),
        Output::Document(DocumentFormat::Json) => buffered(&|out| text::write_json(&fields, out)),
        Output::Document(DocumentFormat::Yaml) => buffered(&|out| text::write_yaml(&fields, out)),
        Output::Document(DocumentFormat::Properties) => buffered(&|out| text::write_properties(&fields, out)),
        Output::ConnectionString { format, engine, env_export } => {
            let quoting = match env_export {
                Some(EnvExport { file: EnvFileFormat::Envfile, .. }) => libpq::Quoting::Unquoted,
                _ => libpq::Quoting::Quoted,
            };
            let option_set = match format {
                ConnectionStringFormat::Libpq => OptionSet::Of(Engine::Postgresql),
                _ => OptionSet::OfConnection,
            };
            let (content, notice) = connect(*engine, option_set, &|connection, out| match format {
                ConnectionStringFormat::Uri(scheme) => uri::write(connection, scheme.as_ref(), out),
                ConnectionStringFormat::Jdbc => jdbc::write(connection, out),
                ConnectionStringFormat::Adonet => adonet::write(connection, out),
                ConnectionStringFormat::Libpq => libpq::write(connection, quoting, out),
            })?;
            notices.extend(notice);
            exported(env_export.as_ref(), content, room.bytes)
        }
        Output::ClientFile { format, engine } => {
            let option_set = match format {
                ClientFileFormat::Mycnf => OptionSet::Of(Engine::Mysql),
                ClientFileFormat::Pgservice => OptionSet::Of(Engine::Postgresql),
                ClientFileFormat::Pgpass => OptionSet::Empty,
            };
            let (content, notice) = connect(*engine, option_set, &|connection, out| match format {
                ClientFileFormat::Pgpass => libpq::write_pgpass(connection, out),
                ClientFileFormat::Pgservice => libpq::write_pgservice(&credential.name, connection, out),
                ClientFileFormat::Mycnf => mycnf::write(connection, out),
            })?;
            notices.extend(notice);
            Ok(content)
        }
    };
    let content = content?;
    if content.expose().len() > room.bytes {
        return Err(vec![TOO_MANY_BYTES]);
    }
    Ok(Some(vec![(credential.path.clone(), content)]))
}

/// Assigns a text to environment variables, if there are any. Returns at most `limit` bytes.
fn exported(
    env_export: Option<&EnvExport>,
    content: SecretBytes,
    limit: usize,
) -> Result<SecretBytes, Vec<Problem>> {
    match env_export {
        Some(export) => buffered(&|out| text::export_env(export, &content, out), limit, TOO_MANY_BYTES),
        None => Ok(content),
    }
}

#[cfg(test)]
mod tests;
