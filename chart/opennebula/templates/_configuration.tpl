{{/* configuration.values as the image reads it: a line for each value. */}}
{{- define "opennebula.configuration" -}}
{{- range $file, $entries := .Values.configuration.values }}
{{- range $key, $value := $entries }}
{{ $file }} {{ $key }} = {{ if kindIs "string" $value }}{{ $value }}{{ else }}{{ toJson $value }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* vnm.tproxy as OPENNEBULA_TPROXY has it. */}}
{{- define "opennebula.tproxy" -}}
{{- $entries := list }}
{{- range .Values.vnm.tproxy }}
{{- $address := .remote_addr }}
{{- if contains ":" $address }}
{{- $address = printf "[%s]" $address }}
{{- end }}
{{- $entries = append $entries (printf "%d=%s:%d" (int .service_port) $address (int .remote_port)) }}
{{- end }}
{{- join "," $entries }}
{{- end }}
