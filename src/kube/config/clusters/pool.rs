//! Clients by cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use log::{info, warn};

use crate::kube::config::clusters::file::Labels;
use crate::kube::{Cause, Client, ClientConfig, Deadline, Error, Object, Requests, Stamp};
use crate::object::{ClusterId, ObjectRef};
use crate::thread::lock;

/// What makes the configuration of a cluster, when it is first needed and again after that has failed: reads the files that it
/// names. The error says what is wrong, where, and what to do.
pub(crate) type Open = Box<dyn Fn() -> Result<ClientConfig, String> + Send + Sync>;

/// Every cluster that can be asked.
#[derive(Debug)]
pub(crate) struct Clusters {
    own: Member,
    /// The first client of the own cluster.
    first: Arc<Client>,
    others: BTreeMap<ClusterId, Member>,
}

/// A cluster, with its client once there is one.
pub(crate) struct Member {
    labels: Labels,
    open: Open,
    /// The kubeconfigs that `open` reads: when one of them changes, the client is made anew.
    files: Vec<PathBuf>,
    requests: Arc<Requests>,
    made: Mutex<Option<Made>>,
}

/// A client, and how the kubeconfigs looked that it was made of.
struct Made {
    client: Arc<Client>,
    stamps: Vec<Option<Stamp>>,
}

impl Clusters {
    /// The pod's own cluster, whose client is made at once, and these, whose clients are made when they are needed.
    ///
    /// # Errors
    /// Why there can be no client of the own cluster.
    pub(crate) fn new(own: Member, others: BTreeMap<ClusterId, Member>) -> Result<Self, Cause> {
        let first = own.client(None)?;
        Ok(Self { own, first, others })
    }

    /// The pod's own cluster.
    pub(crate) fn own(&self) -> Arc<Client> {
        // There is a client, so this never fails.
        self.own.client(None).unwrap_or_else(|_| Arc::clone(&self.first))
    }

    /// The others.
    pub(crate) fn others(&self) -> &BTreeMap<ClusterId, Member> {
        &self.others
    }

    /// The client of this cluster, of the pod's own for none.
    ///
    /// # Errors
    /// [`Cause::Configuration`] if what its entry names cannot be read or used; it is tried again the next time.
    pub(crate) fn client(&self, cluster: Option<&ClusterId>) -> Result<Arc<Client>, Cause> {
        let Some(id) = cluster else { return Ok(self.own()) };
        match self.others.get(id) {
            Some(member) => member.client(cluster),
            None => Err(Cause::Configuration { reason: format!("there is no cluster {id}") }),
        }
    }

    /// Reads an object from its cluster.
    ///
    /// # Errors
    /// As [`Clusters::client`] and [`Client::object`].
    pub(crate) fn object(&self, object: &ObjectRef, deadline: Deadline) -> Result<Object, Error> {
        let client = self.client(object.cluster.as_ref()).map_err(|cause| Error::new(object, cause))?;
        client.object(object, deadline)
    }
}

impl Member {
    /// A cluster that is opened in this way, and again when one of these kubeconfigs changes.
    pub(crate) fn new(labels: Labels, open: Open, files: Vec<PathBuf>) -> Self {
        Self { labels, open, files, requests: Arc::default(), made: Mutex::default() }
    }

    /// How people call it.
    pub(crate) fn labels(&self) -> &Labels {
        &self.labels
    }

    /// What counts its requests.
    pub(crate) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// Its client, made now if there is none yet. Whoever comes meanwhile waits for it. While a kubeconfig that has changed cannot
    /// be used, the client that was made of the one before is used on.
    fn client(&self, id: Option<&ClusterId>) -> Result<Arc<Client>, Cause> {
        // A thread that panicked with the lock held cannot have left anything half-made behind.
        let mut made = lock(&self.made);
        let stamps: Vec<_> = self.files.iter().map(|file| Stamp::at(file)).collect();
        if let Some(made) = &*made
            && made.stamps == stamps
        {
            return Ok(Arc::clone(&made.client));
        }
        match ((self.open)(), made.as_mut()) {
            (Ok(config), _) => {
                if let Some(id) = id {
                    info!("cluster {id}{} is {}", self.labels, config.server);
                }
                let client = Arc::new(Client::counted(config, self.requests()));
                *made = Some(Made { client: Arc::clone(&client), stamps });
                Ok(client)
            }
            (Err(reason), Some(before)) => {
                warn!("{reason}; going on with what was there before");
                before.stamps = stamps;
                Ok(Arc::clone(&before.client))
            }
            (Err(reason), None) => Err(Cause::Configuration { reason }),
        }
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
        let others = BTreeMap::from([(hub.clone(), Member::new(labels, open, Vec::new()))]);
        let own = Member::new(Labels::default(), Box::new(|| Ok(config())), Vec::new());
        let clusters = Clusters::new(own, others).unwrap();
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        assert!(
            matches!(clusters.client(Some(&hub)), Err(Cause::Configuration { reason }) if reason == "test")
        );
        let client = clusters.client(Some(&hub)).unwrap();
        assert!(Arc::ptr_eq(&client, &clusters.client(Some(&hub)).unwrap()));
        assert_eq!(opened.load(Ordering::SeqCst), 2);
        assert!(clusters.client(Some(&ClusterId::parse("other").unwrap())).is_err());
        assert!(Arc::ptr_eq(&clusters.client(None).unwrap(), &clusters.own()));
    }
}
