import { createHash } from 'node:crypto';
import type { AlertRule, Severity } from './rule.js';
import { SampleWindow } from './window.js';

export const alertStates = ['inactive', 'pending', 'firing', 'resolved'] as const;
export type AlertState = (typeof alertStates)[number];

export type Labels = Readonly<Record<string, string>>;

/** An alert about one thing, as it is now. Times are milliseconds since the epoch. */
export interface ActiveAlert {
  alert: string;
  state: AlertState;
  severity: Severity;
  labels: Labels;
  /** What was measured last; of one that resolved, when it did. */
  value: number;
  threshold: number;
  message: string;
  /** Since when the condition holds without a break. */
  activeAtMs: number;
  /** Since when it fires. */
  startsAtMs?: number;
  /** Since when it does so no more. */
  endsAtMs?: number;
  /** Why nothing is told of it: another alert that covers it, or a silence. */
  mutedBy?: string;
  /** The same for the same alert about the same thing, in every process. */
  fingerprint: string;
}

/** What of an instance outlives its process. */
export interface SavedInstance extends ActiveAlert {
  lastTrueAtMs: number;
  /** Of what process the samples were, and from when on they count. */
  life?: string;
  settledAtMs?: number;
}

export function fingerprintOf(alert: string, labels: Labels): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256')
    .update(JSON.stringify([alert, sorted]))
    .digest('hex')
    .slice(0, 16);
}

/** One rule's view of one thing: its samples, and the state that they put it in. */
export class Instance {
  readonly rule: AlertRule;
  readonly labels: Labels;
  readonly fingerprint: string;
  readonly window: SampleWindow;
  state: AlertState = 'inactive';
  value = Number.NaN;
  message = '';
  activeAtMs = 0;
  startsAtMs: number | undefined;
  endsAtMs: number | undefined;
  lastTrueAtMs = 0;
  mutedBy: string | undefined;
  /** The process that the samples are of, where the records tell. */
  life: string | undefined;
  /** When a record of it came last, by the clock of whoever evaluates. */
  seenAtMs = -Infinity;
  /** From when on samples count. */
  settledAtMs = -Infinity;
  /** What it goes back to when it is pending in vain after it had resolved. */
  #resolvedAtMs: number | undefined;
  /** Restored without samples: until then, having none means nothing. */
  trustedFromMs = -Infinity;

  constructor(rule: AlertRule, labels: Labels) {
    this.rule = rule;
    this.labels = labels;
    this.fingerprint = fingerprintOf(rule.name, labels);
    this.window = new SampleWindow(rule.windowMs, rule.statistic);
  }

  get alert(): string {
    return this.rule.name;
  }

  /** Steps to what the condition says now. @returns whether the state is another one */
  step(holds: boolean, nowMs: number): boolean {
    const before = this.state;
    if (holds) {
      this.lastTrueAtMs = nowMs;
      if (before === 'inactive' || before === 'resolved') {
        this.state = 'pending';
        this.activeAtMs = nowMs;
        this.#resolvedAtMs = this.endsAtMs;
        this.endsAtMs = undefined;
        this.startsAtMs = undefined;
      }
      if (this.state === 'pending' && nowMs - this.activeAtMs >= this.rule.forMs) {
        this.state = 'firing';
        this.startsAtMs = nowMs;
      }
    } else if (before === 'pending') {
      // That it resolved may still have to be told.
      this.state = this.#resolvedAtMs === undefined ? 'inactive' : 'resolved';
      this.endsAtMs = this.#resolvedAtMs;
    } else if (before === 'firing' && nowMs - this.lastTrueAtMs >= this.rule.keepFiringForMs) {
      this.state = 'resolved';
      this.endsAtMs = nowMs;
    }
    return this.state !== before;
  }

  /** A clock that was set back leaves nothing in the future. */
  clamp(nowMs: number): void {
    const earlier = (at: number | undefined) => (at === undefined ? at : Math.min(at, nowMs));
    this.activeAtMs = Math.min(this.activeAtMs, nowMs);
    this.lastTrueAtMs = Math.min(this.lastTrueAtMs, nowMs);
    this.startsAtMs = earlier(this.startsAtMs);
    this.endsAtMs = earlier(this.endsAtMs);
  }

  show(): ActiveAlert {
    const { fingerprint, rule, state, labels, value, message, activeAtMs } = this;
    return {
      alert: rule.name,
      state,
      severity: rule.severity,
      labels,
      value,
      threshold: rule.threshold,
      message,
      activeAtMs,
      ...(this.startsAtMs === undefined ? {} : { startsAtMs: this.startsAtMs }),
      ...(this.endsAtMs === undefined ? {} : { endsAtMs: this.endsAtMs }),
      ...(this.mutedBy === undefined ? {} : { mutedBy: this.mutedBy }),
      fingerprint,
    };
  }

  save(): SavedInstance {
    return {
      ...this.show(),
      lastTrueAtMs: this.lastTrueAtMs,
      ...(this.life === undefined ? {} : { life: this.life, settledAtMs: this.settledAtMs }),
    };
  }

  restore(saved: SavedInstance, nowMs: number): void {
    this.state = saved.state;
    this.value = saved.value;
    this.message = saved.message;
    this.activeAtMs = saved.activeAtMs;
    this.startsAtMs = saved.startsAtMs;
    this.endsAtMs = saved.endsAtMs;
    this.lastTrueAtMs = saved.lastTrueAtMs;
    this.life = saved.life;
    this.settledAtMs = saved.settledAtMs ?? -Infinity;
    this.trustedFromMs = nowMs + this.rule.windowMs;
    this.clamp(nowMs);
  }
}
