//! Clients by cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use log::info;

use crate::clusters::file::Labels;
use crate::kube::{Cause, Client, ClientConfig, Deadline, Error, Object, Requests};
use crate::object::{ClusterId, ObjectRef};

/// What makes the configuration of a cluster, when it is first needed and again after that has failed: reads the files that it
/// names. The error says what is wrong, where, and what to do.
pub type Open = Box<dyn Fn() -> Result<ClientConfig, String> + Send + Sync>;

/// Every cluster that can be asked.
#[derive(Debug)]
pub struct Clusters {
    own: Arc<Client>,
    others: BTreeMap<ClusterId, Member>,
}

/// A cluster that is not the pod's own.
pub struct Member {
    labels: Labels,
    open: Open,
    requests: Arc<Requests>,
    client: Mutex<Option<Arc<Client>>>,
}

impl Clusters {
    /// The pod's own cluster, and these.
    pub fn new(own: Client, others: BTreeMap<ClusterId, Member>) -> Self {
        Self { own: Arc::new(own), others }
    }

    /// The pod's own cluster.
    pub fn own(&self) -> &Arc<Client> {
        &self.own
    }

    /// The others.
    pub fn others(&self) -> &BTreeMap<ClusterId, Member> {
        &self.others
    }

    /// The client of this cluster, of the pod's own for none.
    ///
    /// # Errors
    /// [`Cause::Configuration`] if what its entry names cannot be read or used; it is tried again the next time.
    pub fn client(&self, cluster: Option<&ClusterId>) -> Result<Arc<Client>, Cause> {
        let Some(id) = cluster else { return Ok(Arc::clone(&self.own)) };
        match self.others.get(id) {
            Some(member) => member.client(id),
            None => Err(Cause::Configuration { reason: format!("there is no cluster {id}") }),
        }
    }

    /// Reads an object from its cluster.
    ///
    /// # Errors
    /// As [`Clusters::client`] and [`Client::object`].
    pub fn object(&self, object: &ObjectRef, deadline: Deadline) -> Result<Object, Error> {
        let client = self.client(object.cluster.as_ref()).map_err(|cause| Error::new(object, cause))?;
        client.object(object, deadline)
    }
}

impl Member {
    /// A cluster that is opened in this way.
    pub fn new(labels: Labels, open: Open) -> Self {
        Self { labels, open, requests: Arc::default(), client: Mutex::default() }
    }

    /// How people call it.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What counts its requests.
    pub fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// Its client, made now if there is none yet. Whoever comes meanwhile waits for it.
    fn client(&self, id: &ClusterId) -> Result<Arc<Client>, Cause> {
        // A thread that panicked with the lock held cannot have left anything half-made behind.
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let config = (self.open)().map_err(|reason| Cause::Configuration { reason })?;
        info!("cluster {id}{} is {}", self.labels, config.server);
        let made = Arc::new(Client::counted(config, self.requests()));
        *client = Some(Arc::clone(&made));
        Ok(made)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("labels", &self.labels).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::kube::{Followed, Identity, Server, Trust};

    fn config() -> ClientConfig {
        ClientConfig {
            server: Server::parse("127.0.0.1", "1").unwrap(),
            server_name: None,
            trust: Trust::Anybody,
            identity: Identity {
                token: Some(Followed::fixed(zeroize::Zeroizing::new("test-token-1".into()))),
                ..Identity::default()
            },
            proxy: None,
            request_timeout: std::time::Duration::from_secs(1),
            limits: None,
        }
    }

    #[test]
    fn a_cluster_is_opened_when_it_is_needed_again_after_a_failure_and_then_once() {
        let opened = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&opened);
        let open: Open = Box::new(move || match counted.fetch_add(1, Ordering::SeqCst) {
            0 => Err("test".to_owned()),
            _ => Ok(config()),
        });
        let hub = ClusterId::parse("hub").unwrap();
        let labels = Labels { region: Some("eu".into()), name: Some("The Hub".into()), ..Labels::default() };
        assert_eq!(labels.to_string(), " (The Hub, eu)");
        let others = BTreeMap::from([(hub.clone(), Member::new(labels, open))]);
        let clusters = Clusters::new(Client::new(config()), others);
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        assert!(
            matches!(clusters.client(Some(&hub)), Err(Cause::Configuration { reason }) if reason == "test")
        );
        let client = clusters.client(Some(&hub)).unwrap();
        assert!(Arc::ptr_eq(&client, &clusters.client(Some(&hub)).unwrap()));
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert!(clusters.client(Some(&ClusterId::parse("other").unwrap())).is_err());
        assert!(Arc::ptr_eq(&clusters.client(None).unwrap(), clusters.own()));
    }
}
