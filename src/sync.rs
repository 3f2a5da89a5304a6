//! One pass: annotations to credentials, credentials to the content of their sources, content to files, files to the
//! volume. Each step ends before the next begins, so nothing is written that is not whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::{info, warn};

use crate::annotations::{self, DownwardError, ReferenceScope};
use crate::bounded_file::read_bounded;
use crate::bundle::Bundle;
use crate::credential::{Credential, CredentialName};
use crate::kube::config::registry::Clusters;
use crate::kube::{self, Cause, Client, Deadline, retry_until_done};
use crate::object::ObjectRef;
use crate::render::{self, Rendered, Sources, missing_inputs};
use crate::volume::{self, Published, Volume};

/// The largest annotations file that is read, in bytes. A pod has at most 256 KiB of annotations; escapes make them longer.
const ANNOTATIONS_LIMIT: usize = 2 * 1024 * 1024;

/// What a pass needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where the annotations are.
    pub(crate) annotations: AnnotationsFrom,
    /// Which of them are ours.
    pub(crate) prefix: String,
    /// Where sources are looked for.
    pub(crate) scope: ReferenceScope,
    /// Whether a pod without any annotation of ours is fine.
    pub(crate) allow_none: bool,
    /// The bound on reading all objects, retries included.
    pub(crate) timeout: Duration,
    /// Which errors end it at once.
    pub(crate) gives_up: fn(&kube::Error) -> bool,
}

/// Where a pod's annotations are read.
#[derive(Debug)]
pub(crate) enum AnnotationsFrom {
    /// From the API server.
    Pod {
        /// The pod.
        pod: ObjectRef,
        /// Whether its name is a guess: host names are cut and can be set.
        named_by_host: bool,
    },
    /// From a file that a downward API volume makes.
    File(PathBuf),
}

/// What was read: credentials and the content of their sources.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// In order of name.
    pub(crate) credentials: Vec<Credential>,
    /// By object.
    pub(crate) sources: Sources,
}

/// What a pass did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// How many credentials were written: not those that are optional and have no source.
    pub(crate) credentials: usize,
    /// How many files they have.
    pub(crate) files: usize,
    /// Messages about what is missing in the bundle because it is optional.
    pub(crate) omissions: BTreeSet<String>,
    /// Whether they had to be written.
    pub(crate) published: Published,
}

impl fmt::Display for Outcome {
    /// How much it was.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let Self { credentials, files, .. } = self;
        write!(f, "{files} file{} of {credentials} credential{}", plural(*files), plural(*credentials))
    }
}

/// Reads everything and publishes it.
///
/// # Errors
/// The first step that fails; the volume is then as it was.
pub(crate) fn run(settings: &Settings, clusters: &Clusters, volume: &Volume) -> Result<Outcome, Error> {
    let Gathered { credentials, sources } = gather(settings, clusters)?;
    publish(&credentials, &sources, volume)
}

/// Renders everything and publishes it.
///
/// # Errors
/// The first step that fails; the volume is then as it was.
pub(crate) fn publish(
    credentials: &[Credential],
    sources: &Sources,
    volume: &Volume,
) -> Result<Outcome, Error> {
    publish_with(credentials, sources, Bundle::new(), volume)
}

/// The same, with files of other credentials beside it.
///
/// # Errors
/// As [`publish`].
pub(crate) fn publish_with(
    credentials: &[Credential],
    sources: &Sources,
    files: Bundle,
    volume: &Volume,
) -> Result<Outcome, Error> {
    let Rendered { mut bundle, omissions, credentials } = render(credentials, sources)?;
    bundle.extend(files);
    let published = volume.publish(&bundle)?;
    let omissions = omissions.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    Ok(Outcome { credentials, files: bundle.len(), omissions, published })
}

/// Reads the annotations and everything that they name.
///
/// # Errors
/// Wrong annotations at once; what cannot be read when the time is up.
pub(crate) fn gather(settings: &Settings, clusters: &Clusters) -> Result<Gathered, Error> {
    gather_some(settings, clusters, |_| true)
}

/// Reads the annotations and what the credentials that are wanted name; the others are left out.
///
/// # Errors
/// Wrong annotations at once, of all credentials; what cannot be read when the time is up.
pub(crate) fn gather_some(
    settings: &Settings,
    clusters: &Clusters,
    wanted: impl Fn(&Credential) -> bool,
) -> Result<Gathered, Error> {
    let deadline = Deadline::after(settings.timeout);
    let mut credentials = credentials(settings, clusters, deadline)?;
    credentials.retain(wanted);
    // A wrong template is told before any Secret is asked for.
    let templates = credentials.iter().filter_map(Credential::template_object).collect::<BTreeSet<_>>();
    let mut sources =
        fetch(clusters, &credentials, |object| templates.contains(object), deadline, settings.gives_up)?;
    render::check_templates(&credentials, &sources)?;
    sources.extend(fetch(
        clusters,
        &credentials,
        |object| !templates.contains(object),
        deadline,
        settings.gives_up,
    )?);
    // Logged before rendering: a missing optional field may be the reason why rendering fails.
    missing_inputs(&credentials, &sources).for_each(|omission| info!("{omission}"));
    Ok(Gathered { credentials, sources })
}

/// Reads the annotations alone.
///
/// # Errors
/// Wrong annotations at once; what cannot be read when the time is up.
pub(crate) fn credentials(
    settings: &Settings,
    clusters: &Clusters,
    deadline: Deadline,
) -> Result<Vec<Credential>, Error> {
    let annotations = match &settings.annotations {
        AnnotationsFrom::File(path) => read_file(path)?,
        AnnotationsFrom::Pod { pod, named_by_host } => {
            read_pod(&clusters.own(), pod, *named_by_host, deadline, settings.gives_up)?
        }
    };
    let credentials = annotations::parse(&annotations, &settings.prefix, &settings.scope)?;
    for annotation in annotations::ignored_annotations(&annotations, &settings.prefix) {
        warn!("{annotation} is ignored: podcreds does not talk to Vault");
    }
    if credentials.is_empty() && !settings.allow_none {
        let similar = annotations::similar_prefix(&annotations, &settings.prefix).map(str::to_owned);
        return Err(Error::None {
            from: settings.annotations.to_string(),
            prefix: settings.prefix.clone(),
            similar,
        });
    }
    Ok(credentials)
}

/// Renders every credential.
///
/// # Errors
/// Every credential that its sources cannot fill.
pub(crate) fn render<'a>(credentials: &'a [Credential], sources: &'a Sources) -> Result<Rendered<'a>, Error> {
    Ok(render::render(credentials, sources)?)
}

fn read_file(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let unreadable = |cause| Error::AnnotationsFile { path: path.to_owned(), cause };
    let bytes =
        File::open(path).and_then(|file| read_bounded(file, ANNOTATIONS_LIMIT)).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).map_err(|cause| unreadable(io::Error::other(cause)))?;
    annotations::parse_downward_file(text).map_err(|cause| Error::Downward { path: path.to_owned(), cause })
}

fn read_pod(
    client: &Client,
    pod: &ObjectRef,
    named_by_host: bool,
    deadline: Deadline,
    gives_up: fn(&kube::Error) -> bool,
) -> Result<BTreeMap<String, String>, Error> {
    let read = retry_until_done([pod], deadline, gives_up, |pod| client.annotations(pod, deadline));
    let read = read.map_err(|errors| {
        let hint = match errors.first().map(|error| &error.cause) {
            Some(Cause::NotFound { .. }) if named_by_host => Some(
                "the name was taken from the host name: set POD_NAME from the field metadata.name in the manifest",
            ),
            Some(Cause::Forbidden { .. }) => Some(
                "or mount the annotations by a downward API volume and name the file with --annotations-file, which needs no right",
            ),
            _ => None,
        };
        Error::Unread { errors, needed_by: Vec::new(), hint, waited: deadline.elapsed() }
    })?;
    Ok(read.into_iter().flat_map(|(_, annotations)| annotations).collect::<BTreeMap<_, _>>())
}

/// Reads each distinct object once, of those that are wanted.
fn fetch(
    clusters: &Clusters,
    credentials: &[Credential],
    is_wanted: impl Fn(&ObjectRef) -> bool,
    deadline: Deadline,
    gives_up: fn(&kube::Error) -> bool,
) -> Result<Sources, Error> {
    // An object is optional if it is for all that name it.
    let mut wanted = BTreeMap::new();
    for credential in credentials {
        for object in credential.objects().filter(|object| is_wanted(object)) {
            *wanted.entry(object).or_insert(true) &= credential.optional;
        }
    }
    let read = retry_until_done(wanted, deadline, gives_up, |(object, optional)| {
        match clusters.object(object, deadline).map(|object| object.data) {
            Err(error) if *optional && error.is_not_found() => Ok(None),
            result => result.map(Some),
        }
    });
    let read = read.map_err(|errors| {
        let missing = errors.iter().any(kube::Error::is_not_found);
        let hint = missing.then_some(
            "make what is missing, or correct the annotation; .optional: \"true\" lets it be missing",
        );
        let needed_by = errors.iter().map(|error| needed_by(credentials, error.object())).collect();
        Error::Unread { errors, needed_by, hint, waited: deadline.elapsed() }
    })?;
    Ok(read.into_iter().map(|((object, _), data)| (object.clone(), data)).collect::<BTreeMap<_, _>>())
}

impl fmt::Display for AnnotationsFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { pod, .. } => pod.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Wrong annotations.
    #[error(transparent)]
    Annotations(#[from] annotations::Errors),
    /// No annotations of ours.
    #[error(
        "{from} has no annotation that begins with {prefix}/{}: in a Deployment, StatefulSet or Job they belong in spec.template.metadata.annotations",
        similar.as_ref().map(|similar| format!(", but one that begins with {similar}/")).unwrap_or_default()
    )]
    None {
        /// Where they were looked for.
        from: String,
        /// What they should begin with.
        prefix: String,
        /// What one begins with that somebody may have meant.
        similar: Option<String>,
    },
    /// The annotations file is missing or unreadable.
    #[error("{} cannot be read: {cause}; a downward API volume with fieldPath metadata.annotations makes it", path.display())]
    AnnotationsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The annotations file is something else.
    #[error("{}: {cause}", path.display())]
    Downward {
        /// The file.
        path: PathBuf,
        /// Where and why.
        cause: DownwardError,
    },
    /// Objects that could not be read in time.
    #[error("{}{} (after {:.1} s)", list(errors, needed_by), hint.map(|hint| format!("; {hint}")).unwrap_or_default(), waited.as_secs_f64())]
    Unread {
        /// One for each object.
        errors: Vec<kube::Error>,
        /// For each error, the credentials that name the object; empty for the pod.
        needed_by: Vec<Vec<CredentialName>>,
        /// What else would help.
        hint: Option<&'static str>,
        /// How long it was tried.
        waited: Duration,
    },
    /// Sources that do not fill the credentials.
    #[error(transparent)]
    Render(#[from] render::Errors),
    /// The volume.
    #[error(transparent)]
    Volume(#[from] volume::Error),
    /// The standard output.
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

fn needed_by(credentials: &[Credential], object: &ObjectRef) -> Vec<CredentialName> {
    let named = credentials.iter().filter(|credential| credential.objects().any(|named| named == object));
    named.map(|credential| credential.name.clone()).collect()
}

fn list(errors: &[kube::Error], needed_by: &[Vec<CredentialName>]) -> String {
    let line = |(index, error): (usize, &kube::Error)| match needed_by.get(index).map(Vec::as_slice) {
        None | Some([]) => error.to_string(),
        Some([name]) => format!("credential {name}: {error}"),
        Some([name, others @ ..]) => format!("credential {name} and {} more: {error}", others.len()),
    };
    errors.iter().enumerate().map(line).collect::<Vec<_>>().join("\n  ")
}
