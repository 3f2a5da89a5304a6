//! What a plugin prints: an `ExecCredential` with a status, in the version that it was asked in.
//! Source: <https://kubernetes.io/docs/reference/config-api/client-authentication.v1/>

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::kube::auth::exec_plugin::{PluginCredential, PluginVersion};
use crate::kube::auth::token;
use crate::secret::SecretBytes;

/// The kind of question and answer.
pub(crate) const KIND: &str = "ExecCredential";

#[derive(Deserialize)]
struct Answer<'a> {
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

/// Borrowed from the answer unless it has escapes in it.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is wrong with an answer, without a byte of it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum AnswerError {
    /// No JSON, or of another shape.
    #[error(
        "printed what is no ExecCredential ({what} at line {line} column {column}): it has to print that and nothing else on its standard output; correct its arguments in the kubeconfig"
    )]
    NotJson {
        /// What it is instead.
        what: &'static str,
        /// Where.
        line: usize,
        /// Where in the line.
        column: usize,
    },
    /// Another kind.
    #[error("printed an object of another kind than ExecCredential: correct its arguments in the kubeconfig")]
    OtherKind,
    /// Another version.
    #[error(
        "answers in {} when it is asked in {}: correct apiVersion in the kubeconfig, or update the plugin",
        answered.map_or("another apiVersion", PluginVersion::name),
        asked.name()
    )]
    OtherVersion {
        /// The version of the question.
        asked: PluginVersion,
        /// That of the answer, if it is one that is known.
        answered: Option<PluginVersion>,
    },
    /// Neither token nor certificate.
    #[error(
        "gave neither a token nor a client certificate: log in with what it belongs to, or correct its arguments in the kubeconfig"
    )]
    Empty,
    /// A certificate without a key, or a key without a certificate.
    #[error(
        "gave {} alone: clientCertificateData and clientKeyData belong together; update the plugin",
        if *has_certificate { "a client certificate" } else { "the key of a client certificate" }
    )]
    HalfACertificate {
        /// Which of the two it is.
        has_certificate: bool,
    },
    /// What cannot stand in a header.
    #[error("gave a token that {0}: correct its arguments in the kubeconfig, or update the plugin")]
    NoToken(String),
    /// No time.
    #[error(
        "gave an expirationTimestamp that is no time (RFC 3339, such as 2026-11-20T17:40:01Z): update the plugin"
    )]
    NoTime,
}

/// Reads an answer. What is empty is not there, and fields that are not known are passed over, as client-go has it.
pub(crate) fn parse(output: &[u8], asked: PluginVersion) -> Result<PluginCredential, AnswerError> {
    let Answer { kind, version, status } =
        serde_json::from_slice(output).map_err(|error| not_json(&error))?;
    if kind.is_none_or(|kind| kind.0 != KIND) {
        return Err(AnswerError::OtherKind);
    }
    let answered = version.and_then(|version| PluginVersion::parse(&version.0));
    if answered != Some(asked) {
        return Err(AnswerError::OtherVersion { asked, answered });
    }
    let status = status.ok_or(AnswerError::Empty)?;
    // All are taken over before any is looked at, so that what follows overwrites each.
    let [token, certificate, key] =
        [status.token, status.client_certificate_data, status.client_key_data].map(secret);
    let expires = status.expiration_timestamp.filter(|text| !text.0.is_empty());
    let token = token
        .map(|token| token::parse(token.expose()).map_err(AnswerError::NoToken))
        .transpose()?
        .filter(|token| !token.is_empty());
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            return Err(AnswerError::HalfACertificate { has_certificate: certificate.is_some() });
        }
    };
    if token.is_none() && certificate.is_none() {
        return Err(AnswerError::Empty);
    }
    let expires = expires.map(|text| time(&text.0).ok_or(AnswerError::NoTime)).transpose()?;
    Ok(PluginCredential { token, certificate, expires })
}

fn secret(text: Option<Text<'_>>) -> Option<SecretBytes> {
    let secret = match text?.0 {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => SecretBytes::new(text.into_bytes()),
    };
    Some(secret).filter(|secret| !secret.expose().is_empty())
}

/// Where it is wrong. serde's own text can repeat a value, so it is left out.
fn not_json(error: &serde_json::Error) -> AnswerError {
    let what = if error.is_data() { "unexpected JSON" } else { "not JSON" };
    AnswerError::NotJson { what, line: error.line(), column: error.column() }
}

/// Reads a time with its zone.
/// Source: <https://www.rfc-editor.org/rfc/rfc3339#section-5.6>
fn time(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Some(time);
    }
    // humantime knows no other zone than UTC.
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

    fn read(status: &str) -> Result<PluginCredential, AnswerError> {
        let answer = format!(r#"{{"apiVersion":"{}","kind":"{KIND}","status":{status}}}"#, V1.name());
        parse(answer.as_bytes(), V1)
    }

    const V1: PluginVersion = PluginVersion::V1;

    #[test]
    fn a_token_a_certificate_or_both_are_taken() {
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
    fn an_expiry_is_read_in_any_zone() {
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
            assert_eq!(seconds(text), Err(AnswerError::NoTime), "{text}");
        }
        assert!(read(r#"{"token":"t","expirationTimestamp":""}"#).unwrap().expires.is_none());
    }

    #[test]
    fn what_is_no_credential_is_refused_without_being_shown() {
        let of = |version: &str, kind: &str| {
            format!(r#"{{"apiVersion":"{version}","kind":"{kind}","status":{{"token":"test-token-1"}}}}"#)
        };
        let status = |status: &str| format!(r#"{{"apiVersion":"{}","kind":"{KIND}"{status}}}"#, V1.name());
        for (answer, said) in [
            (String::new(), "not JSON at line 1 column 0"),
            ("test-token-1".to_owned(), "not JSON at line 1"),
            (format!("{}\ntest-token-1", of(V1.name(), KIND)), "not JSON at line 2"),
            ("\"test-token-1\"".to_owned(), "unexpected JSON"),
            ("[\"test-token-1\"]".to_owned(), "of another kind"),
            (status(r#","status":"test-token-1""#), "unexpected JSON at line 1"),
            (status(r#","status":{"token":["test-token-1"]}"#), "unexpected JSON at line 1"),
            (of(V1.name(), "test-token-1"), "of another kind"),
            ("{}".to_owned(), "of another kind"),
            (of("test-token-1", KIND), "answers in another apiVersion when it is asked in client."),
            (
                of("client.authentication.k8s.io/v1beta1", KIND),
                "answers in client.authentication.k8s.io/v1beta1",
            ),
            (status(""), "neither a token nor a client certificate"),
            (status(r#","status":null"#), "neither a token"),
            (status(r#","status":{"token":""}"#), "neither a token"),
            (status(r#","status":{"token":" \n"}"#), "neither a token"),
            (
                status(r#","status":{"clientCertificateData":"test-token-1"}"#),
                "gave a client certificate alone",
            ),
            (
                status(r#","status":{"clientKeyData":"test-token-1"}"#),
                "gave the key of a client certificate alone",
            ),
            (
                status(r#","status":{"token":"x","clientKeyData":"test-token-1"}"#),
                "gave the key of a client certificate alone",
            ),
            (
                status(r#","status":{"token":"test-token-1\ntwo"}"#),
                "a token that holds characters that no token has",
            ),
            (status(r#","status":{"token":"test-token-1é"}"#), "a token that holds characters"),
            (
                status(&format!(r#","status":{{"token":"{}"}}"#, "test-token-1".repeat(1000))),
                "a token that is larger than any",
            ),
            (status(r#","status":{"token":"x","expirationTimestamp":"test-token-1"}"#), "no time (RFC 3339"),
        ] {
            let error = parse(answer.as_bytes(), V1).unwrap_err();
            let message = format!("{error} {error:?}");
            assert!(message.contains(said), "{answer}: {message}");
            assert!(!message.contains("test-token-1"), "{message}");
        }
    }
}
