//! What the annotations of vault-db-injector describe.

use crate::credential::names::FieldName;
use crate::text::Excerpt;

/// The content of an `env` file that follows the annotations of vault-db-injector: environment variables as that tool sets them.
/// Source: <https://github.com/numberly/vault-db-injector>, `pkg/k8smutator/k8smutator.go`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InjectorEnv {
    /// `.mode: classic`: variables for the user name and for the password.
    Classic {
        /// At least one name.
        user: Vec<FieldName>,
        /// At least one name.
        password: Vec<FieldName>,
    },
    /// `.mode: uri`: variables for a URI that contains user name and password.
    Uri {
        /// At least one name.
        names: Vec<FieldName>,
        uri: UriTemplate,
    },
}

/// A URI into which the user name and the password are inserted, replacing any user info that it already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriTemplate {
    /// Up to and including `//`.
    scheme: String,
    /// Everything from the host on.
    rest: String,
}

impl UriTemplate {
    /// Parses `scheme://[user[:password]@]host…`. Placeholders are allowed for user and password only.
    pub(crate) fn parse(text: &str) -> Result<Self, UriTemplateError> {
        let error = || UriTemplateError(Excerpt::new(text));
        let (scheme, rest) = text.split_once("://").ok_or_else(error)?;
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(inner);
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let host = rest[..authority].rfind('@').map_or(0, |at| at + 1);
        let rest = &rest[host..];
        let is_plain = rest.bytes().all(|b| b.is_ascii_graphic()) && !rest.contains("{{");
        if is_scheme && is_plain && !rest.is_empty() {
            Ok(Self { scheme: format!("{scheme}://"), rest: rest.to_owned() })
        } else {
            Err(error())
        }
    }

    /// The part before the user name.
    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The part after the `@`.
    pub(crate) fn rest(&self) -> &str {
        &self.rest
    }
}

/// A text that is not a URI without user name and password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid URI {_0}: write scheme://@host:port/database, without user and password")]
pub(crate) struct UriTemplateError(Excerpt);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_replace_the_user_info_or_are_inserted() {
        for (text, scheme, rest) in [
            ("postgresql://@h:5432/d?sslmode=require", "postgresql://", "h:5432/d?sslmode=require"),
            ("postgresql://h/d", "postgresql://", "h/d"),
            ("postgresql://{{user}}:{{password}}@h/d", "postgresql://", "h/d"),
            ("mongodb+srv://a:b@c@h/?x=@y", "mongodb+srv://", "h/?x=@y"),
        ] {
            let uri = UriTemplate::parse(text).unwrap();
            assert_eq!((uri.scheme(), uri.rest()), (scheme, rest), "{text}");
        }
        for text in [
            "",
            "h:5432/d",
            "://h",
            "1a://h",
            "a b://h",
            "a://",
            "a://u@",
            "a://u@{{host}}",
            "a://h\n",
            "a://h é",
        ] {
            assert!(UriTemplate::parse(text).is_err(), "{text:?}");
        }
        let message = UriTemplate::parse("test-user:test-password@ h").unwrap_err().to_string();
        assert!(!message.contains("test-password"), "{message}");
    }
}
