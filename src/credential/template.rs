//! Where the template of a credential comes from.

use crate::credential::name::{FieldName, FieldNameError};
use crate::object::{Kind, NameError, Namespace, ObjectRef};
use crate::template::{Delimiters, Template};
use crate::text::RedactedPrefix;

/// Where the template of a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TemplateSource {
    /// The annotation itself.
    Text(Template),
    /// A key of a ConfigMap, which is read when the sources are.
    ConfigMap {
        /// The ConfigMap.
        object: ObjectRef,
        /// The key.
        key: FieldName,
        /// The marks in it.
        delimiters: Delimiters,
    },
}

/// Reads `[namespace/]configmap/key`; without a namespace it is `default`.
///
/// # Errors
/// For another number of parts, and for parts that are no names.
pub(crate) fn parse_template_key(
    text: &str,
    default: &Namespace,
) -> Result<(ObjectRef, FieldName), TemplateKeyError> {
    let (object, key) = text.rsplit_once('/').ok_or_else(|| TemplateKeyError::Form(text.to_owned()))?;
    if object.matches('/').count() > 1 {
        return Err(TemplateKeyError::Form(text.to_owned()));
    }
    Ok((ObjectRef::parse(Kind::ConfigMap, object, default)?, FieldName::parse(key)?))
}

/// A wrong value of `.template-from`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TemplateKeyError {
    /// Not two or three parts.
    #[error("{} is no key of a ConfigMap: write configmap/key or namespace/configmap/key", RedactedPrefix(.0))]
    Form(String),
    /// A wrong name of the ConfigMap or its namespace.
    #[error(transparent)]
    Object(#[from] NameError),
    /// A wrong key.
    #[error(transparent)]
    Key(#[from] FieldNameError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_config_map_has_two_or_three_parts() {
        let parse = |text: &str| parse_template_key(text, &Namespace::parse("prod").unwrap());
        for (text, object) in
            [("app/db.conf", "ConfigMap prod/app"), ("other/app/db.conf", "ConfigMap other/app")]
        {
            let (found, key) = parse(text).unwrap();
            assert_eq!((found.to_string().as_str(), key.as_str()), (object, "db.conf"));
        }
        for (text, part) in [
            ("", "write configmap/key"),
            ("app", "write configmap/key"),
            ("a/b/c/d", "write configmap/key"),
            ("/key", "invalid name"),
            ("App/key", "invalid name"),
            ("/app/key", "invalid namespace"),
            ("app/", "is no key"),
            ("app/..data", "is no key"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
