{{/* The name of everything that this release has. */}}
{{- define "collegium.fullname" -}}
{{- if contains "collegium" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-collegium" .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selects the pods of this release. */}}
{{- define "collegium.selector" -}}
app.kubernetes.io/name: collegium
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "collegium.labels" -}}
{{ include "collegium.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "collegium.secretName" -}}
{{- .Values.existingSecret | default (include "collegium.fullname" .) -}}
{{- end -}}

{{- define "collegium.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* A setting as the program reads it. Helm keeps numbers as floats, which print as 5e+06. */}}
{{- define "collegium.setting" -}}
{{- if kindIs "slice" . -}}
{{ join "," . }}
{{- else if kindIs "map" . -}}
{{ toJson . }}
{{- else if or (kindIs "float64" .) (kindIs "int" .) (kindIs "int64" .) -}}
{{ int64 . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{/* What the containers of all pods have in common: image, settings, confinement, and a place for temporary files. */}}
{{- define "collegium.container" -}}
image: {{ include "collegium.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
envFrom:
  - configMapRef:
      name: {{ include "collegium.fullname" . }}
  - secretRef:
      name: {{ include "collegium.secretName" . }}
env:
  {{- /* Named one by one, so that no pod starts without them: the image would use SQLite and files, in a volume that ends with the pod. */}}
  {{- $given := list }}
  {{- range .Values.extraEnv }}
  {{- $given = append $given .name }}
  {{- end }}
  {{- range list "COLLEGIUM_DATABASE_URL" "COLLEGIUM_SECRET_KEY" "COLLEGIUM_MAIL_URL" }}
  {{- if not (has . $given) }}
  - name: {{ . }}
    valueFrom:
      secretKeyRef:
        name: {{ include "collegium.secretName" $ }}
        key: {{ . }}
  {{- end }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities:
    drop: [ALL]
  readOnlyRootFilesystem: true
volumeMounts:
  - name: temporary
    mountPath: /tmp
  - name: temporary
    mountPath: /data
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The specification of a pod around its containers. */}}
{{- define "collegium.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: temporary
    emptyDir:
      sizeLimit: 64Mi
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Annotations and labels of a pod. It is replaced when a setting changes: settings are read at start. */}}
{{- define "collegium.podMetadata" -}}
annotations:
  checksum/settings: {{ toJson .Values.settings | sha256sum }}
  checksum/secrets: {{ toJson .Values.secrets | sha256sum }}
  {{- with .Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
