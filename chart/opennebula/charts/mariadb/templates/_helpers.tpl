{{- define "mariadb.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "mariadb.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mariadb.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mariadb.headless" -}}
{{- printf "%s-headless" (include "mariadb.fullname" .) }}
{{- end }}

{{/* What the pod is selected by; it must never change. */}}
{{- define "mariadb.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mariadb.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mariadb.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "mariadb.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: database
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The annotations of a resource: takes the root context, and those of its own, which come first. */}}
{{- define "mariadb.annotations" -}}
{{- with merge (dict) (index . 1) (index . 0).Values.global.commonAnnotations -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mariadb.image" -}}
{{- $image := printf "%s/%s:%s" (.Values.global.imageRegistry | default .Values.image.registry) .Values.image.repository .Values.image.tag }}
{{- with .Values.image.digest }}
{{- $image = printf "%s@%s" $image . }}
{{- end }}
{{- $image }}
{{- end }}

{{- define "mariadb.imagePullSecrets" -}}
{{- $secrets := .Values.global.imagePullSecrets }}
{{- range .Values.image.pullSecrets }}
{{- $secrets = append $secrets (dict "name" .) }}
{{- end }}
{{- with $secrets | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mariadb.secretName" -}}
{{- .Values.auth.existingSecret | default (include "mariadb.fullname" .) }}
{{- end }}

{{/*
A password for the Secret, in base64: the one in the Secret that there is, the one given, or a new one. Takes the root context, the key in
the Secret, the value's name and the value. MariaDB takes passwords at its first start, so another one than in the Secret is refused.
*/}}
{{- define "mariadb.password" -}}
{{- $root := index . 0 }}
{{- $key := index . 1 }}
{{- $value := index . 2 }}
{{- $given := index . 3 }}
{{- $name := include "mariadb.fullname" $root }}
{{- $existing := dig "data" $key "" (lookup "v1" "Secret" $root.Release.Namespace $name) }}
{{- if and $existing $given (ne ($given | b64enc) $existing) }}
{{- fail (printf "%s is another password than the one under %s in Secret %s, and MariaDB takes passwords at its first start only: change it with ALTER USER in the database and under that key in the Secret first, or leave the value empty to keep what there is" $value $key $name) }}
{{- end }}
{{- $existing | default (($given | default (randAlphaNum 32)) | b64enc) }}
{{- end }}
