#!/bin/sh
# The usual init container: kubectl and jq in a shell. It writes one key of each Secret that the pod's annotations name.
#
# kubectl-jq.sh DIR, with the variables KUBECTL, KUBECONFIG, POD_NAME and POD_NAMESPACE
set -eu
names=$("$KUBECTL" get pod "$POD_NAME" -n "$POD_NAMESPACE" -o json |
    jq -r '.metadata.annotations | to_entries[] | select(.key | endswith(".secret")) | .value')
for name in $names; do
    "$KUBECTL" get secret "$name" -n "$POD_NAMESPACE" -o json | jq -r '.data.password | @base64d' >"$1/$name"
done
