{{- define "evently-workers.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "evently-workers.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "evently-workers.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "evently-workers.pod" -}}
serviceAccountName: {{ .Release.Name }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "evently-workers.container" -}}
{{ include "evently-workers.image" . }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
envFrom:
  - configMapRef: {name: {{ .Release.Name }}}
{{- if and .Values.secret (not .Values.secretFiles) }}
  - secretRef: {name: {{ .Values.secret }}}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- if .Values.secretFiles }}
  - {name: secrets, mountPath: /run/secrets/evently-workers, readOnly: true}
{{- end }}
{{- if .Values.templates.configMap }}
  - {name: templates, mountPath: /etc/evently/mails, readOnly: true}
{{- end }}
{{- end }}

{{- define "evently-workers.secretFiles" -}}
{{- range .Values.secretFiles }}
- {name: {{ . }}_FILE, value: /run/secrets/evently-workers/{{ . }}}
{{- end }}
{{- end }}

{{- define "evently-workers.volumes" -}}
volumes:
  - {name: tmp, emptyDir: {medium: Memory, sizeLimit: 16Mi}}
{{- if .Values.secretFiles }}
  - name: secrets
    secret:
      secretName: {{ .Values.secret }}
      defaultMode: 0440
      items:
        {{- range .Values.secretFiles }}
        - {key: {{ . }}, path: {{ . }}}
        {{- end }}
{{- end }}
{{- if .Values.templates.configMap }}
  - name: templates
    configMap: {name: {{ .Values.templates.configMap | quote }}}
{{- end }}
{{- end }}
