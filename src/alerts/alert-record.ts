import type { ActiveAlert } from './instance.js';
import type { AlertGroup, Notification } from './notifier.js';
import type { Redactor } from './redact.js';
import { type Severity, severities } from './rule.js';

/** A line of an alerts file, with the fields of the file-based predecessor. */
export interface AlertRecord {
  /** ISO 8601, UTC, with milliseconds. */
  timestamp: string;
  /** The alert's name. */
  alert: string;
  message: string;
  severity: Severity;
  metadata: Record<string, unknown>;
}

/** An alert as sinks show it to others. */
export function shapeOfAlert(alert: ActiveAlert, redactor: Redactor): Record<string, unknown> {
  const at = (ms: number | undefined) => (ms === undefined ? undefined : isoTime(ms));
  return {
    labels: redactor.labels(alert.labels),
    value: alert.value,
    threshold: alert.threshold,
    message: redactor.text(alert.message),
    startsAt: at(alert.startsAtMs),
    endsAt: at(alert.endsAtMs),
    fingerprint: alert.fingerprint,
  };
}

export function recordOfGroup(
  group: AlertGroup,
  { id, atMs }: Pick<Notification, 'id' | 'atMs'>,
  redactor: Redactor,
): AlertRecord {
  return {
    timestamp: isoTime(atMs),
    alert: group.alert,
    message: redactor.text(group.message),
    severity: group.severity,
    metadata: {
      state: group.state,
      count: group.count,
      notification: id,
      instances: group.alerts.map((alert) => shapeOfAlert(alert, redactor)),
      ...(group.count > group.alerts.length ? { omitted: group.count - group.alerts.length } : {}),
    },
  };
}

/** What a command reads and a webhook is sent. */
export function documentOf(
  notification: Notification,
  redactor: Redactor,
): Record<string, unknown> {
  const { id, atMs, groups } = notification;
  return {
    v: 1,
    id,
    at: isoTime(atMs),
    alerts: groups.map((group) => recordOfGroup(group, notification, redactor)),
  };
}

/** @returns undefined where a value that came from elsewhere is no record */
export function toAlertRecord(value: unknown): AlertRecord | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const { timestamp, alert, message, severity, metadata } = value as Record<string, unknown>;
  if (typeof timestamp !== 'string' || Number.isNaN(Date.parse(timestamp))) return undefined;
  if (typeof alert !== 'string' || typeof message !== 'string') return undefined;
  return {
    timestamp,
    alert,
    message,
    severity: severities.find((one) => one === severity) ?? 'warning',
    metadata:
      typeof metadata === 'object' && metadata !== null
        ? (metadata as Record<string, unknown>)
        : {},
  };
}

export const isoTime = (ms: number): string => new Date(ms).toISOString();
