//! One pass over the steps: parse the annotations, fetch the sources, render the files and publish them. Each step completes
//! before the next one begins, so nothing incomplete is published. A pass that writes files reads sources again that are not
//! filled yet ([`incomplete`]).

pub(crate) mod incomplete;
pub(crate) mod unread;
mod waits;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use log::warn;

use crate::annotations::{self, DownwardError, ReferenceScope};
use crate::credential::{Credential, CredentialName};
use crate::kube::config::registry::Clusters;
use crate::kube::{self, Cause, Deadline, retry_until_done};
use crate::object::{ObjectData, ObjectRef};
use crate::render::{self, SOURCES_LIMIT, Sources};
use crate::secret::read_bounded;
use crate::text::ShortDuration;
use crate::volume::{self, Published, Volume};

pub(crate) use waits::Waits;

/// Maximum size of an annotations file, in bytes. A pod has at most 256 KiB of annotations; escapes make them longer.
const ANNOTATIONS_LIMIT: usize = 2 * 1024 * 1024;

/// Settings of a pass.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) annotations: AnnotationSource,
    /// The prefix of podcreds' annotations.
    pub(crate) prefix: String,
    /// Default namespace and cluster of sources.
    pub(crate) scope: ReferenceScope,
    /// Whether a pod may have no annotation with the prefix.
    pub(crate) allow_none: bool,
    /// Objects that need not be read, because they were in manifests.
    pub(crate) known: Sources,
    /// Bounds the time to read all objects, retries included.
    pub(crate) timeout: Duration,
    /// Which errors are not retried.
    pub(crate) gives_up: fn(&kube::Error) -> bool,
    pub(crate) waits: Waits,
}

/// Where the pod's annotations are read from.
#[derive(Debug)]
pub(crate) enum AnnotationSource {
    /// The API server.
    Pod {
        pod: ObjectRef,
        /// Whether the pod's name is the hostname, which may be truncated or set to another value.
        named_by_host: bool,
    },
    /// A file of a downward API volume.
    File(PathBuf),
    /// The pod template of a workload, which was read before.
    Template {
        /// Its kind, namespace and name.
        workload: String,
        annotations: Annotations,
    },
}

impl AnnotationSource {
    /// The pod that is read, if one is.
    pub(crate) fn pod(&self) -> Option<&ObjectRef> {
        match self {
            Self::Pod { pod, .. } => Some(pod),
            Self::File(_) | Self::Template { .. } => None,
        }
    }
}

/// The annotations of a pod, by key.
pub(crate) type Annotations = BTreeMap<String, String>;

/// Credentials and the content of their sources.
#[derive(Debug)]
pub(crate) struct FetchedSources {
    /// Sorted by name.
    pub(crate) credentials: Vec<Credential>,
    pub(crate) sources: Sources,
}

/// The result of a pass.
#[derive(Debug)]
pub(crate) struct PublishOutcome {
    /// Number of credentials with files: not those that are optional and lack their source.
    pub(crate) credentials: usize,
    /// Number of files.
    pub(crate) files: usize,
    pub(crate) published: Published,
}

impl fmt::Display for PublishOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Self { credentials, files, .. } = self;
        write!(f, "{files} file{} of {credentials} credential{}", plural(*files), plural(*credentials))
    }
}

/// Fetches, renders and publishes once.
///
/// # Errors
/// The first step that fails. The volume is then unchanged.
pub(crate) fn run(
    settings: &Settings,
    clusters: &Clusters,
    volume: &Volume,
) -> Result<PublishOutcome, Error> {
    let (bundle, credentials) = incomplete::render_when_complete(settings, clusters, |_| true)?;
    let published = volume.publish(&bundle)?;
    Ok(PublishOutcome { credentials, files: bundle.len(), published })
}

/// Reads the annotations and all objects that they name.
///
/// # Errors
/// Wrong annotations at once. Objects that could not be read, when the timeout has passed.
pub(crate) fn fetch_all(settings: &Settings, clusters: &Clusters) -> Result<FetchedSources, Error> {
    fetch_matching(settings, clusters, |_| true, Deadline::after(settings.timeout))
}

/// The same, for the credentials that match.
///
/// # Errors
/// As [`fetch_all`]: also wrong annotations of credentials that do not match.
fn fetch_matching(
    settings: &Settings,
    clusters: &Clusters,
    matches: impl Fn(&Credential) -> bool,
    deadline: Deadline,
) -> Result<FetchedSources, Error> {
    let (mut credentials, _) = credentials(settings, clusters, true, deadline)?;
    credentials.retain(matches);
    // Templates come first, so that a wrong one is reported before any Secret is read.
    let templates = credentials.iter().filter_map(Credential::template_object).collect::<BTreeSet<_>>();
    let mut sources = Sources::new();
    let is_template = |object: &ObjectRef| templates.contains(object);
    fetch(settings, clusters, &credentials, &mut sources, &is_template, deadline)?;
    match render::check_templates(&credentials, &sources) {
        // Reported together with what else is missing.
        Err(errors) if !errors.are_incomplete_input(&credentials) => return Err(errors.into()),
        Ok(()) | Err(_) => {}
    }
    fetch(settings, clusters, &credentials, &mut sources, &|object| !templates.contains(object), deadline)?;
    drop(templates);
    Ok(FetchedSources { credentials, sources })
}

/// Reads and parses the annotations. The other fields of the pod are empty if the annotations come from elsewhere or `metadata_only` is set.
///
/// # Errors
/// Wrong annotations at once. Annotations that could not be read, when the deadline has passed.
pub(crate) fn credentials(
    settings: &Settings,
    clusters: &Clusters,
    metadata_only: bool,
    deadline: Deadline,
) -> Result<(Vec<Credential>, kube::PartialJson), Error> {
    let (annotations, pod) = read_annotations(settings, clusters, metadata_only, deadline)?;
    let credentials = parse(settings, &annotations.data)?;
    for annotation in annotations::ignored_annotations(&annotations.data, &settings.prefix) {
        warn!("ignoring annotation {annotation}: it is for Vault");
    }
    for name in annotations::directories_like_files(&annotations.data, &settings.prefix) {
        warn!(credential:% = name; "credential {name}: without .format, .path is a directory with one file for each key, although it ends like the name of a file: add .format, such as env, or, for a directory, .format: files");
    }
    Ok((credentials, pod))
}

/// Reads the annotations and the other fields of the pod, as [`credentials`] does. Annotations from a file have an empty resourceVersion.
///
/// # Errors
/// If the file is missing or wrong, or the pod could not be read before the deadline.
pub(crate) fn read_annotations(
    settings: &Settings,
    clusters: &Clusters,
    metadata_only: bool,
    deadline: Deadline,
) -> Result<(kube::Object<Annotations>, kube::PartialJson), Error> {
    let data = match &settings.annotations {
        AnnotationSource::File(path) => read_file(path)?,
        AnnotationSource::Template { annotations, .. } => annotations.clone(),
        AnnotationSource::Pod { pod, named_by_host } => {
            return read_pod(settings, clusters, (pod, *named_by_host), metadata_only, deadline);
        }
    };
    Ok((kube::Object { version: String::new(), data }, kube::PartialJson::default()))
}

/// Parses annotations.
///
/// # Errors
/// Everything that is wrong with them.
pub(crate) fn parse(settings: &Settings, annotations: &Annotations) -> Result<Vec<Credential>, Error> {
    let credentials = annotations::parse(annotations, &settings.prefix, &settings.scope)?;
    if credentials.is_empty() && !settings.allow_none {
        let similar = annotations::similar_prefix(annotations, &settings.prefix).map(str::to_owned);
        return Err(Error::NoAnnotations {
            from: settings.annotations.to_string(),
            prefix: settings.prefix.clone(),
            similar,
        });
    }
    Ok(credentials)
}

fn read_file(path: &Path) -> Result<Annotations, Error> {
    let unreadable = |cause| Error::AnnotationsFile { path: path.to_owned(), cause };
    let bytes =
        File::open(path).and_then(|file| read_bounded(file, ANNOTATIONS_LIMIT)).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|cause| unreadable(io::Error::other(cause)))?;
    annotations::parse_downward_file(text).map_err(|cause| Error::Downward { path: path.to_owned(), cause })
}

fn read_pod(
    settings: &Settings,
    clusters: &Clusters,
    (pod, named_by_host): (&ObjectRef, bool),
    metadata_only: bool,
    deadline: Deadline,
) -> Result<(kube::Object<Annotations>, kube::PartialJson), Error> {
    let client = clusters.own();
    let attempt = |pod: &&ObjectRef| {
        client.pod(pod, metadata_only, deadline).inspect_err(|error| settings.waits.unread(error, &[]))
    };
    let read = retry_until_done([pod], |_| (), deadline, settings.gives_up, attempt);
    let read = read.map_err(|errors| {
        let hint = unread::pod_hint(&errors, pod, named_by_host, clusters);
        Error::Unread { errors, needed_by: Vec::new(), hint, waited: deadline.elapsed() }
    })?;
    let empty = kube::Object { version: String::new(), data: Annotations::new() };
    Ok(read.into_iter().next().map_or((empty, kube::PartialJson::default()), |(_, read)| read))
}

/// Whether all credentials that name an object can be rendered or skipped without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

/// The objects that the credentials name. An object is optional if all credentials that need it are optional.
pub(crate) fn objects(credentials: &[Credential]) -> BTreeMap<&ObjectRef, Need> {
    let mut objects = BTreeMap::new();
    for credential in credentials {
        for object in credential.objects() {
            objects.entry(object).or_insert(Need::Optional);
        }
        for object in credential.needed_objects().filter(|_| !credential.optional) {
            objects.insert(object, Need::Required);
        }
    }
    objects
}

/// Reads each distinct object that matches once, and adds it to `sources`: many of one cluster over several connections, and the
/// clusters side by side.
fn fetch(
    settings: &Settings,
    clusters: &Clusters,
    credentials: &[Credential],
    sources: &mut Sources,
    matches: &dyn Fn(&ObjectRef) -> bool,
    deadline: Deadline,
) -> Result<(), Error> {
    let all = objects(credentials);
    let is_known = |object: &ObjectRef| settings.known.contains_key(object);
    for object in all.keys().filter(|object| matches(object) && is_known(object)) {
        sources.insert((*object).clone(), settings.known[*object].clone());
    }
    let objects = all
        .iter()
        .map(|(object, need)| (*object, *need))
        .filter(|(object, _)| matches(object) && !is_known(object));
    let cluster = |(object, _): &(&ObjectRef, Need)| object.cluster.clone();
    let total = AtomicUsize::new(sources.values().flatten().map(ObjectData::size).sum());
    let read = retry_until_done(objects, cluster, deadline, settings.gives_up, |(object, need)| {
        match clusters.object(object, deadline).map(|object| object.data) {
            Err(error) if *need == Need::Optional && error.is_not_found() => Ok(None),
            Ok(data) if total.fetch_add(data.size(), Ordering::Relaxed) + data.size() > SOURCES_LIMIT => {
                Err(kube::Error::new(object, Cause::TooMuch { limit: SOURCES_LIMIT }))
            }
            // Explained at once: the first warning is the one that is read.
            result => result.map(Some).map_err(|mut error| {
                clusters.explain(&mut error);
                settings.waits.unread(&error, credentials);
                error
            }),
        }
    });
    let read = read.map_err(|mut errors| {
        unread::explain_forbidden(&mut errors, &all, clusters, deadline);
        let hint = unread::sources_hint(&errors, credentials, clusters);
        let needed_by = errors.iter().map(|error| unread::needed_by(credentials, error.object())).collect();
        Error::Unread { errors, needed_by, hint, waited: deadline.elapsed() }
    })?;
    for ((object, _), data) in read {
        sources.insert(object.clone(), data);
    }
    Ok(())
}

impl fmt::Display for AnnotationSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { pod, .. } => pod.fmt(f),
            Self::File(path) => path.display().fmt(f),
            Self::Template { workload, .. } => write!(f, "pod template of {workload}"),
        }
    }
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Annotations(#[from] annotations::Errors),
    /// No annotation with the prefix.
    #[error(
        "{from} has no annotation that begins with {prefix}/{}; in a Deployment, StatefulSet or Job, set annotations in spec.template.metadata.annotations, in a CronJob in spec.jobTemplate.spec.template.metadata.annotations",
        similar.as_ref().map(|similar| format!(", but one that begins with {similar}/")).unwrap_or_default()
    )]
    NoAnnotations {
        /// The pod or file that was read.
        from: String,
        prefix: String,
        /// The prefix of another annotation that may be a misspelling.
        similar: Option<String>,
    },
    /// The annotations file is missing or unreadable.
    #[error("cannot read {}: {cause}; provide it with a downward API volume (fieldPath: metadata.annotations)", path.display())]
    AnnotationsFile { path: PathBuf, cause: io::Error },
    /// The annotations file has another format.
    #[error("{}: {cause}", path.display())]
    Downward { path: PathBuf, cause: DownwardError },
    /// Objects that could not be read in time.
    #[error("{} (after {})", unread::message(errors, needed_by, hint.as_deref()), ShortDuration(*waited))]
    Unread {
        /// One for each object.
        errors: Vec<kube::Error>,
        /// For each error, the credentials that name the object. Empty for the pod.
        needed_by: Vec<Vec<CredentialName>>,
        /// A remedy.
        hint: Option<String>,
        /// For how long podcreds retried.
        waited: Duration,
    },
    #[error(transparent)]
    Render(#[from] render::Errors),
    /// Credentials that cannot be rendered before their sources have more keys, ports or values.
    #[error("{errors}{}", waited.map(|waited| format!("; still missing after {}", ShortDuration(waited))).unwrap_or_default())]
    Incomplete {
        errors: render::Errors,
        /// For how long podcreds waited; `None` means that the command does not wait.
        waited: Option<Duration>,
    },
    #[error(transparent)]
    Volume(#[from] volume::Error),
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

impl Error {
    /// The object that the error is about; `None` if there are several, or none.
    pub(crate) fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::Unread { errors, .. } => match &errors[..] {
                [error] => Some(error.object()),
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Namespace;

    #[test]
    fn an_object_is_optional_if_all_credentials_that_name_it_are() {
        let annotations = [
            ("a.secret", "both"),
            ("b.secret", "both"),
            ("b.optional", "true"),
            ("c.secret", "optional"),
            ("c.optional", "true"),
        ];
        let annotations =
            annotations.map(|(key, value)| (format!("podcreds.io/{key}"), value.to_owned())).into();
        let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
        let credentials = annotations::parse(&annotations, "podcreds.io", &scope).unwrap();
        let objects = objects(&credentials);
        let needs: Vec<_> = objects.iter().map(|(object, need)| (object.name(), *need)).collect();
        assert_eq!(needs, [("both", Need::Required), ("optional", Need::Optional)]);
    }

    #[test]
    fn an_object_of_an_optional_credential_is_required_if_the_template_of_another_one_needs_it() {
        for (template, need, names, hint) in [
            ("{{ credentials.c.x | default('') }}", Need::Optional, &["c"][..], None),
            (
                "{{ credentials.c.x }}",
                Need::Required,
                &["app", "c"],
                Some(
                    "credential app uses fields of credential c, which is optional and missing: in the template, write default(\"…\") after each of them, or set .optional: \"true\" for app too",
                ),
            ),
        ] {
            let annotations = [("app.template", template), ("c.secret", "c"), ("c.optional", "true")];
            let annotations =
                annotations.map(|(key, value)| (format!("podcreds.io/{key}"), value.to_owned())).into();
            let scope = ReferenceScope::local(Namespace::parse("prod").unwrap());
            let credentials = annotations::parse(&annotations, "podcreds.io", &scope).unwrap();
            let objects = objects(&credentials);
            let (object, found) = objects.first_key_value().unwrap();
            assert_eq!((*found, objects.len()), (need, 1));
            let needed_by = unread::needed_by(&credentials, object);
            assert_eq!(needed_by.iter().map(ToString::to_string).collect::<Vec<_>>(), names);
            assert_eq!(unread::optional_hint(&credentials, object).as_deref(), hint);
        }
    }
}
