# shellcheck shell=bash
# What the benchmarks share: a namespace of their own on the cluster that KUBECONFIG names, what a pod in it finds, and
# builds. Sourced; sets `here`, `target`, `namespace`, `work`, `before`, `in_lines`, `in_summary`, and with its functions `kubectl`, `pod` and `built`.
#
#   KUBECTL=FILE      the kubectl to set up with
#   PODCREDS=FILE     measures this podcreds instead of building one
#   BEFORE=FILE       an earlier podcreds, to measure it beside
export LC_ALL=C # a decimal point is a point

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=$(uname -m)-unknown-linux-musl
namespace=podcreds-bench-$$-$RANDOM
# In memory, as a volume for credentials should be: a disk's file system has costs of its own, which depend on what was
# deleted there a moment ago.
work=$(mktemp -d -p "$([[ -w /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
before=${BEFORE:-}
# What clean_up ends: processes that were started here.
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
            # Only a cluster with controllers empties a namespace by itself.
            "$kubectl" delete --namespace "$namespace" --wait=false "$kinds" --all &&
                "$kubectl" delete namespace "$namespace" --wait=false
        } >/dev/null 2>&1 || echo "bench/$(basename "$0"): namespace $namespace could not be removed" >&2
    fi
    rm -rf "$work"
}

check_prerequisites() {
    local tool
    [[ -z $before || -x $before ]] || die "BEFORE=$before is no program"
    kubectl=$(command -v "${KUBECTL:-kubectl}") || die "no kubectl: install it, or name one with KUBECTL"
    for tool in cargo jq; do
        command -v "$tool" >/dev/null || die "no $tool: install it"
    done
    skip_dispatcher
    "$kubectl" get --raw /version >/dev/null 2>"$work/error" ||
        die "no cluster: KUBECONFIG must name one where you may make a namespace ($(tail -n 1 "$work/error"))"
    if command -v rustup >/dev/null && ! rustup target list --installed | grep -x "$target" >/dev/null; then
        die "no Rust target $target: rustup target add $target"
    fi
    if ! command -v "$(uname -m)-linux-musl-gcc" musl-gcc >/dev/null; then
        die "no C compiler for $target: install musl-tools (Debian, Ubuntu) or musl-gcc (Fedora)"
    fi
}

# The kubectl of the Google Cloud SDK first asks the server for its version and then starts another that lies beside it.
# No container has that, and it would count against kubectl.
skip_dispatcher() {
    local real
    if [[ $("$kubectl" version --client 2>/dev/null) == *-dispatcher* ]]; then
        real=$(find "$(dirname "$(readlink -f "$kubectl")")" -name 'kubectl.[0-9]*' | sort -V | tail -n 1)
        kubectl=${real:-$kubectl}
    fi
}

# Two binaries compare only if the same compiler settings made them from the same libraries.
#
# check_likeness NAME FOLDER LIBRARY…
check_likeness() {
    local library
    cmp -s <(release_profile "$here/../Cargo.toml") <(release_profile "$2/Cargo.toml") ||
        say "Note: the release profiles of podcreds and $1 differ"
    for library in "${@:3}"; do
        cmp -s <(locked "$library" "$here/../Cargo.lock") <(locked "$library" "$2/Cargo.lock") ||
            say "Note: podcreds and $1 are locked to different versions of $library"
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

# build_release MANIFEST [OPTION…]: all its programs, unless options say which.
build_release() {
    local options=("${@:2}")
    ((${#options[@]} > 0)) || options=(--bins)
    cargo build --quiet --locked --release "${options[@]}" --target "$target" --manifest-path "$1"
    built=$(cargo metadata --no-deps --format-version 1 --manifest-path "$1" | jq -r .target_directory)/$target/release
}

# make_namespace OBJECTS: the objects are made in it; `-` reads them from standard input.
make_namespace() {
    "$kubectl" create namespace "$namespace" >/dev/null
    created=yes
    "$kubectl" create --namespace "$namespace" -f "$1" >/dev/null
}

# The folder of a service account, as a pod finds it, and the variables that go with it.
#
# make_account NAME FOLDER
make_account() {
    mkdir "$2"
    "$kubectl" create --raw "/api/v1/namespaces/$namespace/serviceaccounts/$1/token" -f - >"$work/token.json" \
        <<<'{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}'
    jq -j .status.token "$work/token.json" >"$2/token"
    rm "$work/token.json"
    printf %s "$namespace" >"$2/namespace"
    "$kubectl" config view --minify --flatten --raw -o json | jq '.clusters[0].cluster' >"$work/cluster.json"
    jq -re '."certificate-authority-data" // empty | @base64d' "$work/cluster.json" >"$2/ca.crt" ||
        die "the kubeconfig has no certificate-authority to verify the server with"
    server=$(jq -r .server "$work/cluster.json")
    [[ $server =~ ^https://(\[[0-9a-fA-F:]+\]|[^:/]+)(:([0-9]+))?/?$ ]] ||
        die "the kubeconfig's server is $server: expected https://HOST:PORT, since a pod knows no other"
    pod=(
        "KUBERNETES_SERVICE_HOST=$(tr -d '[]' <<<"${BASH_REMATCH[1]}")"
        "KUBERNETES_SERVICE_PORT=${BASH_REMATCH[3]:-443}"
        "POD_NAMESPACE=$namespace"
        "PODCREDS_SERVICE_ACCOUNT_DIR=$2"
    )
}

as_pod() { env -i "${pod[@]}" "$@"; }

# A new Role reaches the API server's authorizer after a moment: wait_for COMMAND… repeats it until it succeeds.
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

# What the requests of a user were about, between two lengths of the audit log: each kind with its number. A watch is counted
# once, whether the log has its begin, its end or both.
#
# audited FROM USER EXPRESSION [TO]
audited() {
    local to=${4:-$(size "$AUDIT_LOG")}
    head -c "$to" "$AUDIT_LOG" | tail -c "+$(($1 + 1))" | jq -Rrn --arg user "$2" "
        [inputs | fromjson? | select(.user.username == \$user)] | unique_by(.auditID) | map($3)
        | if . == [] then \"none found for \(\$user)\" else group_by(.)[] | \"\(.[0]) \(length)\" end"
}

size() { stat --dereference --format %s "$1"; }

# For jq: a line of a table of targets.
# shellcheck disable=SC2034 # the scripts that source this use it
in_lines='
    def padded(width): tostring | . + " " * ([width - length, 1] | max);
    def line(what; value; target; met):
        (what | padded(34)) + (value | padded(12)) + (target | padded(12)) + (if met then "met" else "missed" end);
    def hundredths: . * 100 | round / 100 + 0;'

# For jq: what many values come to; the percentile is that of the nearest rank.
# shellcheck disable=SC2034 # the scripts that source this use it
in_summary='
    def summary:
        sort as $sorted
        | def at(percent): $sorted[[($sorted | length) * percent / 100 | ceil - 1, 0] | max];
        {min: at(0), median: at(50), p99: at(99), max: at(100)};'
