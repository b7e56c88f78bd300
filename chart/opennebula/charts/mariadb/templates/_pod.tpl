{{/*
The server's container, as an item of a list. Takes the root context, what the names of its volumes begin with, its security context, and
whether it is a sidecar.
*/}}
{{- define "mariadb.container" -}}
{{- $root := .root -}}
- name: mariadb
  terminationMessagePolicy: FallbackToLogsOnError
  image: {{ include "mariadb.image" $root | quote }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  {{- if .sidecar }}
  restartPolicy: Always
  {{- end }}
  args:
    - --character-set-server=utf8mb4
    - --collation-server=utf8mb4_general_ci
    - --transaction-isolation=READ-COMMITTED
    # A volume of its own may have this directory.
    - --ignore-db-dirs=lost+found
  env:
    - name: MARIADB_DATABASE
      value: {{ $root.Values.auth.database | quote }}
    - name: MARIADB_USER
      value: {{ $root.Values.auth.username | quote }}
    - name: MARIADB_PASSWORD_FILE
      value: /run/secrets/mariadb/mariadb-password
    - name: MARIADB_ROOT_PASSWORD_FILE
      value: /run/secrets/mariadb/mariadb-root-password
    - name: MARIADB_ROOT_HOST
      value: localhost
    # Another release of MariaDB brings the system tables up to date when it starts.
    - name: MARIADB_AUTO_UPGRADE
      value: "1"
    {{- with $root.Values.primary.extraEnvVars }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    - name: mysql
      containerPort: 3306
      protocol: TCP
  {{- with $root.Values.primary.startupProbe }}
  startupProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.primary.livenessProbe }}
  livenessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $root.Values.primary.readinessProbe }}
  readinessProbe:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .securityContext | nindent 4 }}
  {{- with $root.Values.primary.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: {{ .prefix }}data
      mountPath: /var/lib/mysql
      {{- if .sidecar }}
      # Its own directory in the volume can be given to it.
      subPath: mysql
      {{- end }}
    - name: {{ .prefix }}run
      mountPath: /run/mysqld
    - name: {{ .prefix }}tmp
      mountPath: /tmp
    - name: {{ .prefix }}secrets
      mountPath: /run/secrets/mariadb
      readOnly: true
    {{- if $root.Values.primary.configuration }}
    - name: {{ .prefix }}configuration
      mountPath: /etc/mysql/conf.d
      readOnly: true
    {{- end }}
{{- end }}

{{/* The server's volumes besides that with the data. Takes the root context, what their names begin with, and the mode of the passwords. */}}
{{- define "mariadb.volumes" -}}
{{- $root := .root -}}
- name: {{ .prefix }}run
  emptyDir: {}
- name: {{ .prefix }}tmp
  emptyDir: {}
- name: {{ .prefix }}secrets
  secret:
    secretName: {{ include "mariadb.secretName" $root }}
    defaultMode: {{ .mode }}
    items:
      - key: mariadb-password
        path: mariadb-password
      - key: mariadb-root-password
        path: mariadb-root-password
{{- if $root.Values.primary.configuration }}
- name: {{ .prefix }}configuration
  configMap:
    name: {{ include "mariadb.fullname" $root }}
{{- end }}
{{- end }}

{{/* The claim of the volume with the data, as an item of a list. Takes the root context and its name. */}}
{{- define "mariadb.claim" -}}
{{- $persistence := .root.Values.primary.persistence -}}
- metadata:
    name: {{ .name }}
    {{- with $persistence.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      {{- toYaml $persistence.accessModes | nindent 6 }}
    {{- if eq $persistence.storageClass "-" }}
    storageClassName: ""
    {{- else if $persistence.storageClass }}
    storageClassName: {{ $persistence.storageClass }}
    {{- end }}
    resources:
      requests:
        storage: {{ $persistence.size }}
{{- end }}
