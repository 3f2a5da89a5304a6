//! What follows a rotation: an application is notified, or, with `--exit-on-change`, the sidecar exits. The files change at once; the
//! reaction may wait for a part of `--splay`. The wait is here and not in the thread that notifies the application, because the exit
//! waits in the same way, and because it is then a decision that tests can check without a clock.

use std::time::Instant;

use log::Level;

use crate::credential::{Credential, CredentialName};
use crate::sidecar::Exit;
use crate::sidecar::controller::changes::ChangeSet;
use crate::sidecar::controller::timers::Timer;
use crate::sidecar::controller::{Action, Controller};
use crate::splay;
use crate::telemetry::{Moment, Status, Subject};
use crate::text::ShortDuration;

/// The reaction of one application, or the exit.
#[derive(Debug)]
pub(crate) struct Reaction {
    at: Instant,
    /// The newest version of the rotations that it follows.
    version: String,
    /// The credentials that have changed, by name: edited annotations may name another application for them, or none, before the
    /// reaction is due.
    credentials: Vec<CredentialName>,
}

impl Controller {
    /// Schedules the reactions to changed credentials. A reaction that waits already takes them up and keeps its time, so that
    /// frequent rotations cannot postpone it forever. The time of a new one follows from the longest splay among its credentials.
    pub(crate) fn react_later(
        &mut self,
        changed: &[CredentialName],
        version: &str,
        now: Moment,
        status: &mut Status,
    ) {
        let Self { policy, credentials, reactions, .. } = self;
        let exits = policy.exit_on_change.is_some();
        for credential in named(credentials, changed) {
            let target = credential.on_change.as_ref();
            let what = match (policy.exit_on_change, target) {
                (Some(code), _) => format!("exiting with code {code}"),
                (None, Some(target)) => format!("notifying {target}"),
                (None, None) => continue,
            };
            let is_same = |other: &Credential| exits || other.on_change.as_ref() == target;
            let waits = |reaction: &&mut Reaction| named(credentials, &reaction.credentials).any(is_same);
            if let Some(reaction) = reactions.iter_mut().find(waits) {
                version.clone_into(&mut reaction.version);
                if !reaction.credentials.contains(&credential.name) {
                    reaction.credentials.push(credential.name.clone());
                }
                continue;
            }
            let together = named(credentials, changed).filter(|other| is_same(other));
            let splay = together.map(|other| other.splay.unwrap_or(policy.splay)).max().unwrap_or_default();
            let delay = splay::delay(splay, &policy.replica, version);
            if !delay.is_zero() {
                let message = format!("{what} in {} (splay)", ShortDuration(delay));
                status.log(Level::Info, Subject::Bundle(version.to_owned()), message);
            }
            reactions.push(Reaction {
                at: now.instant + delay,
                version: version.to_owned(),
                credentials: vec![credential.name.clone()],
            });
        }
        self.set_reaction_timer();
    }

    /// Notifies the applications whose time has come, or exits. Without effect if edited annotations have dropped the application, or
    /// if the files of all changed credentials were removed meanwhile, without which an application could not start.
    pub(crate) fn react(&mut self, now: Moment) {
        let Self { policy, credentials, contents, reactions, actions, .. } = self;
        reactions.retain(|reaction| {
            if reaction.at > now.instant {
                return true;
            }
            let changed = named(credentials, &reaction.credentials);
            actions.push(match policy.exit_on_change {
                Some(code) => {
                    let changes = ChangeSet::new(changed, contents);
                    if !changes.has_new_files() {
                        return false;
                    }
                    Action::Exit(Exit { code, reason: changes.to_string() })
                }
                None => Action::Notify {
                    credentials: changed.cloned().collect(),
                    version: reaction.version.clone(),
                },
            });
            false
        });
        self.set_reaction_timer();
    }

    fn set_reaction_timer(&mut self) {
        if let Some(at) = self.reactions.iter().map(|reaction| reaction.at).min() {
            self.timers.set(Timer::React, at);
        }
    }
}

/// The credentials with these names.
fn named<'a>(
    credentials: &'a [Credential],
    names: &'a [CredentialName],
) -> impl Iterator<Item = &'a Credential> {
    credentials.iter().filter(|credential| names.contains(&credential.name))
}
