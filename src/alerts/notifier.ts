import type { ActiveAlert } from './instance.js';
import { type Severity, severities } from './rule.js';

/** What a notification says of one alert name, in one state. */
export interface AlertGroup {
  alert: string;
  state: 'firing' | 'resolved';
  /** The worst of its instances. */
  severity: Severity;
  /** How many instances changed or are told again. */
  count: number;
  message: string;
  /** The first of them; `count` says how many there are. */
  alerts: ActiveAlert[];
}

/** What a sink is told at once: every group that has news. */
export interface Notification {
  /** The same at every try of delivering it. */
  id: string;
  atMs: number;
  groups: AlertGroup[];
}

export interface NotifierOptions {
  /** How long nothing more is told of a group that was told of. Default 15 s. */
  groupIntervalMs?: number;
  /** How many notifications may go at once. Default 10. */
  burst?: number;
  /** How long until another one may. Default 2 s. */
  refillMs?: number;
}

/** What was told, to whom it may concern after a restart. */
export interface NotifierState {
  told: Record<string, { firingAtMs: number; open: boolean }>;
  groups: Record<string, number>;
  tokens: number;
  tokensAtMs: number;
  sequence: number;
}

/** An alert that may have to be told of; spelt out only if it has. */
export interface Tellable extends Pick<ActiveAlert, 'alert' | 'state' | 'mutedBy' | 'fingerprint'> {
  show(): ActiveAlert;
}

/** The most instances that a notification spells out of one group. */
export const shownOfGroup = 20;
/** How long what was told of an instance that is gone is remembered beyond its cooldown. */
const forgetAfterMs = 86_400_000;

/**
 * Decides when what is told. At most one notification a call, with all groups that have news in it;
 * an instance is told of once a cooldown while it fires, and once when it resolves; what must wait,
 * for its group or because too many notifications went lately, is told by a later call. So a storm
 * makes few notifications, and no group is missing in them.
 *
 * Pure: time comes with the call.
 */
export class Notifier {
  readonly #groupIntervalMs: number;
  readonly #burst: number;
  readonly #refillMs: number;
  readonly #idPrefix: string;
  #state: NotifierState;

  /** @param idPrefix tells notifications of this process from those of others */
  constructor(idPrefix: string, options: NotifierOptions = {}) {
    this.#idPrefix = idPrefix;
    this.#groupIntervalMs = options.groupIntervalMs ?? 15_000;
    this.#burst = options.burst ?? 10;
    this.#refillMs = options.refillMs ?? 2000;
    this.#state = {
      told: {},
      groups: {},
      tokens: this.#burst,
      tokensAtMs: -Infinity,
      sequence: 0,
    };
  }

  /**
   * @param alerts every instance that fires or resolved
   * @param cooldownOf of an alert, by name
   */
  next(
    alerts: Iterable<Tellable>,
    cooldownOf: (alert: string) => number,
    nowMs: number,
  ): Notification | undefined {
    this.#refill(nowMs);
    const due = new Map<string, Tellable[]>();
    for (const alert of alerts) {
      if (alert.mutedBy !== undefined || !this.#isDue(alert, cooldownOf(alert.alert), nowMs)) {
        continue;
      }
      const key = `${alert.state} ${alert.alert}`;
      const group = due.get(key);
      if (group === undefined) due.set(key, [alert]);
      else group.push(alert);
    }
    for (const key of due.keys()) {
      const toldAtMs = this.#state.groups[key] ?? -Infinity;
      if (nowMs - toldAtMs < this.#groupIntervalMs) due.delete(key);
    }
    if (due.size === 0 || this.#state.tokens < 1) return undefined;
    this.#state.tokens -= 1;
    this.#state.sequence += 1;
    const groups = [...due].map(([key, members]) => {
      this.#state.groups[key] = nowMs;
      for (const member of members) this.#tell(member, nowMs);
      return groupOf(members.map((member) => member.show()));
    });
    groups.sort((a, b) => severities.indexOf(b.severity) - severities.indexOf(a.severity));
    return { id: `${this.#idPrefix}-${this.#state.sequence}`, atMs: nowMs, groups };
  }

  /** Whether somebody was told that it fires, and not yet that it resolved. */
  owesResolution(fingerprint: string): boolean {
    return this.#state.told[fingerprint]?.open === true;
  }

  save(nowMs: number): NotifierState {
    const { told, groups } = this.#state;
    for (const [key, { firingAtMs, open }] of Object.entries(told)) {
      if (!open && nowMs - firingAtMs > forgetAfterMs) delete told[key];
    }
    for (const [key, at] of Object.entries(groups)) {
      if (nowMs - at > forgetAfterMs) delete groups[key];
    }
    return this.#state;
  }

  restore(state: NotifierState): void {
    this.#state = state;
  }

  #isDue(alert: Tellable, cooldownMs: number, nowMs: number): boolean {
    const told = this.#state.told[alert.fingerprint];
    if (alert.state === 'resolved') return told?.open === true;
    if (told === undefined) return true;
    return nowMs - told.firingAtMs >= cooldownMs;
  }

  #tell(alert: Tellable, nowMs: number): void {
    const told = this.#state.told[alert.fingerprint];
    if (alert.state === 'firing') {
      this.#state.told[alert.fingerprint] = { firingAtMs: nowMs, open: true };
    } else if (told !== undefined) {
      told.open = false;
    }
  }

  // A clock that was set back would else keep everything quiet until it comes round again.
  #clamp(nowMs: number): void {
    const { told, groups } = this.#state;
    this.#state.tokensAtMs = nowMs;
    for (const one of Object.values(told)) one.firingAtMs = Math.min(one.firingAtMs, nowMs);
    for (const [key, at] of Object.entries(groups)) groups[key] = Math.min(at, nowMs);
  }

  #refill(nowMs: number): void {
    const { tokensAtMs } = this.#state;
    const passed = Math.floor((nowMs - tokensAtMs) / this.#refillMs);
    if (tokensAtMs === -Infinity) {
      this.#state.tokensAtMs = nowMs;
    } else if (nowMs < tokensAtMs) {
      this.#clamp(nowMs);
    } else if (passed > 0) {
      this.#state.tokens = Math.min(this.#burst, this.#state.tokens + passed);
      this.#state.tokensAtMs = tokensAtMs + passed * this.#refillMs;
    }
  }
}

function groupOf(members: readonly ActiveAlert[]): AlertGroup {
  const first = members[0] as ActiveAlert;
  const worst = members.reduce((most, { severity }) => {
    return severities.indexOf(severity) > severities.indexOf(most) ? severity : most;
  }, first.severity);
  const more = members.length - 1;
  const message = more === 0 ? first.message : `${first.message} (and ${more} more)`;
  return {
    alert: first.alert,
    state: first.state === 'resolved' ? 'resolved' : 'firing',
    severity: worst,
    count: members.length,
    message: first.state === 'resolved' ? `resolved: ${message}` : message,
    alerts: members.slice(0, shownOfGroup),
  };
}

/** Two notifications that wait for the same sink, as one: every group of both, the newest news of each. */
export function mergeNotifications(older: Notification, newer: Notification): Notification {
  const groups = new Map<string, AlertGroup>();
  for (const group of [...older.groups, ...newer.groups]) {
    const key = `${group.state} ${group.alert}`;
    const known = groups.get(key);
    if (known === undefined) {
      groups.set(key, group);
      continue;
    }
    const byPrint = new Map(
      [...known.alerts, ...group.alerts].map((one) => [one.fingerprint, one]),
    );
    groups.set(key, {
      ...group,
      count: Math.max(known.count, group.count, byPrint.size),
      alerts: [...byPrint.values()].slice(0, shownOfGroup),
    });
  }
  return { id: newer.id, atMs: newer.atMs, groups: [...groups.values()] };
}
