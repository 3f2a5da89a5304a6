//! The credential of an exec plugin, cached until it expires or the API server rejects it.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use log::debug;

use crate::kube::auth::Token;
use crate::kube::auth::client_cert::ClientCertificate;
use crate::kube::auth::exec::{Interactive, Plugin, PluginError, PluginErrorKind};
use crate::kube::error::Cause;
use crate::kube::retry::Backoff;
use crate::secret::SecretBytes;

/// The time limit of a plugin that does not prompt.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The time limit of a plugin that may prompt a user, who may need a browser and a second factor.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(600);
/// Maximum delay between two runs of a plugin that fails or whose credentials the API server rejects. A credential that the API
/// server has not rejected for this long counts as accepted.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// A plugin with its cached credential.
#[derive(Debug)]
pub(crate) struct ExecAuth {
    plugin: Plugin,
    cached: Option<CachedCredential>,
    /// Counts the credentials that the plugin has provided: the number of the latest one.
    generation: u64,
    /// `None` unless the last run failed.
    last_failure: Option<LastFailure>,
    /// Shared by all requests: the back-off of each object does not limit the runs for many objects.
    backoff: Backoff,
    /// When the plugin may run again after a failure or a rejection.
    retry_at: Instant,
}

struct CachedCredential {
    token: Option<Token>,
    certificate: Option<ClientCertificate>,
    expires: Option<SystemTime>,
    obtained: Instant,
    /// Whether the API server has rejected it.
    is_rejected: bool,
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
        let (backoff, retry_at) = (Backoff::up_to(MAX_DELAY), Instant::now());
        Self { plugin, cached: None, generation: 0, last_failure: None, backoff, retry_at }
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
    /// Until the next run is due, returns the same failure again, or the rejected credential: the API server may have been
    /// temporarily unable to verify it.
    ///
    /// # Errors
    /// If the plugin provides no credential.
    pub(crate) fn refresh(&mut self, asked: Instant, within: Option<Duration>) -> Result<bool, Cause> {
        let is_due = Instant::now() >= self.retry_at;
        let is_usable = |cached: &CachedCredential| {
            cached.expires.is_none_or(|expires| expires > SystemTime::now())
                && !(cached.is_rejected && is_due)
        };
        if self.cached.as_ref().is_some_and(is_usable) {
            return Ok(false);
        }
        if let Some(failure) = self.last_failure.as_ref().filter(|failure| failure.at >= asked || !is_due) {
            return Err(failure.cause());
        }
        match self.run(within) {
            Ok(credential) => {
                debug!("{:?} provided a credential", self.plugin);
                (self.cached, self.last_failure) = (Some(credential), None);
                self.generation += 1;
                Ok(true)
            }
            Err(error) => {
                self.back_off();
                self.cached = None;
                let failure = LastFailure { at: Instant::now(), error: Arc::new(error) };
                Err(self.last_failure.insert(failure).cause())
            }
        }
    }

    fn back_off(&mut self) {
        if self.cached.as_ref().is_some_and(|cached| cached.obtained.elapsed() > MAX_DELAY) {
            self.backoff.reset();
        }
        self.retry_at = Instant::now() + self.backoff.delay();
    }

    fn run(&self, within: Option<Duration>) -> Result<CachedCredential, PluginError> {
        let printed = self.plugin.run(self.timeout().min(within.unwrap_or(Duration::MAX)))?;
        let parse = |(certificate, key): (SecretBytes, SecretBytes)| {
            ClientCertificate::parse(certificate.expose(), key.expose())
        };
        let certificate = printed.certificate.map(parse).transpose();
        let certificate = certificate
            .map_err(|error| PluginError::new(&self.plugin.command, PluginErrorKind::Certificate(error)))?;
        let (obtained, is_rejected) = (Instant::now(), false);
        Ok(CachedCredential {
            token: printed.token,
            certificate,
            expires: printed.expires,
            obtained,
            is_rejected,
        })
    }

    /// The number of the cached credential, for [`ExecAuth::invalidate`].
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Marks the cached credential if it is the one that the API server rejected, so that the plugin runs for the next request that
    /// comes after the back-off. Of several requests in flight with a revoked token, the first 401 marks it; the later ones must not
    /// mark the credential that replaced it, or each of them would run the plugin again. client-go does the same in
    /// `maybeRefreshCreds`.
    pub(crate) fn invalidate(&mut self, rejected_generation: u64) {
        if self.generation != rejected_generation
            || self.cached.as_ref().is_none_or(|cached| cached.is_rejected)
        {
            return;
        }
        self.back_off();
        self.cached.iter_mut().for_each(|cached| cached.is_rejected = true);
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

    impl ExecAuth {
        /// Passes the time until the plugin may run again.
        fn wait(&mut self) {
            self.retry_at = Instant::now();
        }
    }

    /// Makes each delay of the back-off longer than a test: a random part of many hours, and the same in each run.
    fn delay(auth: &mut ExecAuth) {
        fastrand::seed(1);
        let hours = Duration::from_secs(1000 * 3600);
        auth.backoff = Backoff::new(hours, hours);
    }

    const CREDENTIAL: &str = r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"test-token-1"}}"#;

    #[test]
    fn a_failed_run_is_the_result_of_all_callers_that_waited_for_it() {
        let (directory, mut auth) = counting("exit 1");
        let mut refresh = |asked| {
            assert!(matches!(auth.refresh(asked, None), Err(Cause::Plugin(_))));
            auth.wait();
            runs(&directory)
        };
        let asked = Instant::now();
        assert_eq!([refresh(asked), refresh(asked), refresh(Instant::now())], [1, 1, 2]);
    }

    #[test]
    fn a_failing_plugin_runs_again_after_a_delay_only() {
        let (directory, mut auth) = counting("exit 1");
        delay(&mut auth);
        for runs_so_far in 1..4 {
            for _object in 0..30 {
                assert!(matches!(auth.refresh(Instant::now(), None), Err(Cause::Plugin(_))));
            }
            assert_eq!(runs(&directory), runs_so_far);
            auth.wait();
        }
    }

    #[test]
    fn a_plugin_whose_credentials_are_rejected_runs_again_after_a_delay_only() {
        let (directory, mut auth) = counting(&format!("echo '{CREDENTIAL}'"));
        delay(&mut auth);
        for runs_so_far in 1..4 {
            for _object in 0..30 {
                auth.refresh(Instant::now(), None).unwrap();
                auth.invalidate(auth.generation());
                assert_eq!(auth.token().unwrap().as_str(), "test-token-1", "it may be accepted again");
            }
            assert_eq!(runs(&directory), runs_so_far);
            auth.wait();
        }
    }

    #[test]
    fn the_delays_grow_until_a_credential_is_accepted_for_a_while() {
        let (_directory, mut auth) = counting(&format!("echo '{CREDENTIAL}'"));
        let bounds: Vec<_> = [0, 0, 0, 60]
            .map(|age| {
                auth.refresh(Instant::now(), None).unwrap();
                auth.cached.as_mut().unwrap().obtained -= Duration::from_secs(age);
                auth.invalidate(auth.generation());
                auth.wait();
                auth.backoff.clone()
            })
            .iter()
            .map(|backoff| format!("{backoff:?}"))
            .collect();
        assert!(bounds[0] != bounds[1] && bounds[1] != bounds[2], "{bounds:?}");
        assert_eq!(bounds[3], bounds[0]);
    }

    #[test]
    fn a_rejected_credential_is_invalidated_only_while_it_is_the_cached_one() {
        let (directory, mut auth) = counting(&format!("echo '{CREDENTIAL}'"));
        let request = |auth: &mut ExecAuth| {
            auth.wait();
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
