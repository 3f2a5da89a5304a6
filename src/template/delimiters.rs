//! The delimiters of expressions, statements and comments in a template.

use minijinja::syntax::SyntaxConfig;

use crate::text::Quoted;

/// The maximum length of a delimiter, in characters.
const DELIMITER_LIMIT: usize = 4;
/// The characters of an opening delimiter: none that is frequent in text, and not `%`, `#`, `-` and `+`, which have a meaning
/// there.
const OPENING: &str = "{[(<$@&^?!";
/// The characters of a closing delimiter: none that an expression contains outside brackets.
const CLOSING: &str = "}])>$@&^?";

/// The delimiters of expressions. Those of statements and comments are derived from them by replacing the inner character of each
/// (the last of the opening one, the first of the closing one) with `%` or `#`: `[[ ]]` gives `[% %]` and `[# #]`. In a closing
/// delimiter of one character, `%` or `#` is inserted instead: `${ }` gives `$% %}` and `$# #}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiters {
    open: String,
    close: String,
}

impl Default for Delimiters {
    /// `{{ }}`, with `{% %}` and `{# #}`.
    fn default() -> Self {
        Self { open: "{{".to_owned(), close: "}}".to_owned() }
    }
}

impl Delimiters {
    /// Reads an opening and a closing delimiter, separated by white space.
    ///
    /// # Errors
    /// For anything but two delimiters, and for delimiters that could be mistaken for other text.
    pub fn parse(text: &str) -> Result<Self, DelimitersError> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [open, close] = words[..] else { return Err(DelimitersError::Form(text.to_owned())) };
        let is_valid = |delimiter: &str, min: usize, allowed: &str| {
            (min..=DELIMITER_LIMIT).contains(&delimiter.len())
                && delimiter.chars().all(|c| allowed.contains(c))
        };
        if !is_valid(open, 2, OPENING) {
            Err(DelimitersError::Opening(open.to_owned()))
        } else if !is_valid(close, 1, CLOSING) {
            Err(DelimitersError::Closing(close.to_owned()))
        } else {
            Ok(Self { open: open.to_owned(), close: close.to_owned() })
        }
    }

    /// The settings of minijinja's parser. They keep a newline at the end of the template.
    ///
    /// # Errors
    /// Never for delimiters that [`Self::parse`] accepts: all six differ by construction.
    pub(crate) fn syntax(&self) -> Result<SyntaxConfig, minijinja::Error> {
        // Delimiters are ASCII, so these are character boundaries.
        let outer_open = &self.open[..self.open.len() - 1];
        let outer_close = if self.close.len() == 1 { self.close.as_str() } else { &self.close[1..] };
        SyntaxConfig::builder()
            .variable_delimiters(self.open.clone(), self.close.clone())
            .block_delimiters(format!("{outer_open}%"), format!("%{outer_close}"))
            .comment_delimiters(format!("{outer_open}#"), format!("#{outer_close}"))
            .keep_trailing_newline(true)
            .build()
    }
}

/// An invalid value of `.delimiters`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DelimitersError {
    /// Not two delimiters.
    #[error("{} is not an opening and a closing delimiter separated by a space, such as [[ ]]", Quoted(.0))]
    Form(String),
    /// An invalid opening delimiter.
    #[error("invalid opening delimiter {}: use 2 to {DELIMITER_LIMIT} of {OPENING}, for example [[ or ${{", Quoted(.0))]
    Opening(String),
    /// An invalid closing delimiter.
    #[error("invalid closing delimiter {}: use 1 to {DELIMITER_LIMIT} of {CLOSING}, for example ]] or }}", Quoted(.0))]
    Closing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_of_statements_and_comments_are_derived_from_those_of_expressions() {
        for (text, block, comment) in [
            ("{{ }}", ("{%", "%}"), ("{#", "#}")),
            (" [[\t]]\n", ("[%", "%]"), ("[#", "#]")),
            ("<< >>", ("<%", "%>"), ("<#", "#>")),
            ("${ }", ("$%", "%}"), ("$#", "#}")),
            ("<<< >>>", ("<<%", "%>>"), ("<<#", "#>>")),
            ("@@ @@", ("@%", "%@"), ("@#", "#@")),
        ] {
            let syntax = Delimiters::parse(text).unwrap().syntax().unwrap();
            assert_eq!((syntax.block_delimiters(), syntax.comment_delimiters()), (block, comment), "{text}");
        }
        assert_eq!(Delimiters::parse("{{ }}"), Ok(Delimiters::default()));
    }

    #[test]
    fn ambiguous_delimiters_are_rejected_and_named() {
        for (text, part) in [
            ("", "is not an opening and a closing delimiter"),
            ("[[", "is not an opening"),
            ("[[]]", "is not an opening"),
            ("[[ x ]]", "is not an opening"),
            ("[ ]", "invalid opening delimiter \"[\""),
            ("<% %>", "invalid opening delimiter \"<%\""),
            ("[# #]", "invalid opening delimiter \"[#\""),
            ("(- -)", "invalid opening delimiter \"(-\""),
            ("'' ''", "invalid opening"),
            ("aa bb", "invalid opening delimiter \"aa\""),
            ("[[[[[ ]]]]]", "invalid opening"),
            ("[[ ||", "invalid closing delimiter \"||\""),
            ("[[ ]]]]]", "invalid closing"),
            ("[[ ==", "invalid closing"),
            ("\u{202e}\u{202e} ]]", "invalid opening delimiter \"\\u{202e}\\u{202e}\""),
        ] {
            let message = Delimiters::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
