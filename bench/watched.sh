# shellcheck shell=bash
# shellcheck disable=SC2154 # cluster.sh and the script that sources this set them
# Shared by the benchmarks of the sidecar: creates Secrets, the service accounts that watch and change them, and sidecars,
# and reads process statistics from the kernel. To be sourced after cluster.sh.

# set_up_watched COUNT…: creates a pod `watches-COUNT` for each count, whose annotations name that many Secrets.
set_up_watched() {
    local count
    {
        watched_accounts
        for count in "$@"; do watched_pod "$count"; done
        for count in $(seq "$(max "$@")"); do watched_secret "s$count"; done
    } >"$work/objects.yaml"
    make_watched "$work/objects.yaml"
}

# make_watched OBJECTS: creates the objects, and the accounts that watch and change them.
make_watched() {
    # `reading` gets processor time in nanoseconds from there.
    [[ -r /proc/self/schedstat ]] || die "this kernel does not count processor time in /proc/PID/schedstat"
    make_namespace "$1"
    make_account rotator "$work/rotator"
    writer=("${pod[@]}")
    if [[ -n $before ]]; then
        make_account before "$work/account-before"
        pod_of_before=("${pod[@]}")
    fi
    make_account bench "$work/account"
    wait_for rotate 1 s1
}

max() { printf '%s\n' "$@" | sort -n | tail -n 1; }

watched_pod() {
    local number
    pod_manifest "watches-$1" < <(
        for number in $(seq "$1"); do printf '    podcreds.io/s%d.secret: s%d\n' "$number" "$number"; done
    )
}

# pod_manifest NAME: reads the annotations from standard input.
pod_manifest() {
    printf '%s\n' --- 'apiVersion: v1' 'kind: Pod' metadata: "  name: $1" '  annotations:'
    cat
    # The pod never runs: no node matches its selector.
    cat <<'EOF'
spec:
  serviceAccountName: bench
  automountServiceAccountToken: false
  nodeSelector: {podcreds.io/bench: nowhere}
  containers: [{name: none, image: "docker.io/local/none:none"}]
EOF
}

watched_secret() {
    cat <<EOF
---
apiVersion: v1
kind: Secret
metadata: {name: $1}
stringData: {username: test-$1, password: test-password-$1, host: $1.example, port: "5432", database: test}
EOF
}

# kube-rs also needs `list`; podcreds does not. Each program has an account of its own, which identifies its requests in the
# API server's audit log.
watched_accounts() {
    cat <<'EOF'
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: bench}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: before}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-rs}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: rotator}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: bench}
rules:
  - {apiGroups: [""], resources: [pods], verbs: [get]}
  - {apiGroups: [""], resources: [secrets], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bench}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: bench}
subjects: [{kind: ServiceAccount, name: bench}, {kind: ServiceAccount, name: before}, {kind: ServiceAccount, name: kube-rs}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: rotator}
rules:
  - {apiGroups: [""], resources: [secrets], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: rotator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: rotator}
subjects: [{kind: ServiceAccount, name: rotator}]
EOF
}

# rotate CHANGES SECRET [FILE]
rotate() { env -i "${writer[@]}" "$rotate" "$@"; }

# start_podcreds COUNT VOLUME [VARIABLE=VALUE…]: starts a sidecar for the pod `watches-COUNT`; sets `started_pid`.
start_podcreds() {
    mkdir "$2"
    start_sidecar "watches-$1" "$2" "${@:3}"
}

# start_sidecar POD VOLUME [VARIABLE=VALUE…]
start_sidecar() {
    local options=()
    # Several sidecars on one machine cannot listen on the same port.
    if [[ $("$podcreds" sidecar --help) == *--listen* ]]; then options+=(--listen off); fi
    start "$2.log" "POD_NAME=$1" "PODCREDS_VOLUME=$2" "${@:3}" "$podcreds" sidecar "${options[@]}"
}

# Like start_podcreds, with the earlier podcreds.
start_before() {
    local podcreds=$before pod=("${pod_of_before[@]}")
    start_podcreds "$@"
}

# start LOG [VARIABLE=VALUE…] COMMAND…: starts the command in the background with a pod's environment; `exec` makes
# `started_pid` the pid of the command itself.
start() {
    exec env -i "${pod[@]}" "${@:2}" 2>"$1" &
    started_pid=$!
    started+=("$started_pid")
}

# stop PID
stop() {
    kill "$1"
    wait "$1" 2>/dev/null || true
    # The kernel may reuse the pid, which clean_up must not kill.
    local pid running=()
    for pid in "${started[@]}"; do [[ $pid == "$1" ]] || running+=("$pid"); done
    started=("${running[@]}")
}

# reading PID FIELD: `VmRSS` and similar fields are in KiB.
reading() {
    case $2 in
    # Pages of the process alone. Private_Dirty would include pages of a binary in a tmpfs while one process runs it, and
    # RssAnon is approximate in some kernels: it has errors of up to 128 KiB for each processor.
    private) awk '/^Anonymous:/ {print $2}' "/proc/$1/smaps_rollup" 2>/dev/null || reading "$1" RssAnon ;;
    Pss) awk '/^Pss:/ {print $2}' "/proc/$1/smaps_rollup" 2>/dev/null || echo - ;;
    descriptors) find "/proc/$1/fd" -mindepth 1 | wc -l ;;
    # Sums over all threads: nanoseconds on a processor, and number of timeslices.
    cpu) cat "/proc/$1/task"/*/schedstat | awk '{sum += $1} END {printf "%d\n", sum}' ;;
    slices) cat "/proc/$1/task"/*/schedstat | awk '{sum += $3} END {printf "%d\n", sum}' ;;
    *) awk -v field="$2:" '$1 == field {print $2}' "/proc/$1/status" ;;
    esac
}
