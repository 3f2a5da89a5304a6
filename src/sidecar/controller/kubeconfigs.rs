//! Changed kubeconfigs.

use log::Level;

use crate::object::ClusterRef;
use crate::sidecar::controller::{Context, Controller};
use crate::telemetry::{Component, Moment, Reason, Status, Subject};

impl Controller {
    /// Handles a changed kubeconfig, which is in use or cannot be used. It may name another API server with resourceVersions of its
    /// own, where a watch from an old resourceVersion could stay silent forever. So all objects of the cluster are read again.
    pub(crate) fn on_kubeconfig(
        &mut self,
        cluster: ClusterRef,
        is_changed: bool,
        failure: Option<&str>,
        now: Moment,
        status: &mut Status,
    ) {
        if is_changed {
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
        let is_used = cluster == ClusterRef::Local || self.sources.keys().any(|it| it.cluster == cluster);
        let component = Component::Kubeconfig(cluster);
        match failure {
            // Edited annotations name nothing in this cluster any more.
            Some(_) if !is_used => status.forget(&component),
            Some(message) => status.failing(now, component, Reason::Configuration, message),
            None if status.healthy(&component) => {
                status.log(Level::Info, Subject::None, format!("{component} is in use again"));
            }
            None => {}
        }
    }
}
