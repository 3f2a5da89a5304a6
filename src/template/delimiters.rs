//! The marks between which a template is more than text.

use minijinja::syntax::SyntaxConfig;

use crate::text::Quoted;

/// The longest mark, in characters.
const MARK_LIMIT: usize = 4;
/// What an opening mark is made of: nothing that text is full of, and none of `%`, `#`, `-` and `+`, which have a meaning there.
const OPENING: &str = "{[(<$@&^?!";
/// What a closing mark is made of: nothing that an expression holds outside of brackets.
const CLOSING: &str = "}])>$@&^?";

/// The marks around an expression. Those of statements and comments follow from them: the inner character of each mark (the last
/// of the opening one, the first of the closing one) becomes `%` for a statement and `#` for a comment, so that `[[ ]]` brings
/// `[% %]` and `[# #]`. To a closing mark of one character it is added: `${ }` brings `$% %}` and `$# #}`.
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
    /// Reads an opening and a closing mark with white space between them.
    ///
    /// # Errors
    /// For anything but two marks, and for marks that could be taken for something else.
    pub fn parse(text: &str) -> Result<Self, DelimitersError> {
        let marks: Vec<_> = text.split_whitespace().collect();
        let [open, close] = marks[..] else { return Err(DelimitersError::Form(text.to_owned())) };
        let is_mark = |mark: &str, shortest: usize, of: &str| {
            (shortest..=MARK_LIMIT).contains(&mark.len()) && mark.chars().all(|c| of.contains(c))
        };
        if !is_mark(open, 2, OPENING) {
            Err(DelimitersError::Opening(open.to_owned()))
        } else if !is_mark(close, 1, CLOSING) {
            Err(DelimitersError::Closing(close.to_owned()))
        } else {
            Ok(Self { open: open.to_owned(), close: close.to_owned() })
        }
    }

    /// The marks as the parser wants them. The text keeps the new line at its end.
    ///
    /// # Errors
    /// None that [`Self::parse`] lets through: marks differ from each other by construction.
    pub(crate) fn syntax(&self) -> Result<SyntaxConfig, minijinja::Error> {
        // Marks are ASCII.
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

/// A wrong value of `.delimiters`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DelimitersError {
    /// Not two marks.
    #[error("{} is not an opening and a closing mark with a space between them, such as [[ ]]", Quoted(.0))]
    Form(String),
    /// A wrong opening mark.
    #[error("{} cannot open an expression: take 2 to {MARK_LIMIT} of {OPENING}, for example [[ or ${{", Quoted(.0))]
    Opening(String),
    /// A wrong closing mark.
    #[error("{} cannot close an expression: take 1 to {MARK_LIMIT} of {CLOSING}, for example ]] or }}", Quoted(.0))]
    Closing(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_of_statements_and_comments_follow_from_those_of_expressions() {
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
    fn marks_that_could_be_something_else_are_refused_and_named() {
        for (text, part) in [
            ("", "is not an opening and a closing mark"),
            ("[[", "is not an opening"),
            ("[[]]", "is not an opening"),
            ("[[ x ]]", "is not an opening"),
            ("[ ]", "\"[\" cannot open"),
            ("<% %>", "\"<%\" cannot open"),
            ("[# #]", "\"[#\" cannot open"),
            ("(- -)", "\"(-\" cannot open"),
            ("'' ''", "cannot open"),
            ("aa bb", "\"aa\" cannot open"),
            ("[[[[[ ]]]]]", "cannot open"),
            ("[[ ||", "\"||\" cannot close"),
            ("[[ ]]]]]", "cannot close"),
            ("[[ ==", "cannot close"),
            ("\u{202e}\u{202e} ]]", "\"\\u{202e}\\u{202e}\" cannot open"),
        ] {
            let message = Delimiters::parse(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
