//! Turns the flags of `check` into its settings.

use clap::Parser;
use clap::error::ErrorKind;

use crate::check::Options;
use crate::cli::args::{Args, CheckArgs};
use crate::cli::exit::Error;
use crate::cli::settings;
use crate::cli::{cluster_access, variable_of};
use crate::commands::check::{Command, Live, Subject};
use crate::inspect::{Query, Target};
use crate::kube;
use crate::kube::config::clusters_file;
use crate::object::{ClusterRef, Namespace, is_subdomain};
use crate::sync::Settings;
use crate::text::Quoted;

pub(crate) fn settings(mut args: CheckArgs) -> Result<Command, Error> {
    let setting = |text: &str| Err(Error::Setting(text.to_owned()));
    if !args.files.is_empty() {
        if args.target.is_some() {
            return setting(
                "--filename: cannot be combined with KIND/NAME: check a manifest, or what is in the cluster",
            );
        }
        if args.connect {
            return setting(
                "--connect: cannot be combined with --filename, which reads nothing from the cluster",
            );
        }
        let namespace = args.source.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or("default");
        let namespace =
            Namespace::parse(namespace).map_err(|cause| Error::Setting(format!("--namespace: {cause}")))?;
        let mut options = options(&args, namespace)?;
        if let Some(path) = &args.source.access.clusters {
            let file = clusters_file::load(path)?;
            options.clusters = Some(file.clusters.into_iter().map(|entry| entry.id).collect());
        }
        let subject = Subject::Manifests(args.files);
        return Ok(Command { options, subject, format: args.output, is_strict: args.strict });
    }
    if args.target.is_none()
        && !cluster_access::is_in_pod()
        && args.source.pod.as_deref().is_none_or(str::is_empty)
    {
        return setting(
            "pass manifests, as in podcreds check -f app.yaml, or name a pod or a workload, as in podcreds check deploy/app",
        );
    }
    if let Some(target) = &args.target {
        args.source.pod = Some(target.name().to_owned());
    }
    let (settings, access) = settings::from_source_args(&args.source)?;
    let (target, named_by_host) = match &args.target {
        Some(target) => (target.clone(), false),
        None => {
            let (pod, named_by_host) = settings::pod(&args.source, settings.scope.namespace.clone())?;
            (Target::pod(&pod), named_by_host)
        }
    };
    let is_own = args.target.is_none() && cluster_access::is_in_pod();
    let query = Query {
        target,
        cluster: ClusterRef::Local,
        scope: settings.scope.clone(),
        named_by_host,
        prefix: settings.prefix.clone(),
        timeout: settings.timeout,
    };
    let options = options(&args, settings.scope.namespace.clone())?;
    let settings = Settings { gives_up: kube::Error::is_actionable, allow_none: true, ..settings };
    let live = Live { clusters: access.clusters, query, settings, connects: args.connect, is_own };
    let subject = Subject::Live(Box::new(live));
    Ok(Command { options, subject, format: args.output, is_strict: args.strict })
}

fn options(args: &CheckArgs, namespace: Namespace) -> Result<Options, Error> {
    let prefix = args.source.annotation_prefix.trim_end_matches('/').to_owned();
    if !is_subdomain(&prefix) {
        let problem = format!("--annotation-prefix: {} is not a DNS subdomain", Quoted(&prefix));
        return Err(Error::Setting(problem));
    }
    Ok(Options { prefix, namespace, clusters: None, is_injected: args.injected, parse_command })
}

/// Why podcreds would reject this command line.
fn parse_command(words: &[&str]) -> Option<String> {
    let words: Vec<_> = std::iter::once(&"podcreds").chain(words).map(std::ffi::OsString::from).collect();
    let error = Args::try_parse_from(&words).err()?;
    match error.kind() {
        ErrorKind::UnknownArgument
        | ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::MissingRequiredArgument
        | ErrorKind::ArgumentConflict => {}
        // A value may come from a variable of this process, which the pod does not have.
        ErrorKind::InvalidValue | ErrorKind::ValueValidation if variable_of(&error, &words).is_none() => {}
        _ => return None,
    }
    let text = error.to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Some("the command of podcreds is missing, such as init or sidecar".to_owned());
    }
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let problem = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Some(tip.map_or(problem.clone(), |tip| format!("{problem}; {tip}")))
}
