{{/*
The annotations of the pod, from the value `credentials`. Helm renders their values, so that they can contain {{ .Release.Name }},
except for podcreds' own templates, where {{ }} belongs to podcreds.
Usage: {{ include "podcreds.annotations" . | nindent 8 }}
*/}}
{{- define "podcreds.annotations" -}}
{{- include "podcreds.requireValues" . -}}
{{- $annotations := dict -}}
{{- range $name, $options := .Values.podcreds.credentials -}}
{{- range $key, $value := $options -}}
{{- /* Helm does not remove a value of a dependency that is set to null. */ -}}
{{- if ne $value nil -}}
{{- if not (has $key (list "template" "on-change-header" "delimiters")) -}}
{{- $value = tpl (toString $value) $ -}}
{{- end -}}
{{- $_ := set $annotations (printf "podcreds.io/%s.%s" $name $key) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $annotations -}}
{{ toYaml . }}
{{- end -}}
{{- end }}
