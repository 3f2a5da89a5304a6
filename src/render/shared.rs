//! Files that several credentials share: the parts that the credentials render on their own, until `formats::merge` joins them.

use crate::credential::{
    Bundle, BundleFile, Conflict, Credential, EnvFileFormat, FieldName, Format, Output, PathClaims,
    RelativePath, is_env_name,
};
use crate::formats::merge::{self, PgpassParts};
use crate::render::Sources;
use crate::render::error::{Error, Problem};
use crate::render::fields;
use crate::secret::SecretBytes;

/// The shared files, in the order of their first credentials.
#[derive(Default)]
pub(crate) struct SharedFiles<'a>(Vec<SharedFile<'a>>);

struct SharedFile<'a> {
    path: &'a RelativePath,
    format: Format,
    parts: Vec<Part<'a>>,
}

struct Part<'a> {
    credential: &'a Credential,
    content: SecretBytes,
    /// The part before redaction, if another part has to be compared with it.
    original: Option<SecretBytes>,
}

/// Whether another credential has the same file.
pub(crate) fn is_shared(credential: &Credential, credentials: &[Credential]) -> bool {
    credential.output.file_format().is_mergeable()
        && credentials.iter().filter(|other| other.path == credential.path).nth(1).is_some()
}

impl<'a> SharedFiles<'a> {
    /// Adds the part of a credential, unless it has an entry in common with an earlier part. The path is claimed already.
    pub(crate) fn add(
        &mut self,
        credential: &'a Credential,
        content: SecretBytes,
        original: Option<SecretBytes>,
        entries: &[FieldName],
        claims: &mut PathClaims<'a>,
    ) -> Result<(), Vec<Problem>> {
        claims.entries(credential, entries.iter()).map_err(|conflict| vec![conflict.into()])?;
        let index = self.0.iter().position(|file| *file.path == credential.path).unwrap_or_else(|| {
            let format = credential.output.file_format();
            self.0.push(SharedFile { path: &credential.path, format, parts: Vec::new() });
            self.0.len() - 1
        });
        self.0[index].parts.push(Part { credential, content, original });
        Ok(())
    }

    /// The errors of the credentials of whose password lines libpq would never use one.
    pub(crate) fn check_lines(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        for SharedFile { path, parts, .. } in self.0.iter().filter(|file| file.format == Format::Pgpass) {
            let mut lines = PgpassParts::default();
            for part in parts {
                if let Some(earlier) = lines.add(part.original()) {
                    let (path, other) = ((*path).clone(), parts[earlier].credential.name.clone());
                    errors.push(Error::new(&part.credential.name, Conflict::Lines { path, other }.into()));
                }
            }
        }
        errors
    }

    /// The number of files.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Joins the parts of each file, and adds the files to the bundle.
    pub(crate) fn join_into(self, bundle: &mut Bundle) {
        for SharedFile { path, format, parts } in self.0 {
            let content = merge::join(format, parts.iter().map(|part| &part.content));
            // All of them have the same mode.
            let mode = parts.first().and_then(|part| part.credential.mode);
            bundle.insert(path.clone(), BundleFile { content, mode });
        }
    }
}

impl Part<'_> {
    fn original(&self) -> &SecretBytes {
        self.original.as_ref().unwrap_or(&self.content)
    }
}

/// The names of the entries that a credential writes. A section of a service file has the credential's own name, and lines of a
/// password file have none.
pub(crate) fn entries(
    credential: &Credential,
    sources: &Sources,
    work: usize,
) -> Result<Vec<FieldName>, Vec<Problem>> {
    if let Some(names) = credential.output.exported_variables() {
        return Ok(names.concat());
    }
    let are_variables = match credential.output {
        Output::Env(format) => format != EnvFileFormat::Envfile,
        Output::Document(_) => false,
        _ => return Ok(Vec::new()),
    };
    let fields =
        fields::select(credential, sources, work)?.map(|selection| selection.fields).unwrap_or_default();
    Ok(fields.into_keys().filter(|field| !are_variables || is_env_name(field.as_str())).collect())
}
