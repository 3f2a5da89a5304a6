//! Adds podcreds to the pod templates of manifests: the container, the volume, and the mounts in the other containers. What is
//! added is what the admission policy in `deploy/injection` adds. Pure: manifests in, texts and notes out.

mod container;
mod plan;
mod requests;

#[cfg(test)]
mod tests;

use crate::annotations::{self, ReferenceScope};
use crate::inject::plan::Plan;
use crate::manifest::edit::edit;
use crate::manifest::{Manifest, Template, has_prefix};
use crate::object::Namespace;
use crate::text::one_line;
use crate::yaml::SyntaxError;

/// How podcreds runs in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    NativeSidecar,
    /// An init container, and an ordinary container beside the application.
    Sidecar,
    Init,
}

impl Mode {
    pub(crate) const NAMES: [(&'static str, Self); 3] =
        [("native-sidecar", Self::NativeSidecar), ("sidecar", Self::Sidecar), ("init", Self::Init)];

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode)
    }

    fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, mode)| *mode == self).map_or("", |(name, _)| name)
    }
}

/// What to add. Annotations of a pod override the mode and the port.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) image: String,
    /// `None` means the default of Kubernetes.
    pub(crate) pull_policy: Option<String>,
    /// `None` means the best mode that the cluster has.
    pub(crate) mode: Option<Mode>,
    /// Whether the cluster has native sidecars: Kubernetes 1.29 and newer.
    pub(crate) has_native_sidecars: bool,
    pub(crate) port: u16,
    pub(crate) mount_path: String,
    /// `None` means that an existing volume keeps its size.
    pub(crate) volume_size: Option<String>,
    pub(crate) memory_limit: String,
    /// More arguments of the container.
    pub(crate) args: Vec<String>,
    /// The prefix of the annotations.
    pub(crate) prefix: String,
    /// Whether to remove what was added.
    pub(crate) uninject: bool,
}

/// The edited manifests.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Of each manifest.
    pub(crate) texts: Vec<String>,
    /// What was done with each object.
    pub(crate) notes: Vec<String>,
    /// What the user should look at.
    pub(crate) warnings: Vec<String>,
}

/// Why nothing is edited.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// All problems, each with its position.
    #[error("{}", list(.0))]
    Manifests(Vec<String>),
    #[error("the container cannot be written: {0}")]
    Container(#[from] SyntaxError),
}

fn list(problems: &[String]) -> String {
    match problems {
        [problem] => problem.clone(),
        problems => {
            format!("{} problems, and nothing is written:\n  {}", problems.len(), problems.join("\n  "))
        }
    }
}

/// Adds podcreds to each pod template that has annotations, or removes what was added.
///
/// # Errors
/// All invalid annotations, and the first object of each manifest that cannot be edited.
pub(crate) fn run(manifests: &[Manifest], options: &Options) -> Result<Output, Error> {
    let mut output = Output::default();
    let mut problems = Vec::new();
    let mut concerned = 0;
    for manifest in manifests {
        let mut changes = Vec::new();
        for (index, object) in manifest.objects().iter().enumerate() {
            let Some(template) = object.template() else { continue };
            let is_annotated = template.is_annotated(&options.prefix);
            let on_workload = !template.path.is_empty() && has_prefix(object.node, &options.prefix);
            let place = object.place(object.node);
            if !is_annotated && on_workload && !options.uninject {
                output.warnings.push(format!(
                    "{place}: {object}: annotations {}/... have no effect here: move them to the pod template, under {}.metadata.annotations",
                    options.prefix,
                    template.path.join(".")
                ));
            }
            if !is_annotated && !options.uninject {
                continue;
            }
            let before = problems.len();
            if !options.uninject {
                check_annotations(&template, options, &mut problems);
            }
            let plan = plan::for_template(&manifest.text, &template, options, &mut problems)?;
            if problems.len() > before {
                continue;
            }
            match plan {
                Plan::Nothing => {}
                Plan::Left(reason) => {
                    concerned += 1;
                    output.warnings.push(format!("{place}: {object}: left as it is: {reason}"));
                }
                Plan::Edit { changes: edits, done, warnings } => {
                    concerned += 1;
                    let warned = warnings.iter().map(|warning| format!("{place}: {object}: {warning}"));
                    output.warnings.extend(warned);
                    output.notes.push(format!("{place}: {object}: {done}"));
                    if !edits.is_empty() {
                        changes.push((index, edits));
                    }
                }
            }
        }
        match changes.as_slice() {
            [] => output.texts.push(manifest.text.clone()),
            changes => match edit(manifest, changes) {
                Ok(text) => output.texts.push(text),
                Err(refusal) => problems.push(refusal.to_string()),
            },
        }
    }
    // Container names of a manifest may have any characters.
    for text in problems.iter_mut().chain(&mut output.warnings).chain(&mut output.notes) {
        *text = one_line(text, usize::MAX);
    }
    if !problems.is_empty() {
        return Err(Error::Manifests(problems));
    }
    if concerned == 0 {
        output.warnings.push(match options.uninject {
            true => "nothing to remove: no pod has a container that podcreds inject added".to_owned(),
            false => format!(
                "nothing to inject: no pod template has an annotation such as {}/db.secret",
                options.prefix
            ),
        });
    }
    Ok(output)
}

/// Reports what `init` would reject. The clusters file is not at hand, so every cluster counts as known.
fn check_annotations(template: &Template<'_>, options: &Options, problems: &mut Vec<String>) {
    let object = template.object;
    // Each pod template is checked by itself, and a wrong namespace is reported by the API server.
    let namespace = object.namespace().and_then(|name| Namespace::parse(name).ok());
    let Some(namespace) = namespace.or_else(|| Namespace::parse("default").ok()) else { return };
    let mut scope = ReferenceScope::local(namespace);
    scope.add_clusters(&template.annotations().0, &options.prefix);
    if let Err(errors) = annotations::parse_template(template, &options.prefix, &scope) {
        problems.extend(errors.iter().map(|(place, cause)| format!("{place}: {object}: {cause}")));
    }
}
