{{/*
A Role and a RoleBinding in each namespace that the value `credentials` reads from: `get` on the named Secrets, ConfigMaps and
Services, with `watch` for a sidecar, and `get` on pods in the release's namespace, for the pod's own annotations.
Usage: {{ include "podcreds.role" (dict "context" $ "serviceAccountName" (include "orders.serviceAccountName" .)) }}
*/}}
{{- define "podcreds.role" -}}
{{- $context := required "podcreds.role: pass (dict \"context\" $ \"serviceAccountName\" NAME)" .context -}}
{{- $account := required "podcreds.role: serviceAccountName is missing: pass (dict \"context\" $ \"serviceAccountName\" NAME)" .serviceAccountName -}}
{{- include "podcreds.requireValues" $context -}}
{{- $podcreds := $context.Values.podcreds -}}
{{- $own := $context.Release.Namespace -}}
{{- if $podcreds.rbac.create -}}
{{- /* The names by namespace and resource. */ -}}
{{- $sources := dict $own (dict "secrets" $podcreds.rbac.secrets) -}}
{{- range $options := $podcreds.credentials -}}
{{- range $key, $resource := dict "secret" "secrets" "configmap" "configmaps" "service" "services" "template-from" "configmaps" -}}
{{- /* Only a template comes from this cluster if the credential comes from another one. */ -}}
{{- if and (get (default dict $options) $key) (or (not $options.cluster) (eq $key "template-from")) -}}
{{- range splitList "," (tpl (get $options $key) $context) -}}
{{- /* alias=namespace/name:port; a template is namespace/configmap/key. */ -}}
{{- $path := regexReplaceAll "^[^=]*=" . "" | trim | splitList "/" -}}
{{- if eq $key "template-from" -}}
{{- $path = initial $path -}}
{{- end -}}
{{- $namespace := ternary (first $path) $own (gt (len $path) 1) -}}
{{- $name := last $path | splitList ":" | first -}}
{{- $resources := get $sources $namespace | default dict -}}
{{- $_ := set $resources $resource (append (get $resources $resource | default list) $name) -}}
{{- $_ := set $sources $namespace $resources -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $verbs := ternary (list "get") (list "get" "watch") (eq $podcreds.mode "init") -}}
{{- range $namespace, $resources := $sources }}
{{- /* Releases of the same name in other namespaces may read from this one too. */ -}}
{{- $name := include "podcreds.fullname" $context -}}
{{- if ne $namespace $own -}}
{{- $name = printf "%s-%s" $name $own | trunc 253 -}}
{{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $name }}
  namespace: {{ $namespace | quote }}
  labels:
    {{- include "podcreds.labels" $context | nindent 4 }}
rules:
  {{- range $resource, $names := $resources }}
  {{- with $names }}
  - apiGroups: [""]
    resources: [{{ $resource }}]
    resourceNames:
      {{- . | uniq | sortAlpha | toYaml | nindent 6 }}
    verbs:
      {{- toYaml $verbs | nindent 6 }}
  {{- end }}
  {{- end }}
  {{- if eq $namespace $own }}
  # To read the pod's own annotations. Without resourceNames, because a Deployment generates the names of its pods.
  - apiGroups: [""]
    resources: [pods]
    verbs:
      - get
  {{- with $podcreds.rbac.extraRules }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- end }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $namespace | quote }}
  labels:
    {{- include "podcreds.labels" $context | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ $account | quote }}
    namespace: {{ $own | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of the Role, after that of the application: the conventions of `helm create`. */}}
{{- define "podcreds.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $default := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- printf "%s-podcreds" (default $default .Values.fullnameOverride | trunc 54 | trimSuffix "-") -}}
{{- end }}

{{- define "podcreds.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: podcreds
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
