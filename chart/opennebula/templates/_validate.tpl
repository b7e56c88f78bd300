{{/* Refuses values that contradict each other or what is installed, all of them at once. What is wrong by itself, the schema refuses. */}}
{{- define "opennebula.validate" -}}
{{- $wrong := list }}
{{- $wrong = concat $wrong (include "opennebula.validateHA" . | fromJsonArray) }}
{{- if and .Values.mariadb.enabled .Values.externalDatabase.host }}
{{- $wrong = append $wrong (printf "mariadb.enabled is true and externalDatabase.host is %q: OpenNebula has one database; set mariadb.enabled to false to use the external one, or leave externalDatabase.host empty" .Values.externalDatabase.host) }}
{{- end }}
{{- with .Values.externalDatabase }}
{{- if and .host (not .password) (not .existingSecret) }}
{{- $wrong = append $wrong (printf "externalDatabase.host is %q and there is no password: name a Secret with it in externalDatabase.existingSecret, or set externalDatabase.password" .host) }}
{{- end }}
{{- if and .password .existingSecret }}
{{- $wrong = append $wrong (printf "externalDatabase.password and externalDatabase.existingSecret (%q) are both set: remove one of them" .existingSecret) }}
{{- end }}
{{- end }}
{{- range $name, $password := dict "externalDatabase.password" .Values.externalDatabase.password "mariadb.auth.password" .Values.mariadb.auth.password }}
{{- if regexMatch "['\"\\\\[:cntrl:]]" $password }}
{{- $wrong = append $wrong (printf "%s has one of the characters ' \" \\ or a control character in it, which OpenNebula's tools cannot pass to the database: choose a password without them" $name) }}
{{- end }}
{{- end }}
{{- with .Values.auth }}
{{- if and .password .existingSecret }}
{{- $wrong = append $wrong (printf "auth.password and auth.existingSecret (%q) are both set: remove one of them" .existingSecret) }}
{{- end }}
{{- if regexMatch "[[:space:][:cntrl:]]" .password }}
{{- $wrong = append $wrong "auth.password has a blank or a control character in it, which OpenNebula forbids: choose another" }}
{{- end }}
{{- if gt (len .password) 256 }}
{{- $wrong = append $wrong (printf "auth.password has %d bytes, and OpenNebula takes 256: choose a shorter one" (len .password)) }}
{{- end }}
{{- if eq .password "opennebula" }}
{{- $wrong = append $wrong "auth.password is the one that is in all manuals: choose another, or leave it empty to have one made" }}
{{- end }}
{{- end }}
{{- with .Values.auth.ssh }}
{{- if and .existingSecret (or .privateKey .knownHosts) }}
{{- $wrong = append $wrong (printf "auth.ssh.existingSecret is %q, and auth.ssh.privateKey or auth.ssh.knownHosts is set as well: remove one or the other" .existingSecret) }}
{{- end }}
{{- if and .existingSecret (not .existingSecretPrivateKeyKey) (not .existingSecretKnownHostsKey) }}
{{- $wrong = append $wrong (printf "auth.ssh.existingSecret is %q, and both auth.ssh.existingSecretPrivateKeyKey and auth.ssh.existingSecretKnownHostsKey are empty: name what is to be read from it" .existingSecret) }}
{{- end }}
{{- end }}
{{- with .Values.configuration }}
{{- if gt (len (compact (list (ternary "values" "" (gt (len .values) 0)) .existingConfigMap .existingSecret))) 1 }}
{{- $wrong = append $wrong "more than one of configuration.values, configuration.existingConfigMap and configuration.existingSecret is set: OpenNebula's image reads one file; put all into one of them" }}
{{- end }}
{{- range $file, $entries := .values }}
{{- range $key, $value := $entries }}
{{- if contains "\n" (toString $value) }}
{{- $wrong = append $wrong (printf "configuration.values has a value of several lines for %s in %s: give it on one line" $key $file) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- range $label, $_ := .Values.global.commonLabels }}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|version|component|managed-by)|helm\\.sh/chart)$" $label }}
{{- $wrong = append $wrong (printf "global.commonLabels has %s, which the chart sets itself: remove it" $label) }}
{{- end }}
{{- end }}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) }}
{{- $wrong = append $wrong (printf "persistence.existingClaim is %q and persistence.enabled is false: set it to true, or remove the claim" .Values.persistence.existingClaim) }}
{{- end }}
{{- if and .Values.metrics.enabled (not .Values.extraContainers) }}
{{- $wrong = append $wrong "metrics.enabled is true and extraContainers is empty: the image has no exporter; add a container that is one, or set metrics.enabled to false" }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) }}
{{- $wrong = append $wrong "metrics.serviceMonitor.enabled is true and metrics.enabled is false: there is nothing to scrape; set both to the same" }}
{{- end }}
{{- $wrong = concat $wrong (include "opennebula.validateBackup" . | fromJsonArray) }}
{{- $installed := dig "spec" "serviceName" "" (lookup "apps/v1" "StatefulSet" .Release.Namespace (include "opennebula.fullname" .)) }}
{{- if and $installed (ne $installed (include "opennebula.headless" .)) }}
{{- $wrong = append $wrong (printf "StatefulSet %s was made by chart 0.1, and Kubernetes does not let it be changed into this one. Remove it with `kubectl -n %s delete statefulset %s --cascade=orphan`, which leaves its pod and its volume in place, and upgrade again, with mariadb.enabled=false: its database is SQLite, on the volume" (include "opennebula.fullname" .) .Release.Namespace (include "opennebula.fullname" .)) }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n- %s" (join "\n- " $wrong)) }}
{{- end }}
{{- end }}

{{/* What is wrong with several front-ends, as a list in JSON. */}}
{{- define "opennebula.validateHA" -}}
{{- $wrong := list }}
{{- $name := include "opennebula.fullname" . }}
{{- $installed := lookup "apps/v1" "StatefulSet" .Release.Namespace $name }}
{{- $hasSeveral := false }}
{{- range dig "spec" "template" "spec" "initContainers" list $installed }}
{{- $hasSeveral = or $hasSeveral (eq .name "mariadb") }}
{{- end }}
{{- if include "opennebula.several" . }}
{{- $replicas := int .Values.replicas }}
{{- range $value, $set := dict "persistence.existingClaim" .Values.persistence.existingClaim "mariadb.primary.persistence.existingClaim" .Values.mariadb.primary.persistence.existingClaim }}
{{- if $set }}
{{- $wrong = append $wrong (printf "replicas is %d and %s is %q: each front-end has a volume of its own; leave the claim empty" $replicas $value $set) }}
{{- end }}
{{- end }}
{{- range $value, $enabled := dict "persistence.enabled" .Values.persistence.enabled "mariadb.primary.persistence.enabled" .Values.mariadb.primary.persistence.enabled }}
{{- if not $enabled }}
{{- $wrong = append $wrong (printf "replicas is %d and %s is false: all would be lost whenever all front-ends are stopped, as for an upgrade; set it to true" $replicas $value) }}
{{- end }}
{{- end }}
{{- if eq .Values.persistence.retentionPolicy.whenScaled "Delete" }}
{{- $wrong = append $wrong (printf "replicas is %d and persistence.retentionPolicy.whenScaled is Delete: all would be lost when all front-ends are stopped by scaling, as for an upgrade; set it to Retain" $replicas) }}
{{- end }}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) }}
{{- $wrong = append $wrong (printf "replicas is %d, serviceAccount.create is false, and serviceAccount.name is empty: the front-ends' account may change their pods, which that of all pods should not; name one" $replicas) }}
{{- end }}
{{- if .Values.hostname }}
{{- $wrong = append $wrong (printf "replicas is %d and hostname is %q: each front-end has a name of its own; leave hostname empty" $replicas .Values.hostname) }}
{{- end }}
{{- if and .Values.auth.ssh.existingSecret (not .Values.auth.ssh.existingSecretPrivateKeyKey) }}
{{- $wrong = append $wrong (printf "replicas is %d and auth.ssh.existingSecretPrivateKeyKey is empty: all front-ends log in to hypervisors with the same key; put one into Secret %s and name it" $replicas .Values.auth.ssh.existingSecret) }}
{{- end }}
{{- with .Values.backup.persistence }}
{{- if and $.Values.restore.enabled .enabled (not .existingClaim) (not (has "ReadWriteMany" .accessModes)) }}
{{- $wrong = append $wrong (printf "replicas is %d, restore.enabled is true, and backup.persistence.accessModes is without ReadWriteMany: all front-ends mount that volume, on nodes of their own; set it to ReadWriteMany, or have the backups in object storage" $replicas) }}
{{- end }}
{{- end }}
{{- if and $installed (not $hasSeveral) }}
{{- $wrong = append $wrong (printf "replicas is %d, and StatefulSet %s was made with replicas 1, which Kubernetes does not let be changed into several front-ends: make a backup and restore it in a new release" $replicas $name) }}
{{- end }}
{{- else if $hasSeveral }}
{{- $wrong = append $wrong (printf "replicas is 1, and StatefulSet %s was made with several front-ends, whose databases the release would lose: leave replicas as it was, or make a backup and restore it in a new release" $name) }}
{{- end }}
{{- toJson $wrong }}
{{- end }}

{{/* What is wrong with backup and restore, as a list in JSON. */}}
{{- define "opennebula.validateBackup" -}}
{{- $wrong := list }}
{{- if or .Values.backup.enabled .Values.restore.enabled }}
{{- $asked := ternary "backup.enabled" "restore.enabled" .Values.backup.enabled }}
{{- with .Values.backup }}
{{- if and .persistence.enabled .s3.bucket }}
{{- $wrong = append $wrong (printf "backup.persistence.enabled is true and backup.s3.bucket is %q: backups are in one place; set backup.persistence.enabled to false, or leave backup.s3.bucket empty" .s3.bucket) }}
{{- else if .s3.bucket }}
{{- if not .s3.existingSecret }}
{{- $wrong = append $wrong (printf "backup.s3.bucket is %q and there are no keys: name a Secret with them in backup.s3.existingSecret" .s3.bucket) }}
{{- end }}
{{- else if not .persistence.enabled }}
{{- $wrong = append $wrong (printf "%s is true and there is no place for backups: set backup.persistence.enabled to true for a volume, or backup.s3.bucket for object storage" $asked) }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.backup.enabled }}
{{- if not .Values.persistence.enabled }}
{{- $wrong = append $wrong "backup.enabled is true and persistence.enabled is false: without a volume OpenNebula's keys are in its pod, where no backup reaches them; set persistence.enabled to true" }}
{{- else if and (not .Values.persistence.existingClaim) (has "ReadWriteOncePod" .Values.persistence.accessModes) }}
{{- $wrong = append $wrong "backup.enabled is true and persistence.accessModes has ReadWriteOncePod: the pod of a backup has to mount the volume as well; set persistence.accessModes to ReadWriteOnce" }}
{{- end }}
{{- end }}
{{- toJson $wrong }}
{{- end }}
