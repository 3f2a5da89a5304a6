//! `podcreds init`: publishes every credential once, for an init container.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::info;

use crate::kube::config::registry::Clusters;
use crate::sync::{self, Error, Settings, Waits};
use crate::telemetry::Health;
use crate::telemetry::events::{EventReason, EventTarget, Events};
use crate::thread::lock;
use crate::volume::{Published, Volume};

/// How long the end of the command waits for its Events.
const EVENTS_LIMIT: Duration = Duration::from_secs(5);
/// Maximum number of different messages that become Events.
const MAX_WAITS: usize = 64;

/// Publishes every credential to the volume at `path`. With a target, records Events about what it waits for.
///
/// # Errors
/// The first step that failed; the volume is unchanged.
pub(crate) fn run(
    mut settings: Settings,
    clusters: Clusters,
    (path, grace): (&Path, Duration),
    events: Option<EventTarget>,
) -> Result<(), Error> {
    let started = Instant::now();
    let volume = Volume::open_to_publish(path, grace, 1)?;
    let clusters = Arc::new(clusters);
    let recorder = events.map(|target| {
        let recorder = Arc::new(Recorder::new(Arc::clone(&clusters), target, settings.timeout));
        let waits = Arc::clone(&recorder);
        settings.waits = Waits::new(move |message| waits.record(message));
        recorder
    });
    let outcome = sync::run(&settings, &clusters, &volume);
    if let Some(recorder) = recorder {
        recorder
            .finish(outcome.as_ref().ok().map(|outcome| format!("wrote {outcome} to {}", path.display())));
    }
    let outcome = outcome?;
    let (path, took) = (path.display(), started.elapsed().as_millis());
    match &outcome.published {
        Published::Swapped { version, .. } => {
            info!(bundle = version.as_str(); "wrote {outcome} to {path} in {took} ms, as version {version}")
        }
        Published::Unchanged => {
            info!("{path} is up to date after {took} ms, with {outcome}: nothing written")
        }
    }
    Ok(())
}

/// Records an Event for each different message.
struct Recorder {
    events: Events,
    recorded: Mutex<Vec<String>>,
}

impl Recorder {
    fn new(clusters: Arc<Clusters>, target: EventTarget, timeout: Duration) -> Self {
        let health = Arc::new(Health::new(Vec::new(), Duration::ZERO));
        Self { events: Events::start(clusters, target, timeout, health), recorded: Mutex::default() }
    }

    fn record(&self, message: &str) {
        let mut recorded = lock(&self.recorded);
        if recorded.len() < MAX_WAITS && !recorded.iter().any(|known| known == message) {
            self.events.record(EventReason::Failed, message);
            recorded.push(message.to_owned());
        }
    }

    /// Records that the files are written, if podcreds has waited for them, and gives the Events time to be recorded.
    fn finish(&self, written: Option<String>) {
        if lock(&self.recorded).is_empty() {
            return;
        }
        if let Some(message) = written {
            self.events.record(EventReason::Written, &message);
        }
        self.events.finish(EVENTS_LIMIT);
    }
}
