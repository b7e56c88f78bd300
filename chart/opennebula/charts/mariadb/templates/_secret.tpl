{{- define "mariadb.secret" -}}
{{- if not .Values.auth.existingSecret }}
apiVersion: v1
kind: Secret
metadata:
  name: {{ include "mariadb.fullname" . }}
  labels:
    {{- include "mariadb.labels" . | nindent 4 }}
  {{- with include "mariadb.annotations" (list . (ternary (dict "helm.sh/resource-policy" "keep") dict .Values.auth.keepSecret)) }}
  {{- . | nindent 2 }}
  {{- end }}
type: Opaque
data:
  mariadb-password: {{ include "mariadb.password" (list . "mariadb-password" "mariadb.auth.password" .Values.auth.password) | quote }}
  mariadb-root-password: {{ include "mariadb.password" (list . "mariadb-root-password" "mariadb.auth.rootPassword" .Values.auth.rootPassword) | quote }}
{{- else if or .Values.auth.password .Values.auth.rootPassword }}
{{- fail (printf "mariadb.auth.existingSecret is %q, and mariadb.auth.password or mariadb.auth.rootPassword is set as well: remove the passwords, for the Secret has them" .Values.auth.existingSecret) }}
{{- end }}
{{- end }}
