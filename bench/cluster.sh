# shellcheck shell=bash
# Shared by the benchmarks: creates a namespace on the cluster that KUBECONFIG selects, sets up the environment of a pod in
# it, and builds programs. To be sourced. Sets `here`, `target`, `namespace`, `work`, `before`, `in_lines` and `in_summary`;
# its functions set `kubectl`, `pod` and `built`.
#
#   KUBECTL=FILE      the kubectl to set up with
#   PODCREDS=FILE     a podcreds to measure instead of building one
#   BEFORE=FILE       an earlier podcreds to compare with
export LC_ALL=C # decimal points, not commas

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(uname -m)-unknown-linux-musl
namespace=podcreds-bench-$$-$RANDOM
# In memory, as a volume for credentials should be: the cost of a disk's file system varies with what was recently deleted
# there.
work=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
before=${BEFORE:-}
# The processes that clean_up stops.
started=()

say() { printf '\n== %s\n' "$*"; }

die() {
    printf 'bench/%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 2
}

clean_up() {
    local kinds=secrets,pods,rolebindings,roles,serviceaccounts
    ((${#started[@]} == 0)) || kill "${started[@]}" 2>/dev/null || true
    if [[ -n ${created:-} ]]; then
        {
            # Without controllers, a cluster does not delete the objects of a namespace.
            "$kubectl" delete --namespace "$namespace" --wait=false "$kinds" --all &&
                "$kubectl" delete namespace "$namespace" --wait=false
        } >/dev/null 2>&1 || echo "bench/$(basename "$0"): cannot delete namespace $namespace" >&2
    fi
    rm -rf "$work"
}

check_prerequisites() {
    local tool
    [[ -z $before || -x $before ]] || die "BEFORE=$before is not an executable file"
    kubectl=$(command -v "${KUBECTL:-kubectl}") || die "kubectl not found: install it, or set KUBECTL"
    for tool in cargo jq; do
        command -v "$tool" >/dev/null || die "$tool not found: install it"
    done
    skip_dispatcher
    "$kubectl" get --raw /version >/dev/null 2>"$work/error" ||
        die "cannot reach the cluster: set KUBECONFIG to one where you may create a namespace ($(tail -n 1 "$work/error"))"
    if command -v rustup >/dev/null && ! rustup target list --installed | grep -x "$target" >/dev/null; then
        die "missing Rust target $target: run rustup target add $target"
    fi
    if ! command -v "$(uname -m)-linux-musl-gcc" musl-gcc >/dev/null; then
        die "missing C compiler for $target: install musl-tools (Debian, Ubuntu) or musl-gcc (Fedora)"
    fi
}

# The kubectl of the Google Cloud SDK is a dispatcher: it requests the server's version and then starts another kubectl from
# its directory. Container images do not have it, and its cost would count against kubectl.
skip_dispatcher() {
    local real
    if [[ $("$kubectl" version --client 2>/dev/null) == *-dispatcher* ]]; then
        real=$(find "$(dirname "$(readlink -f "$kubectl")")" -name 'kubectl.[0-9]*' | sort -V | tail -n 1)
        kubectl=${real:-$kubectl}
    fi
}

# Two binaries are comparable only if they are built with the same compiler settings from the same libraries.
#
# check_comparable NAME DIR LIBRARY…
check_comparable() {
    local library
    cmp -s <(release_profile "$here/../Cargo.toml") <(release_profile "$2/Cargo.toml") ||
        say "Warning: the release profiles of podcreds and $1 differ"
    for library in "${@:3}"; do
        cmp -s <(locked "$library" "$here/../Cargo.lock") <(locked "$library" "$2/Cargo.lock") ||
            say "Warning: podcreds and $1 are locked to different versions of $library"
    done
}

release_profile() { sed -n '/^\[profile\.release/,/^\[lints/p' "$1" | grep -v -e '^#' -e '^\[lints' -e '^$'; }
locked() { grep -A 1 "^name = \"$1\"" "$2"; }

build_podcreds() {
    podcreds=${PODCREDS:-}
    if [[ -z $podcreds ]]; then
        build_release "$here/../Cargo.toml"
        podcreds=$built/podcreds
    fi
}

# build_release MANIFEST [OPTION…]: builds all binaries, or those that the options select.
build_release() {
    local options=("${@:2}")
    ((${#options[@]} > 0)) || options=(--bins)
    cargo build --quiet --locked --release "${options[@]}" --target "$target" --manifest-path "$1"
    built=$(cargo metadata --no-deps --format-version 1 --manifest-path "$1" | jq -r .target_directory)/$target/release
}

# make_namespace OBJECTS: creates the namespace and the objects in it; `-` reads them from standard input.
make_namespace() {
    "$kubectl" create namespace "$namespace" >/dev/null
    created=yes
    "$kubectl" create --namespace "$namespace" -f "$1" >/dev/null
}

# make_account NAME DIR: writes the files of a service account as the kubelet mounts them, and sets `pod` to the environment
# variables of a pod with that account.
make_account() {
    mkdir "$2"
    "$kubectl" create --raw "/api/v1/namespaces/$namespace/serviceaccounts/$1/token" -f - >"$work/token.json" \
        <<<'{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}'
    jq -j .status.token "$work/token.json" >"$2/token"
    rm "$work/token.json"
    printf %s "$namespace" >"$2/namespace"
    "$kubectl" config view --minify --flatten --raw -o json | jq '.clusters[0].cluster' >"$work/cluster.json"
    jq -re '."certificate-authority-data" // empty | @base64d' "$work/cluster.json" >"$2/ca.crt" ||
        die "the kubeconfig has no certificate-authority: the benchmark needs one to verify the server"
    server=$(jq -r .server "$work/cluster.json")
    [[ $server =~ ^https://(\[[0-9a-fA-F:]+\]|[^:/]+)(:([0-9]+))?/?$ ]] ||
        die "the kubeconfig's server is $server: expected https://HOST:PORT, because a pod gets only a host and a port"
    pod=(
        "KUBERNETES_SERVICE_HOST=$(tr -d '[]' <<<"${BASH_REMATCH[1]}")"
        "KUBERNETES_SERVICE_PORT=${BASH_REMATCH[3]:-443}"
        "POD_NAMESPACE=$namespace"
        "PODCREDS_SERVICE_ACCOUNT_DIR=$2"
    )
}

as_pod() { env -i "${pod[@]}" "$@"; }
pod_variable() { printf '%s\n' "${pod[@]}" | sed -n "s/^$1=//p"; }

# wait_for COMMAND…: repeats the command until it succeeds. A new Role takes a moment to reach the API server's authorizer.
wait_for() {
    local deadline=$((SECONDS + 30))
    until "$@" >"$work/output" 2>"$work/error"; do
        ((SECONDS < deadline)) || die "still fails after 30 s: $*: $(tail -n 3 "$work/error" "$work/output")"
        sleep 0.2
    done
}

print_versions() {
    say "Versions"
    "$podcreds" --version
    "$kubectl" version --output json 2>/dev/null |
        jq -r '"kubectl \(.clientVersion.gitVersion)", "API server \(.serverVersion.gitVersion)"'
}

# audited FROM USER EXPRESSION [TO]: counts the requests of a user between two offsets in the audit log, grouped by a jq
# expression. A watch counts once, whether the log has its start, its end or both.
audited() {
    local to=${4:-$(size "$AUDIT_LOG")}
    head -c "$to" "$AUDIT_LOG" | tail -c "+$(($1 + 1))" | jq -Rrn --arg user "$2" "
        [inputs | fromjson? | select(.user.username == \$user)] | unique_by(.auditID) | map($3)
        | if . == [] then \"no requests of \(\$user)\" else group_by(.)[] | \"\(.[0]) \(length)\" end"
}

size() { stat --dereference --format %s "$1"; }

# For jq: formats a line in a table of targets.
# shellcheck disable=SC2034 # the scripts that source this use it
in_lines='
    def padded(width): tostring | . + " " * ([width - length, 1] | max);
    def line(what; value; target; met):
        (what | padded(34)) + (value | padded(12)) + (target | padded(12)) + (if met then "met" else "missed" end);
    def hundredths: . * 100 | round / 100 + 0;'

# For jq: summarizes values; percentiles by the nearest-rank method.
# shellcheck disable=SC2034 # the scripts that source this use it
in_summary='
    def summary:
        sort as $sorted
        | def at(percent): $sorted[[($sorted | length) * percent / 100 | ceil - 1, 0] | max];
        {min: at(0), median: at(50), p99: at(99), max: at(100)};'
