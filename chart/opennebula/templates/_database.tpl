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
host: {{ include "mariadb.fullname" .Subcharts.mariadb | quote }}
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
