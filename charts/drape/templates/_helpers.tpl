{{- define "drape.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 52 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "drape.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "drape.labels" -}}
{{ include "drape.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "drape.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Ports come from the one place that Drape reads them from. */ -}}
{{- define "drape.port" -}}{{ regexFind "[0-9]+$" .Values.config.listen.address }}{{- end -}}
{{- define "drape.adminPort" -}}{{ regexFind "[0-9]+$" .Values.config.admin.address }}{{- end -}}
{{- define "drape.adminScheme" -}}{{ if .Values.config.admin.plaintext }}HTTP{{ else }}HTTPS{{ end }}{{- end -}}

{{- /* drape.yaml: an empty list or mapping says no more than its absence. */ -}}
{{- define "drape.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if $config.listen.plaintext }}{{- $_ := unset $config.listen "tls" }}{{- end }}
{{- if $config.admin.tls }}{{- $_ := unset $config.admin "plaintext" }}{{- end }}
{{- if not $config.budgets }}{{- $_ := unset $config "budgets" }}{{- end }}
{{- if not $config.limits }}{{- $_ := unset $config "limits" }}{{- end }}
{{- toYaml $config }}
{{- end -}}

{{- /* What would start and be wrong is refused here. */ -}}
{{- define "drape.refuse" -}}
{{- if gt (int .Values.replicas) 1 -}}
{{- fail "replicas: more than one is refused: the audit log, the key table and the budget ledger have one writer each, on one volume" -}}
{{- end -}}
{{- if not .Values.config.tenants -}}
{{- fail "config.tenants: name at least one FHIR server; ci/gateway-values.yaml is a complete example" -}}
{{- end -}}
{{- if not .Values.config.audit.origin -}}
{{- fail "config.audit.origin: name the log, e.g. fhir.example.org/audit; the name stands in every checkpoint" -}}
{{- end -}}
{{- if not .Values.keys.existingSecret -}}
{{- fail "keys.existingSecret: name a Secret with the items root.key and log-signing.key; docs/operations.md tells how to make them" -}}
{{- end -}}
{{- if and (not .Values.config.listen.plaintext) (not .Values.tls.existingSecret) -}}
{{- fail "tls.existingSecret: name a Secret of type kubernetes.io/tls, or set config.listen.plaintext where TLS ends before Drape" -}}
{{- end -}}
{{- if and .Values.config.admin.tls (not .Values.tls.existingSecret) -}}
{{- fail "tls.existingSecret: config.admin.tls needs it too" -}}
{{- end -}}
{{- if and (not .Values.config.admin.tls) (not .Values.config.admin.plaintext) -}}
{{- fail "config.admin: give it tls, or say plaintext: true" -}}
{{- end -}}
{{- end -}}
