//! The credential of an exec plugin, cached until it expires or the API server rejects it.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::debug;

use crate::kube::auth::Token;
use crate::kube::auth::client_cert::ClientCertificate;
use crate::kube::auth::exec::{Interactive, Plugin, PluginError, PluginErrorKind};
use crate::kube::error::Cause;
use crate::secret::SecretBytes;

/// The time limit of a plugin that does not prompt.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit of a plugin that may prompt a user, who may need a browser and a second factor.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(600);

/// A plugin with its cached credential.
#[derive(Debug)]
pub(crate) struct ExecAuth {
    plugin: Plugin,
    cached: Option<CachedCredential>,
    /// Counts the credentials that the plugin has provided: the number of the latest one.
    generation: u64,
    last_failure: Option<LastFailure>,
}

struct CachedCredential {
    token: Option<Token>,
    certificate: Option<ClientCertificate>,
    expires: Option<SystemTime>,
}

/// The last failed run, which is also the result of all callers that waited for it.
#[derive(Debug)]
struct LastFailure {
    at: Instant,
    error: Arc<PluginError>,
}

impl LastFailure {
    fn cause(&self) -> Cause {
        if self.error.kind.is_configuration() {
            Cause::Configuration { reason: self.error.to_string() }
        } else {
            Cause::Plugin(Arc::clone(&self.error))
        }
    }
}

impl ExecAuth {
    /// Does not run the plugin yet.
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self { plugin, cached: None, generation: 0, last_failure: None }
    }

    /// The time limit of one run.
    pub(crate) fn timeout(&self) -> Duration {
        let may_prompt = self.plugin.interactive != Interactive::Never && io::stdin().is_terminal();
        if may_prompt { INTERACTIVE_TIMEOUT } else { TIMEOUT }
    }

    /// Runs the plugin, unless the cached credential is still valid. Returns whether the plugin ran. If it failed after the caller
    /// started waiting (`asked`), that failure is returned instead of running it again; otherwise N waiters on a hanging plugin
    /// would time out one after another.
    ///
    /// # Errors
    /// If the plugin provides no credential.
    pub(crate) fn refresh(&mut self, asked: Instant, within: Option<Duration>) -> Result<bool, Cause> {
        let is_valid =
            |cached: &CachedCredential| cached.expires.is_none_or(|expires| expires > SystemTime::now());
        if self.cached.as_ref().is_some_and(is_valid) {
            return Ok(false);
        }
        if let Some(failure) = self.last_failure.as_ref().filter(|failure| failure.at >= asked) {
            return Err(failure.cause());
        }
        match self.run(within) {
            Ok(credential) => {
                debug!("{:?} provided a credential", self.plugin);
                self.cached = Some(credential);
                self.generation += 1;
                Ok(true)
            }
            Err(error) => {
                let failure = LastFailure { at: Instant::now(), error: Arc::new(error) };
                Err(self.last_failure.insert(failure).cause())
            }
        }
    }

    fn run(&self, within: Option<Duration>) -> Result<CachedCredential, PluginError> {
        let printed = self.plugin.run(self.timeout().min(within.unwrap_or(Duration::MAX)))?;
        let parse = |(certificate, key): (SecretBytes, SecretBytes)| {
            ClientCertificate::parse(certificate.expose(), key.expose())
        };
        let certificate = printed.certificate.map(parse).transpose();
        let certificate = certificate
            .map_err(|error| PluginError::new(&self.plugin.command, PluginErrorKind::Certificate(error)))?;
        Ok(CachedCredential { token: printed.token, certificate, expires: printed.expires })
    }

    /// The number of the cached credential, for [`ExecAuth::invalidate`].
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Drops the cached credential if it is the one that the API server rejected. Of several requests in flight with a revoked
    /// token, the first 401 drops it; the later ones must not drop the credential that replaced it, or each of them would run the
    /// plugin again. client-go does the same in `maybeRefreshCreds`.
    pub(crate) fn invalidate(&mut self, rejected_generation: u64) {
        if self.generation == rejected_generation {
            self.cached = None;
        }
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.cached.as_ref()?.token.as_ref()
    }

    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        self.cached.as_ref()?.certificate.as_ref()
    }
}

impl std::fmt::Debug for CachedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedCredential").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::kube::auth::exec::PluginVersion;

    /// A plugin that counts its runs in a file and then does what `script` says.
    fn counting(script: &str) -> (TempDir, ExecAuth) {
        let directory = tempfile::tempdir().unwrap();
        let runs = directory.path().join("runs");
        let plugin = Plugin {
            command: "sh".into(),
            args: vec!["-c".into(), format!("echo >> {}; {script}", runs.display())],
            env: Vec::new(),
            version: PluginVersion::V1,
            interactive: Interactive::Never,
            install_hint: None,
            cluster: None,
        };
        (directory, ExecAuth::new(plugin))
    }

    fn runs(directory: &TempDir) -> usize {
        fs::read_to_string(directory.path().join("runs")).unwrap().lines().count()
    }

    #[test]
    fn a_failed_run_is_the_result_of_all_callers_that_waited_for_it() {
        let (directory, mut auth) = counting("exit 1");
        let mut refresh = |asked| {
            assert!(matches!(auth.refresh(asked, None), Err(Cause::Plugin(_))));
            runs(&directory)
        };
        let asked = Instant::now();
        assert_eq!([refresh(asked), refresh(asked), refresh(Instant::now())], [1, 1, 2]);
    }

    #[test]
    fn a_rejected_credential_is_invalidated_only_while_it_is_the_cached_one() {
        let credential = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"test-token-1"}}"#;
        let (directory, mut auth) = counting(&format!("echo '{credential}'"));
        let request = |auth: &mut ExecAuth| {
            auth.refresh(Instant::now(), None).unwrap();
            (auth.generation(), runs(&directory))
        };
        // Two requests carry the first credential, and the API server rejects both.
        let ((first, _), (second, after)) = (request(&mut auth), request(&mut auth));
        assert_eq!((first, second, after), (1, 1, 1));
        auth.invalidate(first);
        assert_eq!(request(&mut auth), (2, 2));
        auth.invalidate(second);
        assert_eq!(request(&mut auth), (2, 2), "the late 401 keeps the new credential");
        auth.invalidate(2);
        assert_eq!(request(&mut auth), (3, 3));
    }
}
