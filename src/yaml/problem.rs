//! What is wrong with the values of a document: all of it, each with its place.

use std::cell::RefCell;
use std::fmt;

use crate::yaml::Position;

/// The most problems that are kept. A message lists far fewer.
const PROBLEM_LIMIT: usize = 1000;

/// One value that is wrong, missing or unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands, or where the mapping begins that lacks it.
    pub(crate) at: Position,
    /// The way to it, as in `users[0].user.token`; empty for the document itself.
    pub(crate) path: String,
    /// What is wrong, and what would be right; no value.
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the document" } else { &self.path };
        write!(f, "{}: {path}: {}", self.at, self.text)
    }
}

/// Where a reader puts what it finds wrong, while it goes on.
#[derive(Debug, Default)]
pub(crate) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(crate) fn add(&self, at: Position, path: &str, text: String) {
        let mut found = self.0.borrow_mut();
        if found.len() == PROBLEM_LIMIT {
            return;
        }
        // There are few; to sort them at the end would be 20 KB of code.
        let place = found.partition_point(|problem| problem.at <= at);
        found.insert(place, Problem { at, path: path.to_owned(), text });
    }

    /// All that was found, in the order of the document.
    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0.into_inner()
    }
}
