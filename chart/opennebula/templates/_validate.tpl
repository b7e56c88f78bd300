{{/* Refuses values that contradict each other or what is installed, all of them at once. What is wrong by itself, the schema refuses. */}}
{{- define "opennebula.validate" -}}
{{- $wrong := list }}
{{- if ne (int .Values.replicas) 1 }}
{{- $wrong = append $wrong (printf "replicas is %d: this chart runs one front-end; several need OpenNebula's high availability to be set up between them, which it does not do yet: set replicas to 1" (int .Values.replicas)) }}
{{- end }}
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
{{- $wrong = concat $wrong (include "opennebula.validateBackup" . | fromJsonArray) }}
{{- $installed := dig "spec" "serviceName" "" (lookup "apps/v1" "StatefulSet" .Release.Namespace (include "opennebula.fullname" .)) }}
{{- if and $installed (ne $installed (include "opennebula.headless" .)) }}
{{- $wrong = append $wrong (printf "StatefulSet %s was made by chart 0.1, and Kubernetes does not let it be changed into this one. Remove it with `kubectl -n %s delete statefulset %s --cascade=orphan`, which leaves its pod and its volume in place, and upgrade again, with mariadb.enabled=false: its database is SQLite, on the volume" (include "opennebula.fullname" .) .Release.Namespace (include "opennebula.fullname" .)) }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n- %s" (join "\n- " $wrong)) }}
{{- end }}
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
