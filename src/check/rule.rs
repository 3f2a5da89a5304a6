//! The table of checks: the stable id of each, its level, and what to do. `docs/check.md` explains them in the same order.

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// The pod does not start, or its application misses its credentials.
    Error,
    /// Probably a mistake.
    Warning,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A row of the table.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) level: Level,
    /// Empty if each message says what to do.
    pub(crate) remedy: &'static str,
}

impl Rule {
    /// Whether it reports the state of the cluster, not the manifest.
    pub(crate) fn is_of_cluster(&self) -> bool {
        [NOT_STARTING, CLUSTER, CLUSTER_NOTE].iter().any(|rule| rule.id == self.id)
    }
}

macro_rules! rules {
    ($($name:ident $level:ident $id:literal: $remedy:literal;)*) => {
        $(pub(super) const $name: &Rule = &Rule { id: $id, level: Level::$level, remedy: $remedy };)*
        #[cfg(test)]
        pub(crate) const ALL: &[&Rule] = &[$($name),*];
    };
}

rules! {
    // Annotations.
    ANNOTATION Error "annotation": "";
    ANNOTATION_TYPE Error "annotation-type": "write the value in quotes: the API server accepts only text";
    ANNOTATION_PLACE Error "annotation-place": "move the annotations to the pod template";
    ANNOTATION_PREFIX Error "annotation-prefix": "correct the prefix";
    NO_ANNOTATIONS Error "no-annotations": "annotate the pod template";
    INJECT_ANNOTATION Error "inject-annotation": "correct the annotation, or remove it for the default";
    INJECT_LABEL Error "inject-label": "set the label podcreds.io/inject: \"true\", in quotes, in the metadata.labels of the pod template";
    // Containers.
    NO_CONTAINER Error "no-container": "add the container with podcreds inject, or set the label podcreds.io/inject: \"true\" on the pod template if the injection policy is installed; pass --injected if something else adds it";
    ARGUMENT_TYPE Error "argument-type": "write it in quotes: the API server accepts only text";
    COMMAND_LINE Error "command-line": "see podcreds help";
    INIT_RESTARTS Error "init-restarts": "remove restartPolicy, or use sidecar to keep the files current";
    INIT_PLACE Error "init-place": "move the container to initContainers";
    SIDECAR_BLOCKS Error "sidecar-blocks": "set restartPolicy: Always on the container (Kubernetes 1.29 and newer), or move it to containers";
    SIDECAR_IN_JOB Error "sidecar-in-job": "make it a native sidecar, in initContainers with restartPolicy: Always, or use init";
    NO_STARTUP_PROBE Error "no-startup-probe": "add startupProbe: {exec: {command: [/bin/podcreds, probe]}, periodSeconds: 1, failureThreshold: 300}";
    STARTUP_PROBE Error "startup-probe": "use exec with the command [/bin/podcreds, probe], or httpGet with the path /readyz";
    NO_INIT Warning "no-init": "add an init container that runs podcreds init, or make the sidecar a native one";
    ORDER Warning "order": "move podcreds before it";
    TWO_SIDECARS Error "two-sidecars": "use one sidecar: it writes all credentials of the pod";
    EXIT_ON_CHANGE Error "exit-on-change": "add a rule to the container's restartPolicyRules: action RestartAllContainers, for this exit code";
    EXEC_BINARY Error "exec-binary": "add an init container that runs podcreds install, or mount podcreds' image as a volume";
    EXEC_FILES Error "exec-files": "give a credential .format: env, or correct --env-file";
    EXEC_SHELL Warning "exec-shell": "write exec before podcreds in the script, so that it receives the signals of the kubelet";
    // The volume.
    NO_MOUNT Error "no-mount": "mount the podcreds volume at this path, or pass the path of the mount with --volume";
    NO_VOLUME Error "no-volume": "declare it under volumes: {name: podcreds, emptyDir: {medium: Memory, sizeLimit: 1Mi}}";
    VOLUME_TYPE Error "volume-type": "use an emptyDir: {medium: Memory, sizeLimit: 1Mi}";
    VOLUME_ON_DISK Warning "volume-on-disk": "set emptyDir.medium: Memory, so that credentials never reach the node's disk";
    READ_ONLY_MOUNT Error "read-only-mount": "remove readOnly from this container's mount; keep it on the application's";
    DUPLICATE_MOUNT Error "duplicate-mount": "mount each path once: the API server rejects the pod";
    NOT_MOUNTED Error "not-mounted": "mount the volume in the application's container, with readOnly: true";
    SUB_PATH Error "sub-path": "mount the whole volume, or a directory that a credential writes, without the file's name in subPath";
    VOLUME_SIZE Error "volume-size": "raise sizeLimit to 8Mi";
    MEMORY_LIMIT Warning "memory-limit": "raise resources.limits.memory above the sizeLimit: files in memory count against it";
    // What applications read.
    FILE_KEY_REF Error "file-key-ref": "correct the path or the key, or the credential's .format: envfile, .path and .keys";
    UNKNOWN_PATH Warning "unknown-path": "correct the path, or the credential's .path, .format and .keys";
    FILE_OWNER Error "file-owner": "set one runAsUser for both, in the pod's securityContext";
    // Identity and access.
    POD_NAME Error "pod-name": "set POD_NAME from valueFrom.fieldRef.fieldPath: metadata.name";
    NO_POD_NAME Warning "no-pod-name": "set POD_NAME from valueFrom.fieldRef.fieldPath: metadata.name";
    NO_TOKEN Error "no-token": "set automountServiceAccountToken: true on the pod, or mount a projected volume with a token, ca.crt and the namespace at /var/run/secrets/kubernetes.io/serviceaccount";
    SERVICE_ACCOUNT Warning "service-account": "correct serviceAccountName, or create the account";
    NO_CLUSTERS Error "no-clusters": "pass --clusters with the file that configures this cluster";
    ROLE Warning "role": "add the rule to the Role; podcreds rbac -f prints the whole Role";
    ROOT_USER Error "root-user": "set runAsUser of this container to another user, such as 65532";
    // Health endpoints.
    PORT_TAKEN Error "port-taken": "pass another port with --listen, or off";
    HOST_PORT Warning "host-port": "declare the port in the container's ports, so that the scheduler avoids nodes where it is taken";
    PROBE_PORT Error "probe-port": "use the port of --listen, 8081 unless it is set, on all addresses";
    // Notifications.
    NEVER_NOTIFIED Warning "never-notified": "run podcreds sidecar, or remove .on-change: init does not send it";
    SIGNAL_NAMESPACE Error "signal-namespace": "set shareProcessNamespace: true on the pod, or use another .on-change";
    SIGNAL_USER Error "signal-user": "set one runAsUser for both, in the pod's securityContext";
    NOTIFIED_PORT Warning "notified-port": "correct the port of the URL, or declare it in the application's ports";
    // Secrets in the same manifests, or in the cluster.
    SOURCE Error "source": "correct the object, or the annotations";
    SOURCE_NAME Warning "source-name": "correct the name, unless the cluster has this object";
    NO_ENGINE Warning "no-engine": "add .engine, for example postgresql";
    SOURCE_VALUE Warning "source-value": "check the object";
    // Only with a cluster.
    NOT_STARTING Error "not-starting": "see the logs and Events of the pod: kubectl describe pod";
    CLUSTER Error "cluster": "see the cause";
    CLUSTER_NOTE Warning "cluster-note": "check it";
}
