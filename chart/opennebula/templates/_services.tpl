{{/* OpenNebula's services that are to run, as OPENNEBULA_SERVICES has them. */}}
{{- define "opennebula.services" -}}
{{- $names := list "oned" }}
{{- range $value, $name := dict "hem" "hem" "fireedge" "fireedge" "guacd" "guacd" "oneflow" "oneflow" "onegate" "onegate" "showback" "showback" "sshAgent" "ssh-agent" "sshd" "sshd" "sshSocksCleaner" "ssh-socks-cleaner" }}
{{- if (index $.Values.services $value).enabled }}
{{- $names = append $names $name }}
{{- end }}
{{- end }}
{{- join "," $names }}
{{- end }}

{{/* The ports that something listens on, by the names that they have in the values: what is not run, or not there yet, has none. */}}
{{- define "opennebula.endpoints" -}}
api:
  - {name: api, port: 2633, protocol: TCP, appProtocol: http}
{{- if semverCompare ">=7.2" (include "opennebula.version" .) }}
grpc:
  - {name: grpc, port: 2634, protocol: TCP, appProtocol: kubernetes.io/h2c}
{{- end }}
monitord:
  - {name: monitord-tcp, port: 4124, protocol: TCP}
  - {name: monitord-udp, port: 4124, protocol: UDP}
{{- if .Values.services.fireedge.enabled }}
fireedge:
  - {name: fireedge, port: 2616, protocol: TCP, appProtocol: http}
{{- end }}
{{- if .Values.services.oneflow.enabled }}
oneflow:
  - {name: oneflow, port: 2474, protocol: TCP, appProtocol: http}
{{- end }}
{{- if .Values.services.onegate.enabled }}
onegate:
  - {name: onegate, port: 5030, protocol: TCP, appProtocol: http}
{{- end }}
{{- if .Values.services.sshd.enabled }}
ssh:
  - {name: ssh, port: 22, protocol: TCP}
{{- end }}
{{- end }}

{{/* The name of the Service of an endpoint: takes the root context and the endpoint's name. */}}
{{- define "opennebula.serviceName" -}}
{{- $fullname := include "opennebula.fullname" (index . 0) }}
{{- $name := index . 1 }}
{{- if eq $name "api" }}
{{- $fullname }}
{{- else }}
{{- printf "%s-%s" $fullname $name }}
{{- end }}
{{- end }}
