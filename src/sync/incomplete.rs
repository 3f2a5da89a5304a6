//! Sources that are not filled yet. An operator may create a Secret with the user and the password, and add the endpoint minutes
//! later. What a credential lacks then is waited for like a Secret that does not exist yet; see
//! `docs/decisions/retries-and-exit-codes.md`.

use std::thread::sleep;

use log::{Level, debug, log};

use crate::credential::{Bundle, Credential};
use crate::kube::config::registry::Clusters;
use crate::kube::{Backoff, Cause, Deadline, LONGEST_DELAY};
use crate::object::ObjectRef;
use crate::render::{self, Notice, Rendered, Sources, missing_inputs};
use crate::sync::{Error, FetchedSources, Settings, fetch, fetch_matching};
use crate::text::ShortDuration;

/// Reads the sources of the credentials that match and renders them. While the only problem is incomplete input, reads the objects
/// of the incomplete credentials again, with back-off. Returns the files, and the number of credentials that were not skipped.
///
/// # Errors
/// Incomplete input when the timeout has passed, any other problem at once.
pub(crate) fn render_when_complete(
    settings: &Settings,
    clusters: &Clusters,
    matches: impl Fn(&Credential) -> bool,
) -> Result<(Bundle, usize), Error> {
    let deadline = Deadline::after(settings.timeout);
    let FetchedSources { credentials, mut sources } = fetch_matching(settings, clusters, matches, deadline)?;
    let (mut backoff, mut logged) = (Backoff::up_to(LONGEST_DELAY), Vec::new());
    loop {
        let errors = match render(&credentials, &sources, &mut logged) {
            Ok(Rendered { bundle, credentials, .. }) => return Ok((bundle, credentials)),
            Err(Error::Incomplete { errors, .. }) => errors,
            Err(error) => return Err(error),
        };
        let Some(delay) = deadline.next_delay(backoff.delay(), None) else {
            return Err(Error::Incomplete { errors, waited: Some(deadline.elapsed()) });
        };
        let left = ShortDuration(deadline.remaining());
        for error in &errors.0 {
            let message = error.to_string();
            if !logged.contains(&message) {
                log!(Level::Warn, credential:% = error.credential(); "{message}; waiting for it, for up to {left}");
                settings.waits.report(&message);
                logged.push(message);
            }
        }
        let mut again = Vec::new();
        for credential in credentials.iter().filter(|credential| errors.concern(credential)) {
            again.extend(credential.objects());
        }
        debug!("still incomplete; reading {} objects again in {}", again.len(), ShortDuration(delay));
        sleep(delay);
        // Dropped first, so that no object is in memory twice.
        sources.retain(|object, _| !again.contains(&object));
        let is_again = |object: &ObjectRef| again.contains(&object);
        fetch(settings, clusters, &credentials, &mut sources, &is_again, deadline).map_err(|error| {
            match error {
                // Only the clock ended this attempt. What is missing says more about what is wrong.
                Error::Unread { errors: unread, .. }
                    if unread.iter().all(|error| matches!(error.cause, Cause::DeadlineExceeded { .. })) =>
                {
                    Error::Incomplete { errors, waited: Some(deadline.elapsed()) }
                }
                error => error,
            }
        })?;
    }
}

/// Renders all credentials, and logs what was omitted and what is probably a mistake. `logged` has the messages that are not logged again.
///
/// # Errors
/// All credentials that cannot be rendered from their sources.
pub(crate) fn render<'a>(
    credentials: &'a [Credential],
    sources: &'a Sources,
    logged: &mut Vec<String>,
) -> Result<Rendered<'a>, Error> {
    let rendered = render::render(credentials, sources);
    match &rendered {
        Ok(rendered) => rendered.notices.iter().for_each(|notice| log_notice(notice, &[], logged)),
        // A missing optional field may be the reason why rendering fails.
        Err(errors) => {
            missing_inputs(credentials, sources).for_each(|notice| log_notice(&notice, &errors.0, logged))
        }
    }
    rendered.map_err(|errors| match errors.are_incomplete_input(credentials) {
        true => Error::Incomplete { errors, waited: None },
        false => Error::Render(errors),
    })
}

/// Logs a notice, unless it was logged before or is one of the errors, which are logged on their own.
fn log_notice(notice: &Notice<'_>, errors: &[render::Error], logged: &mut Vec<String>) {
    let message = notice.to_string();
    if logged.contains(&message) || errors.iter().any(|error| error.to_string() == message) {
        return;
    }
    let level = if notice.is_suspicious() { Level::Warn } else { Level::Info };
    log!(level, credential:% = notice.credential(); "{message}");
    logged.push(message);
}
