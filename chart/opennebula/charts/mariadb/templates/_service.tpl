{{- define "mariadb.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "mariadb.fullname" . }}
  labels:
    {{- include "mariadb.labels" . | nindent 4 }}
  {{- with include "mariadb.annotations" (list . dict) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  type: ClusterIP
  selector:
    {{- include "mariadb.selectorLabels" . | nindent 4 }}
  ports:
    - name: mysql
      port: 3306
      targetPort: mysql
      protocol: TCP
---
# It gives the pod its name.
apiVersion: v1
kind: Service
metadata:
  name: {{ include "mariadb.headless" . }}
  labels:
    {{- include "mariadb.labels" . | nindent 4 }}
  {{- with include "mariadb.annotations" (list . dict) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  type: ClusterIP
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    {{- include "mariadb.selectorLabels" . | nindent 4 }}
  ports:
    - name: mysql
      port: 3306
      targetPort: mysql
      protocol: TCP
{{- end }}
