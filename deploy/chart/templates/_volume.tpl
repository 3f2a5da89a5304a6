{{/*
The volume with the files, as an item for a pod's volumes. It is in memory, so that the credentials never reach the node's disk.
Usage: {{ include "podcreds.volume" . | nindent 8 }}
*/}}
{{- define "podcreds.volume" -}}
{{- include "podcreds.requireValues" . -}}
- name: podcreds
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.podcreds.volumeSize }}
{{- end }}

{{/*
The mount for a container of the application, as an item for its volumeMounts.
Usage: {{ include "podcreds.volumeMount" . | nindent 12 }}
*/}}
{{- define "podcreds.volumeMount" -}}
{{- include "podcreds.requireValues" . -}}
- name: podcreds
  mountPath: {{ .Values.podcreds.mountPath }}
  readOnly: true
{{- end }}
