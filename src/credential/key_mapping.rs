//! Which keys of the sources become fields, and under which names: the values of `.keys`, `.prefix` and `.names`.

use std::borrow::Cow;
use std::fmt;

use crate::credential::names::FieldName;
use crate::escape::percent_decode;

/// Which keys of the sources become fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyMapping {
    /// All keys, under their own names.
    All,
    /// The keys that `.keys` lists.
    Listed(Vec<KeyEntry>),
}

impl KeyMapping {
    /// The entries of `.keys`.
    pub(crate) fn entries(&self) -> &[KeyEntry] {
        match self {
            Self::All => &[],
            Self::Listed(entries) => entries,
        }
    }
}

/// An entry of `.keys`: `field`, `field=key` or `field=key#/json/pointer`, each with a `?` at its end if it may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyEntry {
    pub(crate) field: FieldName,
    /// The key, after the alias of its source if that has one.
    pub(crate) key: FieldName,
    /// Selects a value inside the JSON text of the key.
    pub(crate) pointer: Option<JsonPointer>,
    /// Whether the field is omitted if the key, or what the pointer names, is missing.
    pub(crate) optional: bool,
}

/// A JSON pointer as the fragment of a URI (RFC 6901, section 6): the names of members and the indexes of elements, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JsonPointer {
    tokens: Vec<String>,
}

impl JsonPointer {
    /// Parses what follows the `#`: nothing, or `/` before each name. A name is percent-encoded, and has `~1` for `/` and `~0` for `~`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut names = text.split('/');
        if !names.next()?.is_empty() {
            return None;
        }
        names.map(parse_token).collect::<Option<_>>().map(|tokens| Self { tokens })
    }

    pub(crate) fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

fn parse_token(text: &str) -> Option<String> {
    let decoded = percent_decode(text)?;
    let decoded = decoded.expose_text()?;
    let mut escapes = decoded.split('~').skip(1);
    let is_valid = escapes.all(|rest| rest.starts_with(['0', '1']));
    is_valid.then(|| decoded.replace("~1", "/").replace("~0", "~"))
}

/// As RFC 6901 writes it, not percent-encoded.
impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tokens.iter().try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// How fields are named that have no name of their own in `.keys`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Comes before each name.
    pub(crate) prefix: String,
    /// Whether names are those of variables: in upper case, with `_` for `-` and `.`.
    pub(crate) upper: bool,
}

impl Naming {
    pub(crate) fn apply<'k>(&self, name: &'k str) -> Cow<'k, str> {
        if self.prefix.is_empty() && !self.upper {
            return name.into();
        }
        let upper = |c: char| if matches!(c, '-' | '.') { '_' } else { c.to_ascii_uppercase() };
        let named = name.chars().map(|c| if self.upper { upper(c) } else { c });
        self.prefix.chars().chain(named).collect::<String>().into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pointer_is_the_fragment_of_a_uri() {
        // The examples of RFC 6901, section 6.
        for (text, tokens) in [
            ("", &[][..]),
            ("/foo", &["foo"]),
            ("/foo/0", &["foo", "0"]),
            ("/", &[""]),
            ("/a~1b", &["a/b"]),
            ("/c%25d", &["c%d"]),
            ("/e%5Ef", &["e^f"]),
            ("/g%7Ch", &["g|h"]),
            ("/i%5Cj", &["i\\j"]),
            ("/k%22l", &["k\"l"]),
            ("/%20", &[" "]),
            ("/m~0n", &["m~n"]),
            ("/~01", &["~1"]),
            ("/a%2Cb%3F", &["a,b?"]),
        ] {
            assert_eq!(JsonPointer::parse(text).unwrap().tokens(), tokens, "{text}");
        }
        for text in ["foo", "/a~2", "/a~", "/a%", "/a%4", "/a%zz", "/%ff"] {
            assert_eq!(JsonPointer::parse(text), None, "{text}");
        }
    }

    #[test]
    fn names_in_bulk_get_a_prefix_and_are_those_of_variables() {
        let naming = |prefix: &str, upper| Naming { prefix: prefix.to_owned(), upper };
        for (naming, expected) in [
            (naming("", false), "db-user.Name"),
            (naming("app.", false), "app.db-user.Name"),
            (naming("", true), "DB_USER_NAME"),
            (naming("app_", true), "app_DB_USER_NAME"),
        ] {
            assert_eq!(naming.apply("db-user.Name"), expected);
        }
    }

    proptest! {
        #[test]
        fn a_pointer_is_shown_as_the_rfc_writes_it(tokens in prop::collection::vec("[a~/ é0]{0,4}", 0..4)) {
            let pointer = JsonPointer { tokens };
            let encoded = pointer.to_string();
            prop_assert_eq!(JsonPointer::parse(&encoded), Some(pointer));
        }

        #[test]
        fn no_pointer_causes_a_panic(text in "[/~%a01é]{0,12}") {
            let _ = JsonPointer::parse(&text);
        }
    }
}
