{{- define "mariadb.serviceaccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "mariadb.fullname" . }}
  labels:
    {{- include "mariadb.labels" . | nindent 4 }}
  {{- with include "mariadb.annotations" (list . dict) }}
  {{- . | nindent 2 }}
  {{- end }}
# Nothing in the pod talks to Kubernetes.
automountServiceAccountToken: false
{{- end }}
