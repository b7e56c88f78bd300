{{- define "mariadb.statefulset" -}}
{{- $claim := and .Values.primary.persistence.enabled (not .Values.primary.persistence.existingClaim) }}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ include "mariadb.fullname" . }}
  labels:
    {{- include "mariadb.labels" . | nindent 4 }}
  {{- with include "mariadb.annotations" (list . dict) }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  # One server: more would need replication between them.
  replicas: 1
  serviceName: {{ include "mariadb.headless" . }}
  # A pod that never gets ready makes room for the one of the next upgrade; otherwise somebody would have to delete it.
  podManagementPolicy: Parallel
  selector:
    matchLabels:
      {{- include "mariadb.selectorLabels" . | nindent 6 }}
  updateStrategy:
    {{- toYaml .Values.primary.updateStrategy | nindent 4 }}
  {{- if $claim }}
  persistentVolumeClaimRetentionPolicy:
    {{- toYaml .Values.primary.persistentVolumeClaimRetentionPolicy | nindent 4 }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- include "mariadb.selectorLabels" . | nindent 8 }}
        app.kubernetes.io/component: database
        {{- with merge (dict) .Values.primary.podLabels .Values.global.commonLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      annotations:
        checksum/configuration: {{ .Values.primary.configuration | sha256sum }}
        {{- with .Values.primary.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "mariadb.fullname" . }}
      automountServiceAccountToken: false
      # MARIADB_..., which a Service of that name brings, are settings of the image.
      enableServiceLinks: false
      {{- with include "mariadb.imagePullSecrets" . }}
      {{- . | nindent 6 }}
      {{- end }}
      {{- with .Values.primary.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      terminationGracePeriodSeconds: {{ .Values.primary.terminationGracePeriodSeconds }}
      securityContext:
        {{- toYaml .Values.primary.podSecurityContext | nindent 8 }}
      containers:
        {{- include "mariadb.container" (dict "root" . "prefix" "" "securityContext" .Values.primary.containerSecurityContext) | nindent 8 }}
      {{- with .Values.primary.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.primary.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.primary.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.primary.topologySpreadConstraints }}
      topologySpreadConstraints:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumes:
        {{- include "mariadb.volumes" (dict "root" . "prefix" "" "mode" "0440") | nindent 8 }}
        {{- with .Values.primary.persistence }}
        {{- if not .enabled }}
        - name: data
          emptyDir: {}
        {{- else if .existingClaim }}
        - name: data
          persistentVolumeClaim:
            claimName: {{ .existingClaim }}
        {{- end }}
        {{- end }}
  {{- if $claim }}
  volumeClaimTemplates:
    {{- include "mariadb.claim" (dict "root" . "name" "data") | nindent 4 }}
  {{- end }}
{{- end }}
