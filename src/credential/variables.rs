//! Variables that get parts of a connection, in the vocabulary of vault-db-injector.
//! Source: <https://github.com/numberly/vault-db-injector>, `pkg/k8smutator/k8smutator.go`.

use crate::credential::FieldName;
use crate::text::Quoted;

/// What an `env` file holds instead of the fields under their own names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variables {
    /// `.mode: classic`: each of these variables gets the user or the password.
    Classic {
        /// For the user, at least one.
        user: Vec<FieldName>,
        /// For the password, at least one.
        password: Vec<FieldName>,
    },
    /// `.mode: uri`: each of these variables gets a URI with user and password in it.
    Uri {
        /// At least one.
        names: Vec<FieldName>,
        /// The URI.
        uri: UriTemplate,
    },
}

/// A URI into which user and password are put, in place of what may stand there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UriTemplate {
    /// With the `//`.
    scheme: String,
    /// From the host on.
    rest: String,
}

impl UriTemplate {
    /// Reads `scheme://[user[:password]@]host…`.
    ///
    /// # Errors
    /// For anything else, also where something else than user and password is left open.
    pub(crate) fn parse(text: &str) -> Result<Self, UriTemplateError> {
        let error = || UriTemplateError(without_user(text));
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

    /// What stands before the user.
    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What stands behind the `@`.
    pub(crate) fn rest(&self) -> &str {
        &self.rest
    }
}

/// What can be shown of a wrong one: somebody may have put a password there.
fn without_user(text: &str) -> String {
    text.rsplit('@').next().unwrap_or_default().to_owned()
}

/// No URI into which user and password can be put.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{} is no URI that only user and password are missing in: write scheme://@host:port/database",
    Quoted(.0)
)]
pub(crate) struct UriTemplateError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_go_where_they_stood_or_were_left_out() {
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
