{{/* Where OpenNebula keeps its state: mariadb, external or sqlite. */}}
{{- define "opennebula.databaseKind" -}}
{{- if .Values.mariadb.enabled -}}
mariadb
{{- else if .Values.externalDatabase.host -}}
external
{{- else -}}
sqlite
{{- end }}
{{- end }}

{{/* How the database server is reached, by the names of the settings of the image; nothing for SQLite. */}}
{{- define "opennebula.database" -}}
{{- $kind := include "opennebula.databaseKind" . }}
{{- if eq $kind "mariadb" }}
{{- if include "opennebula.several" . }}
# In the same pod.
host: "127.0.0.1"
{{- else }}
host: {{ include "mariadb.fullname" .Subcharts.mariadb | quote }}
{{- end }}
port: 3306
user: {{ .Values.mariadb.auth.username | quote }}
name: {{ .Values.mariadb.auth.database | quote }}
secret: {{ include "mariadb.secretName" .Subcharts.mariadb | quote }}
key: mariadb-password
{{- else if eq $kind "external" }}
{{- with .Values.externalDatabase }}
host: {{ .host | quote }}
port: {{ .port }}
user: {{ .user | quote }}
name: {{ .database | quote }}
secret: {{ .existingSecret | default (printf "%s-database" (include "opennebula.fullname" $)) | quote }}
key: {{ ternary .existingSecretPasswordKey "password" (ne .existingSecret "") | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings of the image for the database; of several front-ends without its host, which is another for each. */}}
{{- define "opennebula.databaseEnv" -}}
{{- $database := include "opennebula.database" . | fromYaml }}
{{- if $database -}}
- name: OPENNEBULA_DB_BACKEND
  value: mysql
{{- if not (include "opennebula.several" .) }}
- name: OPENNEBULA_DB_HOST
  value: {{ $database.host | quote }}
{{- end }}
- name: OPENNEBULA_DB_PORT_NUMBER
  value: {{ $database.port | quote }}
- name: OPENNEBULA_DB_USER
  value: {{ $database.user | quote }}
- name: OPENNEBULA_DB_NAME
  value: {{ $database.name | quote }}
- name: OPENNEBULA_DB_PASSWORD_FILE
  value: /etc/opennebula/secrets/database/password
- name: OPENNEBULA_DB_CONNECTIONS
  value: {{ .Values.database.connections | quote }}
- name: OPENNEBULA_DB_WAIT
  value: {{ printf "%ds" (int .Values.database.waitSeconds) }}
{{- else -}}
- name: OPENNEBULA_DB_BACKEND
  value: sqlite
{{- end }}
{{- end }}

{{/* Where the file with the password of the database is; nothing for SQLite. */}}
{{- define "opennebula.databaseMount" -}}
{{- if include "opennebula.database" . -}}
- name: database
  mountPath: /etc/opennebula/secrets/database
  readOnly: true
{{- end }}
{{- end }}

{{- define "opennebula.databaseVolume" -}}
{{- with include "opennebula.database" . | fromYaml -}}
- name: database
  secret:
    secretName: {{ .secret }}
    defaultMode: 0400
    items:
      - key: {{ .key | quote }}
        path: password
{{- end }}
{{- end }}
