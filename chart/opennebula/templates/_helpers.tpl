{{- define "opennebula.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* The name of all resources. A StatefulSet's pods and their label values add to it, hence 52 characters. */}}
{{- define "opennebula.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := include "opennebula.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "opennebula.headless" -}}
{{- printf "%s-headless" (include "opennebula.fullname" .) }}
{{- end }}

{{/* What the pods are selected by; it must never change. */}}
{{- define "opennebula.selectorLabels" -}}
app.kubernetes.io/name: {{ include "opennebula.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of all that is no part of the control plane's pods, such as the test: another name, so that no Service selects them. */}}
{{- define "opennebula.testLabels" -}}
app.kubernetes.io/name: {{ printf "%s-test" (include "opennebula.name" . | trunc 58) }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels without those that select. */}}
{{- define "opennebula.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The annotations of a resource: takes the root context, and those of its own, which come first. */}}
{{- define "opennebula.annotations" -}}
{{- with merge (dict) (index . 1) (index . 0).Values.global.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "opennebula.labels" -}}
{{ include "opennebula.commonLabels" . }}
{{ include "opennebula.selectorLabels" . }}
{{- end }}

{{/*
The image. The chart was released with one, which files/image.yaml names; it is not part of the values, so that `helm upgrade --reuse-values` takes
the newer chart's. A repository in the values is a mirror of it. A tag or a digest in the values is another image: nothing of the released one's
tag and digest stays.

What comes before the first slash of a repository is a registry when it has a dot or a port, or is localhost: global.imageRegistry takes its place.
*/}}
{{- define "opennebula.image" -}}
{{- $released := .Files.Get "files/image.yaml" | fromYaml }}
{{- $repository := .Values.image.repository | default $released.repository }}
{{- with .Values.global.imageRegistry }}
{{- $repository = printf "%s/%s" . (regexReplaceAll "^(localhost|[^/]*[.:][^/]*)/" $repository "") }}
{{- end }}
{{- $of := $released }}
{{- if or .Values.image.tag .Values.image.digest }}
{{- $of = .Values.image }}
{{- end }}
{{- $tag := $of.tag }}
{{- if not (or $of.tag $of.digest) }}
{{- $tag = .Chart.AppVersion }}
{{- end }}
{{- with $tag }}
{{- $repository = printf "%s:%s" $repository . }}
{{- end }}
{{- with $of.digest }}
{{- $repository = printf "%s@%s" $repository . }}
{{- end }}
{{- $repository }}
{{- end }}

{{- define "opennebula.imagePullSecrets" -}}
{{- with concat .Values.global.imagePullSecrets .Values.imagePullSecrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* OpenNebula's version as the image's tag tells it, without the image's revision; that of the chart when the tag is no version. */}}
{{- define "opennebula.version" -}}
{{- $pattern := "[0-9]+\\.[0-9]+(\\.[0-9]+)?" }}
{{- if regexMatch (printf "^v?%s" $pattern) .Values.image.tag }}
{{- regexFind $pattern .Values.image.tag }}
{{- else }}
{{- regexFind $pattern .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "opennebula.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "opennebula.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* What hypervisors know the front-end by; the pod's own name is put in by Kubernetes. */}}
{{- define "opennebula.hostname" -}}
{{- .Values.hostname | default (printf "$(POD_NAME).%s.%s.svc.%s" (include "opennebula.headless" .) .Release.Namespace .Values.clusterDomain) }}
{{- end }}

{{/* How a pod finds hypervisors, database servers and object storage by their names. */}}
{{- define "opennebula.podNames" -}}
{{- $fields := dict }}
{{- range $field := list "hostAliases" "dnsPolicy" "dnsConfig" }}
{{- with index $.Values $field }}
{{- $_ := set $fields $field . }}
{{- end }}
{{- end }}
{{- with $fields }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{/* The ports that front-ends reach each other at: oned, with gRPC where OpenNebula has it, and the databases. */}}
{{- define "opennebula.peerPorts" -}}
{{- $endpoints := include "opennebula.endpoints" . | fromYaml }}
{{- range concat $endpoints.api (default list $endpoints.grpc) }}
- port: {{ .port }}
  protocol: {{ .protocol }}
{{- end }}
- port: 3306
  protocol: TCP
{{- end }}

{{/* What pods of this chart call whatever else they may: DNS, MariaDB of its chart, and other front-ends. */}}
{{- define "opennebula.ownEgress" -}}
- ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
{{- if include "opennebula.several" . }}
- to:
    - podSelector:
        matchLabels:
          {{- include "opennebula.selectorLabels" . | nindent 10 }}
  ports:
    {{- include "opennebula.peerPorts" . | nindent 4 }}
{{- else if .Values.mariadb.enabled }}
- to:
    - podSelector:
        matchLabels:
          {{- include "mariadb.selectorLabels" .Subcharts.mariadb | nindent 10 }}
  ports:
    - port: 3306
      protocol: TCP
{{- end }}
{{- end }}
