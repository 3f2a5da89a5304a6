{{/*
The container, as an item for a pod's initContainers: podcreds.sidecar or podcreds.initContainer, depending on the value `mode`.
Usage: {{ include "podcreds.container" . | nindent 8 }}
*/}}
{{- define "podcreds.container" -}}
{{- include "podcreds.requireValues" . -}}
{{- if eq .Values.podcreds.mode "init" -}}
{{ include "podcreds.initContainer" . }}
{{- else -}}
{{ include "podcreds.sidecar" . }}
{{- end -}}
{{- end }}

{{/*
A native sidecar, as an item for a pod's initContainers: writes the files before the next containers start, and keeps them current.
Usage: {{ include "podcreds.sidecar" . | nindent 8 }}
*/}}
{{- define "podcreds.sidecar" -}}
{{- include "podcreds.requireValues" . -}}
{{- /* An older API server drops restartPolicy, and the pod would wait forever for an init container that does not exit. */ -}}
{{- if semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version }}
{{- fail (printf "podcreds: a native sidecar needs Kubernetes 1.29 or newer, and this is %s: set podcreds.mode to init, or use podcreds.initContainer" .Capabilities.KubeVersion.Version) }}
{{- end }}
{{- $podcreds := .Values.podcreds -}}
- name: podcreds
  {{- include "podcreds.image" . | nindent 2 }}
  args:
    {{- concat (list "sidecar") $podcreds.args $podcreds.sidecarArgs | toYaml | nindent 4 }}
  restartPolicy: Always
  env:
    {{- include "podcreds.env" . | nindent 4 }}
    {{- if ne (int $podcreds.port) 8081 }}
    - name: PODCREDS_LISTEN
      value: ":{{ $podcreds.port }}"
    {{- end }}
  ports:
    - name: health
      containerPort: {{ $podcreds.port }}
  startupProbe:
    exec:
      command: [/bin/podcreds, probe]
    periodSeconds: 1
    timeoutSeconds: 5
    failureThreshold: 300
  livenessProbe:
    httpGet:
      path: /healthz
      port: health
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 3
  {{- include "podcreds.constraints" . | nindent 2 }}
{{- end }}

{{/*
An init container that writes the files once, as an item for a pod's initContainers.
Usage: {{ include "podcreds.initContainer" . | nindent 8 }}
*/}}
{{- define "podcreds.initContainer" -}}
{{- include "podcreds.requireValues" . -}}
- name: podcreds
  {{- include "podcreds.image" . | nindent 2 }}
  args:
    {{- concat (list "init") .Values.podcreds.args | toYaml | nindent 4 }}
  env:
    {{- include "podcreds.env" . | nindent 4 }}
  {{- include "podcreds.constraints" . | nindent 2 }}
{{- end }}

{{- define "podcreds.image" -}}
{{- with .Values.podcreds.image -}}
image: {{ ternary (printf "%s@%s" .repository .digest) (printf "%s:%s" .repository .tag) (ne .digest "") }}
{{- with .pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "podcreds.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if ne .Values.podcreds.mountPath "/podcreds" }}
- name: PODCREDS_VOLUME
  value: {{ .Values.podcreds.mountPath }}
{{- end }}
{{- end }}

{{- define "podcreds.constraints" -}}
volumeMounts:
  - name: podcreds
    mountPath: {{ .Values.podcreds.mountPath }}
{{- with .Values.podcreds.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podcreds.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "podcreds.requireValues" -}}
{{- if not (get (default dict .Values.podcreds) "rbac") -}}
{{- fail "podcreds: the values of the library chart are not under podcreds: pass the root context ($) to the template, and do not set an alias for the dependency in Chart.yaml" -}}
{{- end -}}
{{- end }}
