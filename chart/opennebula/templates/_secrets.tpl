{{/* Names of the Secrets that the container reads, with what in them is read. */}}
{{- define "opennebula.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "opennebula.fullname" .)) }}
{{- end }}

{{- define "opennebula.authSecretKey" -}}
{{- if .Values.auth.existingSecret }}
{{- .Values.auth.existingSecretPasswordKey }}
{{- else -}}
password
{{- end }}
{{- end }}

{{/* Empty when the image is to make the keys itself: several front-ends need the same. */}}
{{- define "opennebula.sshSecret" -}}
{{- if .Values.auth.ssh.existingSecret }}
{{- .Values.auth.ssh.existingSecret }}
{{- else if or .Values.auth.ssh.privateKey .Values.auth.ssh.knownHosts (include "opennebula.several" .) }}
{{- printf "%s-ssh" (include "opennebula.fullname" .) }}
{{- end }}
{{- end }}

{{/* The keys of the SSH Secret, by the names of the files that they become. */}}
{{- define "opennebula.sshSecretKeys" -}}
{{- with .Values.auth.ssh }}
{{- if .existingSecret }}
{{- with .existingSecretPrivateKeyKey }}
private-key: {{ . | quote }}
{{- end }}
{{- with .existingSecretKnownHostsKey }}
known-hosts: {{ . | quote }}
{{- end }}
{{- else }}
{{- if or .privateKey (include "opennebula.several" $) }}
private-key: ssh-privatekey
{{- end }}
{{- if .knownHosts }}
known-hosts: known_hosts
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/*
What a Secret that is there has under a key, in base64, so that upgrades keep it, or else a new value. Takes the root context, the name of
the Secret, the key, and the new value.
*/}}
{{- define "opennebula.kept" -}}
{{- dig "data" (index . 2) "" (lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1)) | default (index . 3) }}
{{- end }}

{{/*
Tells whether a secret that is given as a value has changed. Who can read the pod's annotations must not be able to try passwords
against it: derivePassword is slow by design.
*/}}
{{- define "opennebula.secretsChecksum" -}}
{{- $given := list .Values.auth.password .Values.auth.ssh.privateKey .Values.auth.ssh.knownHosts .Values.externalDatabase.password | toJson }}
{{- derivePassword 1 "maximum" $given .Release.Name .Release.Namespace | sha256sum }}
{{- end }}
