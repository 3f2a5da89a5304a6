//! The output of an exec plugin: an `ExecCredential` with a `status`, in the `apiVersion` of the input.
//! Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::kube::auth::exec::{PluginCredential, PluginVersion};
use crate::kube::auth::{TokenError, parse_token};
use crate::secret::SecretBytes;

/// The `kind` of input and output.
pub(crate) const KIND: &str = "ExecCredential";

#[derive(Deserialize)]
struct ExecCredential<'a> {
    #[serde(borrow, default)]
    kind: Option<Text<'a>>,
    #[serde(borrow, default, rename = "apiVersion")]
    version: Option<Text<'a>>,
    #[serde(borrow, default)]
    status: Option<Status<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    #[serde(borrow, default)]
    token: Option<Text<'a>>,
    #[serde(borrow, default)]
    client_certificate_data: Option<Text<'a>>,
    #[serde(borrow, default)]
    client_key_data: Option<Text<'a>>,
    #[serde(borrow, default)]
    expiration_timestamp: Option<Text<'a>>,
}

/// Borrowed from the output, unless it contains escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Output that is not a credential. Messages do not quote it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ExecCredentialError {
    #[error(
        "did not print an ExecCredential ({what} at line {line} column {column}): it must print that and nothing else to its standard output; correct its arguments in the kubeconfig"
    )]
    InvalidJson { what: &'static str, line: usize, column: usize },
    #[error("printed an object whose kind is not ExecCredential: correct its arguments in the kubeconfig")]
    Kind,
    #[error(
        "printed an ExecCredential of {} but the kubeconfig requests {}: correct apiVersion in the kubeconfig, or update the plugin",
        printed.map_or("an unknown apiVersion", PluginVersion::name),
        requested.name()
    )]
    Version {
        requested: PluginVersion,
        /// `None` means an unknown version.
        printed: Option<PluginVersion>,
    },
    #[error(
        "printed neither a token nor a client certificate: log in with the tool that it belongs to, or correct its arguments in the kubeconfig"
    )]
    Empty,
    #[error(
        "printed {}: clientCertificateData and clientKeyData belong together; update the plugin",
        if *has_certificate { "a client certificate without its key" } else { "a client key without its certificate" }
    )]
    IncompletePair { has_certificate: bool },
    #[error("printed a token that {0}: correct its arguments in the kubeconfig, or update the plugin")]
    Token(#[from] TokenError),
    #[error(
        "printed an invalid expirationTimestamp (RFC 3339, for example 2026-11-20T17:40:01Z): update the plugin"
    )]
    Timestamp,
}

/// Parses the output of a plugin. Like client-go, it treats an empty field as absent and ignores unknown fields.
pub(crate) fn parse(
    output: &[u8],
    requested: PluginVersion,
) -> Result<PluginCredential, ExecCredentialError> {
    let ExecCredential { kind, version, status } =
        serde_json::from_slice(output).map_err(|error| not_json(&error))?;
    if kind.is_none_or(|kind| kind.0 != KIND) {
        return Err(ExecCredentialError::Kind);
    }
    let printed = version.and_then(|version| PluginVersion::parse(&version.0));
    if printed != Some(requested) {
        return Err(ExecCredentialError::Version { requested, printed });
    }
    let status = status.ok_or(ExecCredentialError::Empty)?;
    // All become secrets before the first check, so that each of them is overwritten even if a check fails.
    let [token, certificate, key] =
        [status.token, status.client_certificate_data, status.client_key_data].map(secret);
    let expires = status.expiration_timestamp.filter(|text| !text.0.is_empty());
    let token = token.map(|token| parse_token(token.expose())).transpose()?.filter(|token| !token.is_empty());
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            return Err(ExecCredentialError::IncompletePair { has_certificate: certificate.is_some() });
        }
    };
    if token.is_none() && certificate.is_none() {
        return Err(ExecCredentialError::Empty);
    }
    let expires = expires.map(|text| time(&text.0).ok_or(ExecCredentialError::Timestamp)).transpose()?;
    Ok(PluginCredential { token, certificate, expires })
}

fn secret(text: Option<Text<'_>>) -> Option<SecretBytes> {
    let secret = match text?.0 {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => SecretBytes::new(text.into_bytes()),
    };
    Some(secret).filter(|secret| !secret.expose().is_empty())
}

/// Reports the position only: serde's message may contain the value.
fn not_json(error: &serde_json::Error) -> ExecCredentialError {
    let what = if error.is_data() { "unexpected JSON" } else { "not JSON" };
    ExecCredentialError::InvalidJson { what, line: error.line(), column: error.column() }
}

/// Parses a timestamp with its offset.
/// Source: <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>
fn time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    // humantime accepts UTC only.
    let (local, zone) = text.split_at_checked(text.len().checked_sub("+00:00".len())?)?;
    let local = local.ends_with(|c: char| c.is_ascii_digit()).then(|| format!("{local}Z"))?;
    let local = humantime::parse_rfc3339(&local).ok()?;
    let number = |text: &str, limit: u64| -> Option<u64> {
        let number = text.parse().ok().filter(|number| *number < limit)?;
        (text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit())).then_some(number)
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let offset = Duration::from_secs(60 * (60 * number(hours, 24)? + number(minutes, 60)?));
    match zone.as_bytes().first()? {
        b'+' => local.checked_sub(offset),
        b'-' => local.checked_add(offset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: &str) -> Result<PluginCredential, ExecCredentialError> {
        let output = format!(r#"{{"apiVersion":"{}","kind":"{KIND}","status":{status}}}"#, V1.name());
        parse(output.as_bytes(), V1)
    }

    const V1: PluginVersion = PluginVersion::V1;

    #[test]
    fn a_token_a_certificate_or_both_are_accepted() {
        let token = read(r#"{"token":" test-token-1\n","new":{"a":[1]}}"#).unwrap();
        assert_eq!(token.token.unwrap().as_str(), "test-token-1");
        assert!(token.certificate.is_none() && token.expires.is_none());

        let pair = r#""clientCertificateData":"test\ncertificate","clientKeyData":"test-key""#;
        for (token, has_token) in [("null", false), ("\"\"", false), ("\"test-token-1\"", true)] {
            let both = read(&format!(r#"{{"token":{token},{pair},"expirationTimestamp":null}}"#)).unwrap();
            let (certificate, key) = both.certificate.unwrap();
            assert_eq!((certificate.expose(), key.expose()), (&b"test\ncertificate"[..], &b"test-key"[..]));
            assert_eq!(both.token.is_some(), has_token);
        }
    }

    #[test]
    fn an_expiry_is_parsed_with_any_offset() {
        let seconds = |text: &str| {
            let time = read(&format!(r#"{{"token":"t","expirationTimestamp":"{text}"}}"#))?.expires.unwrap();
            Ok(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        for text in [
            "2026-11-20T17:40:01Z",
            "2026-11-20T17:40:01.123456789Z",
            "2026-11-20T17:40:01+00:00",
            "2026-11-20T17:40:01-00:00",
            "2026-11-20T19:40:01+02:00",
            "2026-11-21T03:25:01.5+09:45",
            "2026-11-20T10:10:01-07:30",
        ] {
            assert_eq!(seconds(text), Ok(1_795_196_401), "{text}");
        }
        for text in [
            "tomorrow",
            "1795196401",
            "2026-11-20",
            "2026-11-20T17:40:01",
            "2026-11-20T17:40:01+0200",
            "2026-11-20T17:40:01+24:00",
            "2026-11-20T17:40:01+01:60",
            "2026-11-20T17:40:01+1:000",
            "2026-11-20T17:40:01++1:00",
            "2026-11-20T17:40:01Z+01:00",
            "2026-11-20T17:40:01*01:00",
            "é2026-11-20T17:40:01:00",
            "2026-11-20T17:40:0é01:00",
        ] {
            assert_eq!(seconds(text), Err(ExecCredentialError::Timestamp), "{text}");
        }
        assert!(read(r#"{"token":"t","expirationTimestamp":""}"#).unwrap().expires.is_none());
    }

    #[test]
    fn invalid_output_is_rejected_without_being_shown() {
        let with = |version: &str, kind: &str| {
            format!(r#"{{"apiVersion":"{version}","kind":"{kind}","status":{{"token":"test-token-1"}}}}"#)
        };
        let status = |status: &str| format!(r#"{{"apiVersion":"{}","kind":"{KIND}"{status}}}"#, V1.name());
        for (output, expected) in [
            (String::new(), "not JSON at line 1 column 0"),
            ("test-token-1".to_owned(), "not JSON at line 1"),
            (format!("{}\ntest-token-1", with(V1.name(), KIND)), "not JSON at line 2"),
            ("\"test-token-1\"".to_owned(), "unexpected JSON"),
            ("[\"test-token-1\"]".to_owned(), "whose kind is not ExecCredential"),
            (status(r#","status":"test-token-1""#), "unexpected JSON at line 1"),
            (status(r#","status":{"token":["test-token-1"]}"#), "unexpected JSON at line 1"),
            (with(V1.name(), "test-token-1"), "whose kind is not ExecCredential"),
            ("{}".to_owned(), "whose kind is not ExecCredential"),
            (
                with("test-token-1", KIND),
                "an ExecCredential of an unknown apiVersion but the kubeconfig requests client.",
            ),
            (
                with("client.authentication.k8s.io/v1beta1", KIND),
                "an ExecCredential of client.authentication.k8s.io/v1beta1",
            ),
            (status(""), "neither a token nor a client certificate"),
            (status(r#","status":null"#), "neither a token"),
            (status(r#","status":{"token":""}"#), "neither a token"),
            (status(r#","status":{"token":" \n"}"#), "neither a token"),
            (
                status(r#","status":{"clientCertificateData":"test-token-1"}"#),
                "a client certificate without its key",
            ),
            (status(r#","status":{"clientKeyData":"test-token-1"}"#), "a client key without its certificate"),
            (
                status(r#","status":{"token":"x","clientKeyData":"test-token-1"}"#),
                "a client key without its certificate",
            ),
            (
                status(r#","status":{"token":"test-token-1\ntwo"}"#),
                "a token that contains characters that are not allowed",
            ),
            (status(r#","status":{"token":"test-token-1é"}"#), "a token that contains characters"),
            (
                status(&format!(r#","status":{{"token":"{}"}}"#, "test-token-1".repeat(1000))),
                "a token that is too long",
            ),
            (
                status(r#","status":{"token":"x","expirationTimestamp":"test-token-1"}"#),
                "invalid expirationTimestamp (RFC 3339",
            ),
        ] {
            let error = parse(output.as_bytes(), V1).unwrap_err();
            let message = format!("{error} {error:?}");
            assert!(message.contains(expected), "{output}: {message}");
            assert!(!message.contains("test-token-1"), "{message}");
        }
    }
}
