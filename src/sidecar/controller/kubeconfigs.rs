//! Changed kubeconfigs.

use log::Level;

use crate::object::ClusterRef;
use crate::sidecar::controller::{Context, Controller};
use crate::telemetry::{Component, Moment, Reason, Status, Subject};

impl Controller {
    /// A kubeconfig has changed. If it names another API server now, everything of that cluster is read from there: another server
    /// has resourceVersions of its own, so that a watch from an old one might stay silent for ever.
    pub(crate) fn on_kubeconfig(
        &mut self,
        cluster: ClusterRef,
        is_moved: bool,
        failure: Option<&str>,
        now: Moment,
        status: &mut Status,
    ) {
        if is_moved {
            let (watch, timers, actions) = (self.policy.watch, &mut self.timers, &mut self.actions);
            let mut context = Context { now, watch, timers, status, actions, last_id: &mut self.last_id };
            let of_cluster = self.sources.iter_mut().filter(|(object, _)| object.cluster == cluster);
            of_cluster.for_each(|(_, source)| source.tracker.start_over(&mut context));
            let is_read = cluster == ClusterRef::Local
                && self.policy.follow.as_ref().is_some_and(|follow| follow.pod.is_some());
            if let Some(tracker) = self.annotations.tracker.as_mut().filter(|_| is_read) {
                tracker.start_over(&mut context);
            }
        }
        let component = Component::Kubeconfig(cluster);
        match failure {
            Some(message) => status.failing(now, component, Reason::Configuration, message),
            None if status.healthy(&component) => {
                status.log(Level::Info, Subject::None, format!("{component} is in use again"));
            }
            None => {}
        }
    }
}
