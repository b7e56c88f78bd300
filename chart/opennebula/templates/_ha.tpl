{{/* Whether there are several front-ends. */}}
{{- define "opennebula.several" -}}
{{- if gt (int .Values.replicas) 1 }}true{{ end }}
{{- end }}

{{/* The label by which the leader's pod is known; the image keeps it. */}}
{{- define "opennebula.roleLabel" -}}
opennebula.io/role
{{- end }}

{{/* What the Services of the front-end lead to: of several the leader. */}}
{{- define "opennebula.serviceSelector" -}}
{{ include "opennebula.selectorLabels" . }}
{{- if include "opennebula.several" . }}
{{ include "opennebula.roleLabel" . }}: leader
{{- end }}
{{- end }}

{{/* The name by which a front-end, or its database, is reached from the others: takes the root context and its number. */}}
{{- define "opennebula.server" -}}
{{- $root := index . 0 }}
{{- printf "%s-%d.%s.%s.svc.%s" (include "opennebula.fullname" $root) (index . 1) (include "opennebula.headless" $root) $root.Release.Namespace $root.Values.clusterDomain }}
{{- end }}

{{/* The Secret with what all front-ends have in common. */}}
{{- define "opennebula.haSecret" -}}
{{- .Values.highAvailability.existingSecret | default (printf "%s-ha" (include "opennebula.fullname" .)) }}
{{- end }}

{{/* The settings of the image for several front-ends. */}}
{{- define "opennebula.haEnv" -}}
{{- $servers := list }}
{{- range $i := until (int .Values.replicas) }}
{{- $servers = append $servers (include "opennebula.server" (list $ $i)) }}
{{- end -}}
- name: OPENNEBULA_HA_SERVERS
  value: {{ join "," $servers }}
- name: OPENNEBULA_HA_DB_HOSTS
  value: {{ join "," $servers }}
- name: OPENNEBULA_HA_SELF
  valueFrom:
    fieldRef:
      fieldPath: metadata.labels['apps.kubernetes.io/pod-index']
- name: OPENNEBULA_HA_POD_LABEL
  value: {{ include "opennebula.roleLabel" . }}
- name: OPENNEBULA_HA_SERVERADMIN_PASSWORD_FILE
  value: /etc/opennebula/secrets/ha/serveradmin-password
- name: OPENNEBULA_HA_ONE_KEY_FILE
  value: /etc/opennebula/secrets/ha/one-key
- name: OPENNEBULA_HA_FIREEDGE_KEY_FILE
  value: /etc/opennebula/secrets/ha/fireedge-key
{{- end }}

{{/* The database server of each of several front-ends, as init containers: it is the user's that its image has from the start. */}}
{{- define "opennebula.haDatabase" -}}
{{- $mariadb := .Subcharts.mariadb }}
{{- $user := pick $mariadb.Values.primary.podSecurityContext "runAsUser" "runAsGroup" "runAsNonRoot" "seccompProfile" -}}
- name: database-directory
  terminationMessagePolicy: FallbackToLogsOnError
  image: {{ include "opennebula.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [install, --directory, {{ printf "--owner=%v" (int $user.runAsUser) }}, {{ printf "--group=%v" (int $user.runAsGroup) }}, --mode=0700, /volume/mysql]
  securityContext:
    # It gives the directory away; the volume cannot have a group (fsGroup), for the pod's other volume must not.
    runAsUser: 0
    runAsGroup: 0
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities:
      drop: [ALL]
      add: [CHOWN, DAC_OVERRIDE, FOWNER]
  resources:
    {{- toYaml .Values.database.waitResources | nindent 4 }}
  volumeMounts:
    - name: mariadb-data
      mountPath: /volume
{{ include "mariadb.container" (dict "root" $mariadb "prefix" "mariadb-" "sidecar" true "securityContext" (merge (dict) $mariadb.Values.primary.containerSecurityContext $user)) }}
{{- end }}
