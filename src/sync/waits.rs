//! Reports what a pass waits for, besides the log.

use std::fmt;
use std::slice;

use crate::credential::Credential;
use crate::kube::{self, Cause, Class};
use crate::object::ClusterRef;
use crate::sync::unread;

type Receive = dyn Fn(&str) + Send + Sync;

/// Receives a message for each failed attempt at an object, and for each credential whose sources are incomplete. The default
/// ignores them.
#[derive(Default)]
pub(crate) struct Waits(Option<Box<Receive>>);

impl Waits {
    pub(crate) fn new(receive: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(receive)))
    }

    pub(crate) fn report(&self, message: &str) {
        if let Some(receive) = &self.0 {
            receive(message);
        }
    }

    /// Reports that an object of these credentials could not be read, or the pod if there are none. While the pod's own API server
    /// is unreachable, there is nothing that could record it.
    pub(crate) fn unread(&self, error: &kube::Error, credentials: &[Credential]) {
        let is_ours = error.object().cluster == ClusterRef::Local;
        let ends = matches!(
            error.cause,
            Cause::DeadlineExceeded { .. } | Cause::TimedOut { is_cut_short: true, .. }
        );
        if self.0.is_none() || ends || (is_ours && error.class() == Class::Unreachable) {
            return;
        }
        let needed_by = unread::needed_by(credentials, error.object());
        self.report(&unread::message(slice::from_ref(error), &[needed_by], None));
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waits").field(&self.0.is_some()).finish()
    }
}
