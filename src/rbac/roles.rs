//! The least Roles: one for each service account in each namespace from which its pods read.

use std::cmp::Ordering;

use crate::object::{ClusterRef, Kind, Namespace};
use crate::rbac::needs::Need;
use crate::rbac::workload::{Account, Workload};

/// The order of the rules of a Role.
const KINDS: [Kind; 5] = [Kind::Secret, Kind::ConfigMap, Kind::Service, Kind::Pod, Kind::Event];
/// The verbs that a rule can have.
const VERBS: [&[&str]; 3] = [&["get"], &["get", "watch"], &["create", "patch"]];

/// What one service account needs in one namespace.
#[derive(Debug)]
pub(crate) struct Role {
    pub(crate) cluster: ClusterRef,
    pub(crate) namespace: Namespace,
    pub(crate) account: Account,
    /// The workloads that need it, in the order of the manifests.
    pub(crate) workloads: Vec<String>,
    grants: Vec<Grant>,
}

/// The verbs for one object.
#[derive(Debug)]
pub(crate) struct Grant {
    kind: Kind,
    /// `None` means all objects.
    pub(crate) name: Option<String>,
    verbs: &'static [&'static str],
    /// Which annotations of which workloads need it.
    pub(crate) reasons: Vec<String>,
}

/// A rule of a Role.
#[derive(Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) kind: Kind,
    pub(crate) verbs: &'static [&'static str],
    /// Sorted by name. Empty means all objects.
    pub(crate) objects: Vec<&'a Grant>,
}

/// Returns the Roles in a stable order: those of the local cluster first, then by namespace and service account.
pub(crate) fn roles(workloads: &[Workload]) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for Workload { name, account, needs } in workloads {
        for (need, reason) in needs {
            let compare = |role: &Role| -> Ordering {
                (&role.cluster, &role.namespace, &role.account).cmp(&(
                    &need.cluster,
                    &need.namespace,
                    account,
                ))
            };
            let index = roles.binary_search_by(compare).unwrap_or_else(|index| {
                let role = Role {
                    cluster: need.cluster.clone(),
                    namespace: need.namespace.clone(),
                    account: account.clone(),
                    workloads: Vec::new(),
                    grants: Vec::new(),
                };
                roles.insert(index, role);
                index
            });
            roles[index].add(name, need, reason);
        }
    }
    roles
}

impl Role {
    fn add(&mut self, workload: &str, need: &Need, reason: &str) {
        if !self.workloads.iter().any(|other| other == workload) {
            self.workloads.push(workload.to_owned());
        }
        let compare = |grant: &Grant| (grant.kind, &grant.name).cmp(&(need.kind, &need.name));
        let index = self.grants.binary_search_by(compare).unwrap_or_else(|index| {
            let (kind, name) = (need.kind, need.name.clone());
            self.grants.insert(index, Grant { kind, name, verbs: need.verbs, reasons: Vec::new() });
            index
        });
        let grant = &mut self.grants[index];
        // The verbs of a sidecar include those of `init`.
        if need.verbs.len() > grant.verbs.len() {
            grant.verbs = need.verbs;
        }
        let reason = format!("{reason} of {workload}");
        if !grant.reasons.contains(&reason) {
            grant.reasons.push(reason);
        }
    }

    /// Whether the account is in another namespace, or the Role in another cluster.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.cluster != ClusterRef::Local || self.namespace != self.account.namespace
    }

    /// The fewest rules: one for all objects of a kind with the same verbs.
    pub(crate) fn rules(&self) -> Vec<Rule<'_>> {
        let mut rules = Vec::new();
        for kind in KINDS {
            let of_kind = || self.grants.iter().filter(move |grant| grant.kind == kind);
            let for_all = of_kind().find(|grant| grant.name.is_none());
            if let Some(Grant { verbs, .. }) = for_all {
                rules.push(Rule { kind, verbs, objects: Vec::new() });
            }
            for verbs in VERBS {
                let is_covered = for_all.is_some_and(|all| all.verbs.len() >= verbs.len());
                let mut objects = Vec::new();
                objects.extend(
                    of_kind().filter(|grant| grant.name.is_some() && grant.verbs == verbs && !is_covered),
                );
                if !objects.is_empty() {
                    rules.push(Rule { kind, verbs, objects });
                }
            }
        }
        rules
    }
}
