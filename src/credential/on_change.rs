//! The action after a rotation, parsed from `.on-change`.

use std::fmt;

use crate::credential::path::{PathError, RelativePath};
use crate::text::Quoted;

/// The longest URL, in bytes.
const URL_LIMIT: usize = 2048;
/// The longest name of a process, in bytes.
const PROCESS_LIMIT: usize = 64;

/// How an application is notified after a rotation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OnChange {
    /// A POST with a small JSON body, to an `http` URL.
    Post(String),
    /// A GET of an `http` URL.
    Get(String),
    /// A signal to every process of this name.
    Signal { signal: SignalName, process: String },
    /// A new modification time for a file at the top of the volume.
    Touch(RelativePath),
}

/// The signals that programs use to reload their configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SignalName {
    Hup,
    Int,
    Quit,
    Term,
    Usr1,
    Usr2,
    Winch,
}

impl SignalName {
    /// The name without `SIG`.
    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, signal)| *signal == self).map_or("", |(name, _)| name)
    }

    const ALL: [(&'static str, Self); 7] = [
        ("HUP", Self::Hup),
        ("INT", Self::Int),
        ("QUIT", Self::Quit),
        ("TERM", Self::Term),
        ("USR1", Self::Usr1),
        ("USR2", Self::Usr2),
        ("WINCH", Self::Winch),
    ];

    fn parse(text: &str) -> Option<Self> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        Self::ALL.iter().find(|(spelling, _)| *spelling == name).map(|(_, signal)| *signal)
    }
}

impl OnChange {
    /// Parses `POST URL`, `GET URL`, `signal SIGNAL PROCESS` or `touch NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, OnChangeError> {
        let words: Vec<_> = text.split_whitespace().collect();
        match words.as_slice() {
            ["POST", url] => Ok(Self::Post(check_url(url)?)),
            ["GET", url] => Ok(Self::Get(check_url(url)?)),
            ["signal", signal, process] => {
                let signal =
                    SignalName::parse(signal).ok_or_else(|| OnChangeError::Signal((*signal).to_owned()))?;
                let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+');
                if process.len() > PROCESS_LIMIT || !process.bytes().all(inner) {
                    return Err(OnChangeError::Process((*process).to_owned()));
                }
                Ok(Self::Signal { signal, process: (*process).to_owned() })
            }
            ["touch", path] => {
                let path = RelativePath::parse(path)?;
                if path.parts().count() == 1 { Ok(Self::Touch(path)) } else { Err(OnChangeError::Deep) }
            }
            _ => Err(OnChangeError::Form(text.to_owned())),
        }
    }
}

fn check_url(url: &str) -> Result<String, OnChangeError> {
    let host = url.strip_prefix("http://").and_then(|rest| rest.split(['/', '?', '#']).next());
    let valid = url.len() <= URL_LIMIT
        && url.bytes().all(|b| b.is_ascii_graphic())
        && host.is_some_and(|host| !host.is_empty() && !host.contains('@'));
    if valid { Ok(url.to_owned()) } else { Err(OnChangeError::Url(url.to_owned())) }
}

impl fmt::Display for OnChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Post(url) => write!(f, "POST {}", Quoted(url)),
            Self::Get(url) => write!(f, "GET {}", Quoted(url)),
            Self::Signal { signal, process } => write!(f, "signal {} to {process}", signal.name()),
            Self::Touch(path) => write!(f, "touch {path}"),
        }
    }
}

/// An invalid value of `.on-change`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum OnChangeError {
    /// Not one of the four forms.
    #[error("{} is not one of: POST URL, GET URL, signal SIGNAL PROCESS, touch NAME", Quoted(.0))]
    Form(String),
    /// Not an `http` URL, or too long, or with user info.
    #[error("invalid URL {}: use http://host/path without user info, of at most {URL_LIMIT} bytes", Quoted(.0))]
    Url(String),
    #[error("unsupported signal {}; supported: HUP, INT, QUIT, TERM, USR1, USR2, WINCH", Quoted(.0))]
    Signal(String),
    #[error("invalid process name {}: use at most 64 letters, digits, `-`, `_`, `.` and `+`", Quoted(.0))]
    Process(String),
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path in a directory.
    #[error("touch takes the name of a file at the top of the volume, without /")]
    Deep,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_forms_are_read() {
        for (text, shown) in [
            ("POST http://localhost:8080/reload", "POST \"http://localhost:8080/reload\""),
            (" GET  http://[::1]:9000 ", "GET \"http://[::1]:9000\""),
            ("signal HUP nginx", "signal HUP to nginx"),
            ("signal SIGUSR1 my-app.x", "signal USR1 to my-app.x"),
            ("touch reload", "touch reload"),
        ] {
            assert_eq!(OnChange::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "POST",
            "post http://a",
            "POST https://a",
            "POST http://",
            "POST http://user:test@a/",
            "POST http:///x",
            "POST ftp://a",
            "POST http://a b",
            "POST http://é",
            "signal KILL app",
            "signal 9 app",
            "signal HUP",
            "signal HUP ../x",
            "touch ../x",
            "touch a/b",
            "touch /etc/passwd",
            "exec rm",
        ] {
            assert!(OnChange::parse(text).is_err(), "{text}");
        }
    }
}
