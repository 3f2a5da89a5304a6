//! What a credential plugin gave, kept until it expires or the API server refuses it.

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use log::debug;

use crate::kube::certificate::ClientCertificate;
use crate::kube::error::Cause;
use crate::kube::plugin::{Interactive, Plugin, PluginProblem};
use crate::kube::token::Token;

/// The bound on a plugin that nobody answers.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The bound on one that may ask somebody, who has to find a browser and a second factor.
const INTERACTIVE_TIMEOUT: Duration = Duration::from_secs(600);

/// A plugin with what it gave last.
#[derive(Debug)]
pub struct PluginIdentity {
    plugin: Plugin,
    given: Option<Given>,
}

struct Given {
    token: Option<Token>,
    certificate: Option<ClientCertificate>,
    expires: Option<SystemTime>,
}

impl PluginIdentity {
    /// Nothing is run yet.
    pub fn new(plugin: Plugin) -> Self {
        Self { plugin, given: None }
    }

    /// The bound on running it.
    pub(super) fn timeout(&self) -> Duration {
        let may_ask = self.plugin.interactive != Interactive::Never && io::stdin().is_terminal();
        if may_ask { INTERACTIVE_TIMEOUT } else { TIMEOUT }
    }

    /// Runs the plugin, unless what it gave still holds. Whether it was run.
    pub(super) fn renew(&mut self) -> Result<bool, Cause> {
        let holds = |given: &Given| given.expires.is_none_or(|end| end > SystemTime::now());
        if self.given.as_ref().is_some_and(holds) {
            return Ok(false);
        }
        let answer = self.plugin.run(self.timeout()).map_err(|error| {
            let reason = error.to_string();
            match error.problem {
                PluginProblem::NotFound { .. }
                | PluginProblem::NotExecutable
                | PluginProblem::NoTerminal
                | PluginProblem::TooLarge => Cause::Configuration { reason },
                _ => Cause::Plugin { reason },
            }
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
    pub(super) fn forget(&mut self) {
        self.given = None;
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.given.as_ref()?.token.as_ref()
    }

    pub(super) fn certificate(&self) -> Option<&ClientCertificate> {
        self.given.as_ref()?.certificate.as_ref()
    }
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("expires", &self.expires).finish_non_exhaustive()
    }
}
