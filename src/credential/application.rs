//! Which application a credential's `.on-change` notifies.

use std::fmt;

use crate::credential::{Credential, CredentialName, OnChange};

/// An application to notify. Credentials with the same action share it. One with a header has an application of its own, because
/// the header's value depends on the credential's fields, even if the text of the annotation is the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Application {
    pub(crate) action: OnChange,
    /// The credential whose header the request has. `None` means that it has none.
    pub(crate) header_of: Option<CredentialName>,
}

impl Application {
    /// The application of a credential with `.on-change`.
    pub(crate) fn of(credential: &Credential) -> Option<Self> {
        let header_of = credential.on_change_header.as_ref().map(|_| credential.name.clone());
        Some(Self { action: credential.on_change.clone()?, header_of })
    }
}

impl fmt::Display for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.action.fmt(f)?;
        // Distinguishes applications with the same URL.
        self.header_of.iter().try_for_each(|name| write!(f, " with the header of credential {name}"))
    }
}
