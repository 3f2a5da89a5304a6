//! The header of a notification, parsed from `.on-change-header`.

use crate::secret::SecretBytes;
use crate::template::{Delimiters, Template, TemplateError};
use crate::text::Excerpt;

/// The longest header line, in bytes: a server's usual limit for all headers is 8 KiB, and a request's connection has a buffer of that
/// size.
pub(crate) const HEADER_LIMIT: usize = 7 * 1024;

/// Headers that belong to the connection or the body, so that a value from elsewhere could break the request or smuggle another one
/// (RFC 9110, section 7.6.1). In lower case.
const RESERVED: [&str; 13] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header whose value is a template over the fields of its credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeaderTemplate {
    pub(crate) name: String,
    /// The whole line, so that the positions in errors are those in the annotation.
    pub(crate) line: Template,
}

/// A rendered header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: SecretBytes,
}

impl HeaderTemplate {
    /// Parses `Name: value`.
    pub(crate) fn parse(text: &str, delimiters: &Delimiters) -> Result<Self, HeaderError> {
        let text = text.trim();
        let (name, _) = text.split_once(':').ok_or(HeaderError::Form)?;
        let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HeaderError::Name(Excerpt::new(name)));
        }
        match RESERVED.into_iter().find(|reserved| name.eq_ignore_ascii_case(reserved)) {
            Some(reserved) => Err(HeaderError::Reserved(reserved)),
            None => Ok(Self { name: name.to_owned(), line: Template::parse(text, delimiters)? }),
        }
    }

    /// The value in a rendered line, without the spaces around it. `None` means that a header cannot carry it.
    pub(crate) fn value(&self, line: &SecretBytes) -> Option<SecretBytes> {
        let value = line.expose().strip_prefix(self.name.as_bytes())?.strip_prefix(b":")?;
        is_header_value(value).then(|| SecretBytes::new(value.trim_ascii().to_vec()))
    }
}

/// Whether a header can carry these bytes (RFC 9110, section 5.5): no line break, NUL or other control character except for a tab.
pub(crate) fn is_header_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

/// An invalid value of `.on-change-header`. Messages show no more of it than an excerpt of the name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum HeaderError {
    #[error("is not a header: write Name: value, for example Authorization: Bearer {{{{ token }}}}")]
    Form,
    #[error(
        "invalid header name {_0}: write Name: value, with a name of letters, digits and `-`, and no space before the colon"
    )]
    Name(Excerpt),
    #[error("header {_0} is not supported: it belongs to the connection or the body, which podcreds sends")]
    Reserved(&'static str),
    #[error(transparent)]
    Template(#[from] TemplateError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HeaderTemplate, HeaderError> {
        HeaderTemplate::parse(text, &Delimiters::default())
    }

    #[test]
    fn a_header_is_a_name_and_a_value() {
        for (text, name) in [
            ("Authorization: Bearer {{ token }}", "Authorization"),
            ("x-reload_1:{{ token }}\n", "x-reload_1"),
            ("  X: a:b", "X"),
        ] {
            assert_eq!(parse(text).unwrap().name, name, "{text}");
        }
        for (text, part) in [
            (
                "Bearer {{ token }}",
                "is not a header: write Name: value, for example Authorization: Bearer {{ token }}",
            ),
            (": x", "invalid header name"),
            ("X : x", "invalid header name"),
            ("é: x", "invalid header name"),
            ("{{ name }}: x", "invalid header name"),
            ("Host: x", "header host is not supported"),
            ("content-LENGTH: 1", "header content-length is not supported"),
            ("Transfer-Encoding: chunked", "header transfer-encoding is not supported"),
            ("X: {{ token", "line 1"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn an_error_in_the_name_does_not_show_a_token() {
        let message = parse("test-token-0123456789 x: y").unwrap_err().to_string();
        assert!(!message.contains("test-token"), "{message}");
    }

    #[test]
    fn the_value_is_what_a_header_can_carry() {
        let header = parse("X-Key: {{ key }}").unwrap();
        let value = |line: &str| header.value(&line.into()).map(|value| value.expose().to_vec());
        assert_eq!(value("X-Key:  a\tb: é \t"), Some("a\tb: é".as_bytes().to_vec()));
        assert_eq!(value("X-Key:"), Some(Vec::new()));
        for bad in ["X-Key: a\nHost: b", "X-Key: a\n", "X-Key: \r", "X-Key: a\0", "X-Key: \u{7f}"] {
            assert_eq!(value(bad), None, "{bad:?}");
        }
        for byte in 0..=u8::MAX {
            assert_eq!(
                is_header_value(&[byte]),
                ureq::http::HeaderValue::from_bytes(&[byte]).is_ok(),
                "{byte}"
            );
        }
    }
}
