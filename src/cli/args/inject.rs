//! The flags of `inject`.

use std::path::PathBuf;

use clap::ArgAction;
use clap::builder::{BoolishValueParser, PossibleValuesParser};

use crate::annotations::DEFAULT_PREFIX;
use crate::cli::args::with_variable;
use crate::inject::Mode;

const CONTAINER: &str = "Container";

#[derive(Debug, clap::Args)]
#[command(mut_args(with_variable))]
pub(crate) struct InjectArgs {
    /// Manifest to read: a file, a directory, or - for the standard input; repeatable
    #[arg(long = "filename", short = 'f', value_name = "FILE", required = true, env = "PODCREDS_FILENAME")]
    pub(crate) filenames: Vec<PathBuf>,

    /// Remove what a previous run added
    #[arg(long, action = ArgAction::SetTrue, value_parser = BoolishValueParser::new(), env = "PODCREDS_UNINJECT")]
    pub(crate) uninject: bool,

    /// How podcreds runs: native-sidecar, sidecar (an init container and an ordinary container) or init; a pod's annotation inject.podcreds.io/mode wins [default: native-sidecar]
    #[arg(long, value_name = "MODE", value_parser = PossibleValuesParser::new(Mode::NAMES.map(|(name, _)| name)), hide_possible_values = true, env = "PODCREDS_MODE")]
    pub(crate) mode: Option<String>,

    /// Version of the cluster: before 1.29, the default mode is sidecar, and init for Jobs and CronJobs
    #[arg(long, value_name = "VERSION", value_parser = has_native_sidecars, env = "PODCREDS_KUBERNETES")]
    pub(crate) kubernetes: Option<bool>,

    /// Prefix of the annotation keys that podcreds reads, without the slash
    #[arg(long, value_name = "PREFIX", default_value = DEFAULT_PREFIX, env = "PODCREDS_ANNOTATION_PREFIX")]
    pub(crate) annotation_prefix: String,

    /// Image of podcreds
    #[arg(long, value_name = "IMAGE", default_value = concat!("podcreds:", env!("CARGO_PKG_VERSION")), value_parser = word, help_heading = CONTAINER, env = "PODCREDS_IMAGE")]
    pub(crate) image: String,

    /// When to pull the image: Always, IfNotPresent or Never [default: as Kubernetes decides]
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"], hide_possible_values = true, help_heading = CONTAINER, env = "PODCREDS_IMAGE_PULL_POLICY")]
    pub(crate) image_pull_policy: Option<String>,

    /// Argument to add to the container, such as --arg=--events; repeatable
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true, help_heading = CONTAINER, env = "PODCREDS_ARGS")]
    pub(crate) args: Vec<String>,

    /// Port of the health endpoints; a pod's annotation inject.podcreds.io/port wins
    #[arg(long, value_name = "PORT", default_value = "8081", value_parser = clap::value_parser!(u16).range(1..), help_heading = CONTAINER, env = "PODCREDS_PORT")]
    pub(crate) port: u16,

    /// Memory limit of the container; it must cover the files in the volume
    #[arg(long, value_name = "QUANTITY", default_value = "32Mi", value_parser = quantity, help_heading = CONTAINER, env = "PODCREDS_MEMORY_LIMIT")]
    pub(crate) memory_limit: String,

    /// Where all containers mount the volume
    #[arg(long, value_name = "DIR", default_value = "/podcreds", value_parser = mount_path, help_heading = CONTAINER, env = "PODCREDS_MOUNT_PATH")]
    pub(crate) mount_path: String,

    /// Size limit of the volume [default: 1Mi, or that of an existing volume]
    #[arg(long, value_name = "QUANTITY", value_parser = quantity, help_heading = CONTAINER, env = "PODCREDS_VOLUME_SIZE")]
    pub(crate) volume_size: Option<String>,
}

/// Native sidecars are on by default since Kubernetes 1.29.
fn has_native_sidecars(version: &str) -> Result<bool, &'static str> {
    let mut numbers = version.trim_start_matches('v').split('.');
    let minor = numbers.nth(1).map(|minor| minor.trim_end_matches('+').parse::<u32>());
    match (version.trim_start_matches('v').split('.').next(), minor) {
        (Some("1"), Some(Ok(minor))) => Ok(minor >= 29),
        _ => Err("write a version of Kubernetes such as 1.28"),
    }
}

fn word(text: &str) -> Result<String, &'static str> {
    let is_word = !text.is_empty() && !text.contains(char::is_whitespace);
    is_word.then(|| text.to_owned()).ok_or("must be the name of an image, without spaces")
}

fn mount_path(text: &str) -> Result<String, &'static str> {
    let path = text.trim_end_matches('/');
    let is_valid = path.starts_with('/') && !path.contains(':');
    is_valid.then(|| path.to_owned()).ok_or("must be an absolute path without a colon, other than /")
}

/// A quantity of bytes, as in a manifest.
/// Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
fn quantity(text: &str) -> Result<String, &'static str> {
    let suffix = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_valid = suffix.len() < text.len() && ["", "k", "M", "G", "Ki", "Mi", "Gi"].contains(&suffix);
    is_valid.then(|| text.to_owned()).ok_or("must be a number of bytes such as 32Mi")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_decides_about_native_sidecars() {
        for (version, expected) in
            [("1.29", true), ("v1.28.3", false), ("1.30+", true), ("1.9", false), ("v1.37.0-alpha.1", true)]
        {
            assert_eq!(has_native_sidecars(version), Ok(expected), "{version}");
        }
        for version in ["", "1", "29", "2.0", "1.x"] {
            assert!(has_native_sidecars(version).is_err(), "{version}");
        }
    }

    #[test]
    fn quantities_and_mount_paths_are_checked() {
        assert!(["1Mi", "65536", "1k"].into_iter().all(|text| quantity(text).is_ok()));
        assert!(["", "Mi", "1 Mi", "1mb", "-1"].into_iter().all(|text| quantity(text).is_err()));
        assert_eq!(mount_path("/creds/"), Ok("/creds".to_owned()));
        assert!(["", "/", "creds", "/a:b"].into_iter().all(|text| mount_path(text).is_err()));
    }
}
