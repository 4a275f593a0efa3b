import type { ActiveAlert } from './instance.js';

/** While an alert called `when` fires, those called `silences` tell nothing. */
export interface Inhibition {
  when: string;
  /** A name, or `*` for all others. */
  silences: string;
  /** Only where both have the same value of these labels. */
  equal: readonly string[];
}

/** For a time that somebody chose, alerts that match tell nothing. */
export interface Silence {
  id: string;
  /** A name, or `*`. */
  alert: string;
  labels: Readonly<Record<string, string>>;
  fromMs: number;
  untilMs: number;
  comment: string;
}

/** A fabric that is not there says nothing about its agents. */
export const fabricDown = 'fabric_down';
export const shippedInhibitions: readonly Inhibition[] = [
  { when: fabricDown, silences: '*', equal: ['fabric'] },
];

/** @returns what mutes the alert, in words; undefined where it may be told */
export function muterOf(
  alert: Pick<ActiveAlert, 'alert' | 'labels'>,
  firing: readonly ActiveAlert[],
  inhibitions: readonly Inhibition[],
  silences: readonly Silence[],
  nowMs: number,
): string | undefined {
  for (const { when, silences: target, equal } of inhibitions) {
    if (alert.alert === when || (target !== '*' && target !== alert.alert)) continue;
    const source = firing.find(
      (other) =>
        other.alert === when &&
        other.mutedBy === undefined &&
        equal.every((label) => other.labels[label] === alert.labels[label]),
    );
    if (source !== undefined) return `alert ${source.alert}`;
  }
  const silence = silences.find(
    ({ alert: name, labels, fromMs, untilMs }) =>
      (name === '*' || name === alert.alert) &&
      fromMs <= nowMs &&
      nowMs < untilMs &&
      Object.entries(labels).every(([label, value]) => alert.labels[label] === value),
  );
  return silence === undefined ? undefined : `silence ${silence.id}`;
}
