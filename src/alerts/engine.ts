import { type MetricRecord, timesOf } from '../metrics/record.js';
import {
  type ActiveAlert,
  alertStates,
  Instance,
  type Labels,
  type SavedInstance,
} from './instance.js';
import {
  fabricDown,
  type Inhibition,
  muterOf,
  type Silence,
  shippedInhibitions,
} from './muting.js';
import {
  type Notification,
  Notifier,
  type NotifierOptions,
  type NotifierState,
} from './notifier.js';
import { type AlertRule, defaultCooldownMs, holds, messageOf } from './rule.js';

export interface AlertEngineOptions {
  rules: readonly AlertRule[];
  inhibitions?: readonly Inhibition[];
  /** Of every alert, such as `{ fabric: 'first' }`. */
  labels?: Labels;
  notifier?: NotifierOptions;
  /** Begins the ids of notifications. Default: the time of the first evaluation. */
  idPrefix?: string;
  /** How many instances there may be. Default 100,000. */
  maxInstances?: number;
}

/** What outlives the process. */
export interface AlertEngineState {
  v: 1;
  instances: SavedInstance[];
  notifier: NotifierState;
}

export interface Evaluation {
  /** Instances whose state changed. */
  changed: ActiveAlert[];
  /** What is to be told now, if anything. */
  notification: Notification | undefined;
}

/** How long an alert that resolved is shown, and remembered for what it was. */
const showResolvedMs = 900_000;

const downRule: AlertRule = {
  name: fabricDown,
  metric: '',
  statistic: 'last',
  comparison: '==',
  threshold: 0,
  windowMs: 1,
  forMs: 0,
  keepFiringForMs: 0,
  cooldownMs: defaultCooldownMs,
  settleMs: 0,
  severity: 'critical',
  labels: {},
  where: {},
  by: [],
  message: 'the fabric cannot be read',
};

/**
 * Rules, records and a clock in; states and notifications out. It reads no clock, no file and no
 * network.
 *
 * ```ts
 * const engine = new AlertEngine({ rules: defaultRules() });
 * engine.observe(records, Date.now());
 * const { changed, notification } = engine.evaluate(Date.now());
 * ```
 */
export class AlertEngine {
  readonly #rules: readonly AlertRule[];
  readonly #rulesByMetric = new Map<string, AlertRule[]>();
  readonly #inhibitions: readonly Inhibition[];
  readonly #labels: Labels;
  readonly #options: AlertEngineOptions;
  readonly #maxInstances: number;
  readonly #instances = new Map<string, Instance>();
  readonly #cooldowns: ReadonlyMap<string, number>;
  #notifier: Notifier | undefined;
  #pendingNotifierState: NotifierState | undefined;
  #silences: readonly Silence[] = [];
  #lastMs = -Infinity;
  #sourceDown: string | undefined;
  /** Records that would have been one instance too many. */
  overflowed = 0;

  constructor(options: AlertEngineOptions) {
    this.#options = options;
    this.#rules = options.rules;
    this.#inhibitions = [...shippedInhibitions, ...(options.inhibitions ?? [])];
    this.#labels = options.labels ?? {};
    this.#maxInstances = options.maxInstances ?? 100_000;
    this.#cooldowns = new Map(options.rules.map(({ name, cooldownMs }) => [name, cooldownMs]));
    for (const rule of options.rules) {
      const rules = this.#rulesByMetric.get(rule.metric);
      if (rules === undefined) this.#rulesByMetric.set(rule.metric, [rule]);
      else rules.push(rule);
    }
  }

  get rules(): readonly AlertRule[] {
    return this.#rules;
  }

  set silences(silences: readonly Silence[]) {
    this.#silences = silences;
  }

  /** Takes records in; those that no rule looks at cost a look into a table. */
  observe(records: Iterable<MetricRecord>, nowMs: number): void {
    for (const record of records) {
      const rules = this.#rulesByMetric.get(record.metric);
      if (rules === undefined) continue;
      const stampedMs = Date.parse(record.timestamp);
      if (Number.isNaN(stampedMs)) continue;
      const atMs = Math.min(stampedMs, nowMs);
      for (const rule of rules) {
        if (atMs < nowMs - rule.windowMs || !matches(rule.where, record.tags)) continue;
        const instance = this.#instanceFor(rule, record.tags);
        if (instance === undefined) continue;
        instance.seenAtMs = nowMs;
        if (isGrowth(rule) && !settled(instance, record, atMs)) continue;
        instance.window.add(atMs, record.value, timesOf(record));
      }
    }
  }

  /** Says whether there is anything to observe; while there is not, other alerts stay as they are. */
  setSource(down: string | undefined): void {
    this.#sourceDown = down;
  }

  evaluate(nowMs: number): Evaluation {
    if (nowMs < this.#lastMs) for (const one of this.#instances.values()) one.clamp(nowMs);
    this.#lastMs = nowMs;
    const changed: Instance[] = [];
    this.#stepSource(nowMs, changed);
    if (this.#sourceDown === undefined) {
      for (const [key, instance] of this.#instances) {
        if (instance.rule.name === fabricDown) continue;
        if (this.#stepInstance(instance, nowMs)) changed.push(instance);
        if (this.#isForgettable(instance, nowMs)) this.#instances.delete(key);
      }
    }
    this.#mute(nowMs);
    return {
      changed: changed.map((instance) => instance.show()),
      notification: this.#notify(nowMs),
    };
  }

  /** Every instance that is pending, fires, or resolved a short while ago. */
  active(): ActiveAlert[] {
    return [...this.#instances.values()]
      .filter(({ state }) => state !== 'inactive')
      .map((instance) => instance.show());
  }

  save(nowMs: number): AlertEngineState {
    const instances = [...this.#instances.values()]
      .filter(({ state }) => state !== 'inactive')
      .map((instance) => instance.save());
    return { v: 1, instances, notifier: this.#theNotifier(nowMs).save(nowMs) };
  }

  /** Goes on where another process left off; alerts whose rule is gone are left behind. */
  restore(state: AlertEngineState, nowMs: number): void {
    for (const saved of state.instances) {
      if (!alertStates.includes(saved.state)) continue;
      const rule =
        saved.alert === fabricDown
          ? downRule
          : this.#rules.find(({ name }) => name === saved.alert);
      if (rule === undefined) continue;
      const instance = new Instance(rule, saved.labels);
      instance.restore(saved, nowMs);
      this.#instances.set(keyOf(rule, saved.labels), instance);
    }
    this.#pendingNotifierState = state.notifier;
  }

  #instanceFor(rule: AlertRule, tags: Labels): Instance | undefined {
    const labels: Record<string, string> = { ...this.#labels, ...rule.labels };
    for (const tag of rule.by) {
      const value = tags[tag];
      if (value !== undefined) labels[tag] = value;
    }
    const key = keyOf(rule, labels);
    const known = this.#instances.get(key);
    if (known !== undefined) return known;
    if (this.#instances.size >= this.#maxInstances) {
      this.overflowed += 1;
      return undefined;
    }
    const made = new Instance(rule, labels);
    this.#instances.set(key, made);
    return made;
  }

  #stepInstance(instance: Instance, nowMs: number): boolean {
    const { rule, window } = instance;
    window.advance(nowMs);
    const value = window.read(rule.statistic);
    if (value === undefined) {
      // After a restart the window fills again; until then nothing is known, so nothing changes.
      if (nowMs < instance.trustedFromMs) return false;
      return instance.step(false, nowMs);
    }
    // Before its window has filled again, one that fired is not taken back for want of samples.
    const is = holds(value, rule.comparison, rule.threshold);
    if (!is && nowMs < instance.trustedFromMs && isGrowth(rule)) return false;
    if (is) {
      instance.value = value;
      instance.message = messageOf(rule, value, instance.labels);
    } else if (instance.state === 'firing') {
      instance.value = value;
    }
    return instance.step(is, nowMs);
  }

  #stepSource(nowMs: number, changed: Instance[]): void {
    const key = keyOf(downRule, this.#labels);
    let instance = this.#instances.get(key);
    if (instance === undefined) {
      if (this.#sourceDown === undefined) return;
      instance = new Instance(downRule, this.#labels);
      this.#instances.set(key, instance);
    }
    instance.value = this.#sourceDown === undefined ? 1 : 0;
    if (this.#sourceDown !== undefined) {
      instance.message = `${downRule.message}: ${this.#sourceDown}`;
    }
    if (instance.step(this.#sourceDown !== undefined, nowMs)) changed.push(instance);
    if (this.#isForgettable(instance, nowMs)) this.#instances.delete(key);
  }

  #isForgettable(instance: Instance, nowMs: number): boolean {
    const { state, endsAtMs = 0, window, fingerprint, seenAtMs, rule } = instance;
    // A young process has no samples that count, and is remembered all the same.
    if (state === 'inactive') return window.empty && nowMs - seenAtMs > rule.windowMs;
    if (state !== 'resolved' || nowMs - endsAtMs < showResolvedMs) return false;
    return !this.#theNotifier(nowMs).owesResolution(fingerprint);
  }

  #mute(nowMs: number): void {
    const names = new Set(this.#inhibitions.map(({ when }) => when));
    const sources: ActiveAlert[] = [];
    for (const one of this.#instances.values()) {
      if (one.state === 'firing' && names.has(one.alert)) sources.push(one.show());
    }
    for (const instance of this.#instances.values()) {
      instance.mutedBy = undefined;
      if (instance.state !== 'firing' && instance.state !== 'resolved') continue;
      if (sources.length === 0 && this.#silences.length === 0) continue;
      const muter = muterOf(instance, sources, this.#inhibitions, this.#silences, nowMs);
      instance.mutedBy = muter;
    }
  }

  #notify(nowMs: number): Notification | undefined {
    const alerts = [...this.#instances.values()].filter(
      ({ state }) => state === 'firing' || state === 'resolved',
    );
    const cooldownOf = (name: string) => this.#cooldowns.get(name) ?? defaultCooldownMs;
    return this.#theNotifier(nowMs).next(alerts, cooldownOf, nowMs);
  }

  #theNotifier(nowMs: number): Notifier {
    if (this.#notifier === undefined) {
      const prefix = this.#options.idPrefix ?? nowMs.toString(36);
      this.#notifier = new Notifier(prefix, this.#options.notifier);
    }
    if (this.#pendingNotifierState !== undefined) {
      this.#notifier.restore(this.#pendingNotifierState);
      this.#pendingNotifierState = undefined;
    }
    return this.#notifier;
  }
}

const keyOf = (rule: AlertRule, labels: Labels) =>
  `${rule.name} ${JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)))}`;

const isGrowth = ({ statistic }: AlertRule) => statistic === 'growth' || statistic === 'increase';

function matches(where: Labels, tags: Labels): boolean {
  for (const key in where) if (tags[key] !== where[key]) return false;
  return true;
}

// A process that has another PID or another start is another life: it begins anew.
function settled(instance: Instance, record: MetricRecord, atMs: number): boolean {
  const { pid = '', started = '' } = record.tags;
  const life = `${pid} ${started}`;
  if (instance.life !== life) {
    if (instance.life !== undefined) instance.window.clear();
    instance.life = life;
    const startedMs = started === '' ? Number.NaN : Number(started);
    const fromMs = Number.isFinite(startedMs) ? Math.min(startedMs, atMs) : atMs;
    instance.settledAtMs = fromMs + instance.rule.settleMs;
    if (instance.window.empty && instance.state === 'firing') instance.trustedFromMs = -Infinity;
  }
  return atMs >= instance.settledAtMs;
}
