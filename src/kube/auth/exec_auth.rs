//! What a credential plugin gave, kept until it expires or the API server refuses it.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant, SystemTime};

use log::debug;

use crate::kube::auth::client_cert::ClientCertificate;
use crate::kube::auth::exec_plugin::{Interactive, Plugin, PluginProblem};
use crate::kube::auth::token::Token;
use crate::kube::error::Cause;

/// The bound on a plugin that nobody answers.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The bound on one that may ask somebody, who has to find a browser and a second factor.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(600);

/// A plugin with what it gave last.
#[derive(Debug)]
pub(crate) struct PluginIdentity {
    plugin: Plugin,
    given: Option<Given>,
    failed: Option<Failed>,
}

/// Why the last run failed, for all who waited for it.
#[derive(Debug)]
struct Failed {
    at: Instant,
    is_configuration: bool,
    reason: String,
}

impl Failed {
    fn cause(&self) -> Cause {
        let reason = self.reason.clone();
        if self.is_configuration { Cause::Configuration { reason } } else { Cause::Plugin { reason } }
    }
}

struct Given {
    token: Option<Token>,
    certificate: Option<ClientCertificate>,
    expires: Option<SystemTime>,
}

impl PluginIdentity {
    /// Nothing is run yet.
    pub(crate) fn new(plugin: Plugin) -> Self {
        Self { plugin, given: None, failed: None }
    }

    /// The bound on running it.
    pub(crate) fn timeout(&self) -> Duration {
        let may_ask = self.plugin.interactive != Interactive::Never && io::stdin().is_terminal();
        if may_ask { INTERACTIVE_TIMEOUT } else { TIMEOUT }
    }

    /// Runs the plugin, unless what it gave still holds. Whether it was run. One that has failed after it was `asked` for is not
    /// run again for each who waited meanwhile: with one that hangs, the last of them would wait for hours.
    pub(crate) fn renew(&mut self, asked: Instant, within: Option<Duration>) -> Result<bool, Cause> {
        let holds = |given: &Given| given.expires.is_none_or(|end| end > SystemTime::now());
        if self.given.as_ref().is_some_and(holds) {
            return Ok(false);
        }
        if let Some(failed) = self.failed.as_ref().filter(|failed| failed.at >= asked) {
            return Err(failed.cause());
        }
        let answer =
            self.plugin.run(self.timeout().min(within.unwrap_or(Duration::MAX))).map_err(|error| {
                let reason = error.to_string();
                let is_configuration = matches!(
                    error.problem,
                    PluginProblem::NotFound { .. }
                        | PluginProblem::NotExecutable
                        | PluginProblem::NoTerminal
                        | PluginProblem::TooLarge
                );
                self.failed.insert(Failed { at: Instant::now(), is_configuration, reason }).cause()
            })?;
        let certificate = answer.certificate.map(|(certificate, key)| {
            let read = ClientCertificate::parse(certificate.expose(), key.expose());
            read.map_err(|error| Cause::Plugin { reason: format!("the credential plugin's answer: {error}") })
        });
        debug!("{:?} gave a credential", self.plugin);
        self.given = Some(Given {
            token: answer.token,
            certificate: certificate.transpose()?,
            expires: answer.expires,
        });
        Ok(true)
    }

    /// The API server refuses what was given.
    pub(crate) fn forget(&mut self) {
        self.given = None;
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.given.as_ref()?.token.as_ref()
    }

    pub(crate) fn certificate(&self) -> Option<&ClientCertificate> {
        self.given.as_ref()?.certificate.as_ref()
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::kube::auth::exec_plugin::PluginVersion;

    #[test]
    fn a_run_that_failed_counts_for_all_who_waited_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let plugin = Plugin {
            command: "sh".into(),
            args: vec!["-c".into(), format!("echo >> {}; exit 1", runs.display())],
            env: Vec::new(),
            version: PluginVersion::V1,
            interactive: Interactive::Never,
            install_hint: None,
            cluster: None,
        };
        let mut identity = PluginIdentity::new(plugin);
        let mut renew = |asked| {
            assert!(matches!(identity.renew(asked, None), Err(Cause::Plugin { .. })));
            fs::read_to_string(&runs).unwrap().lines().count()
        };
        let asked = Instant::now();
        assert_eq!([renew(asked), renew(asked), renew(Instant::now())], [1, 1, 2]);
    }
}
