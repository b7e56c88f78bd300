{{- define "mariadb.configmap" -}}
{{- if .Values.primary.configuration }}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "mariadb.fullname" . }}
  labels:
    {{- include "mariadb.labels" . | nindent 4 }}
  {{- with include "mariadb.annotations" (list . dict) }}
  {{- . | nindent 2 }}
  {{- end }}
data:
  custom.cnf: |
    {{- .Values.primary.configuration | nindent 4 }}
{{- end }}
{{- end }}
