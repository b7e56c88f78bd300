{{/* The name of the CronJob, which may have 52 characters, and of what belongs to it. */}}
{{- define "opennebula.backupName" -}}
{{- printf "%s-backup" (include "opennebula.fullname" . | trunc 45 | trimSuffix "-") }}
{{- end }}

{{/* Another name than the control plane's, so that no Service selects the pods. */}}
{{- define "opennebula.backupLabels" -}}
app.kubernetes.io/name: {{ printf "%s-backup" (include "opennebula.name" . | trunc 56) }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Whether the chart makes the claim for the backups. */}}
{{- define "opennebula.backupClaimIsMade" -}}
{{- with .Values.backup.persistence }}
{{- if and .enabled (not .existingClaim) (or $.Values.backup.enabled $.Values.restore.enabled) }}true{{ end }}
{{- end }}
{{- end }}

{{/* Where backups are, as the image's settings have it. */}}
{{- define "opennebula.backupPlace" -}}
{{- if .Values.backup.persistence.enabled -}}
/backup
{{- else -}}
{{ printf "s3://%s/%s" .Values.backup.s3.bucket .Values.backup.s3.prefix | trimSuffix "/" }}
{{- end }}
{{- end }}

{{/* The settings of the image for object storage; nothing when backups are on a volume. */}}
{{- define "opennebula.backupStoreEnv" -}}
{{- if not .Values.backup.persistence.enabled -}}
- name: OPENNEBULA_S3_ENDPOINT
  value: {{ .Values.backup.s3.endpoint | quote }}
{{- with .Values.backup.s3.region }}
- name: OPENNEBULA_S3_REGION
  value: {{ . | quote }}
{{- end }}
- name: OPENNEBULA_S3_ACCESS_KEY_FILE
  value: /etc/opennebula/secrets/s3/access-key
- name: OPENNEBULA_S3_SECRET_KEY_FILE
  value: /etc/opennebula/secrets/s3/secret-key
{{- if .Values.backup.s3.existingSecretCaKey }}
- name: OPENNEBULA_S3_CA_FILE
  value: /etc/opennebula/secrets/s3/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* The volume with the backups, or with the keys of object storage. */}}
{{- define "opennebula.backupStoreVolume" -}}
{{- if .Values.backup.persistence.enabled -}}
- name: backup
  persistentVolumeClaim:
    claimName: {{ .Values.backup.persistence.existingClaim | default (include "opennebula.backupName" .) }}
{{- else -}}
- name: backup
  secret:
    secretName: {{ .Values.backup.s3.existingSecret }}
    defaultMode: 0400
    items:
      - key: {{ .Values.backup.s3.existingSecretAccessKeyKey | quote }}
        path: access-key
      - key: {{ .Values.backup.s3.existingSecretSecretKeyKey | quote }}
        path: secret-key
      {{- with .Values.backup.s3.existingSecretCaKey }}
      - key: {{ . | quote }}
        path: ca.crt
      {{- end }}
{{- end }}
{{- end }}

{{/* Where the containers have that volume; whether they may write on it is theirs to say. */}}
{{- define "opennebula.backupStoreMount" -}}
- name: backup
  mountPath: {{ ternary "/backup" "/etc/opennebula/secrets/s3" .Values.backup.persistence.enabled }}
{{- end }}

{{/*
What the front-end has of the backups: all that a restore takes. A claim that the chart makes it has always: many storage classes make a
volume near the first pod that uses it, which has to be near this one, and `helm install --wait` waits for that.
*/}}
{{- define "opennebula.restoreEnv" -}}
{{- if .Values.restore.enabled -}}
- name: OPENNEBULA_RESTORE_FROM
  value: {{ printf "%s/%s" (include "opennebula.backupPlace" .) .Values.restore.from | trimSuffix "/" | quote }}
{{- with include "opennebula.backupStoreEnv" . }}
{{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "opennebula.restoreMount" -}}
{{- if or .Values.restore.enabled (include "opennebula.backupClaimIsMade" .) }}
{{- include "opennebula.backupStoreMount" . }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "opennebula.restoreVolume" -}}
{{- if or .Values.restore.enabled (include "opennebula.backupClaimIsMade" .) }}
{{- include "opennebula.backupStoreVolume" . }}
{{- end }}
{{- end }}
