{{/*
Where an Ingress or HTTPRoute of an endpoint leads to, as YAML; refuses one to what is not run. Takes the root context, the name of the
value that asks for it (ingress or httpRoute) and the endpoint's name.
*/}}
{{- define "opennebula.backend" -}}
{{- $root := index . 0 }}
{{- $value := index . 1 }}
{{- $name := index . 2 }}
{{- $ports := get (include "opennebula.endpoints" $root | fromYaml) $name }}
{{- if and (not $ports) (eq $name "grpc") }}
{{- fail (printf "%s.grpc.enabled is true and OpenNebula %s has no gRPC API, which is there from 7.2 on: nothing would answer; set it to false" $value (include "opennebula.version" $root)) }}
{{- else if not $ports }}
{{- fail (printf "%s.%s.enabled is true and services.%s.enabled is false: nothing would answer; set both to the same" $value $name $name) }}
{{- end }}
service: {{ include "opennebula.serviceName" (list $root $name) }}
port: {{ (first $ports).port }}
{{- end }}
