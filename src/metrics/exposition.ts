import { type FamilySpec, familyOf } from './prometheus-names.js';
import { kindTag, type MetricRecord, timesOf, timesTag } from './record.js';

export type ExpositionFormat = 'text' | 'openmetrics';

export const contentTypes: Readonly<Record<ExpositionFormat, string>> = {
  text: 'text/plain; version=0.0.4; charset=utf-8',
  openmetrics: 'application/openmetrics-text; version=1.0.0; charset=utf-8',
};

export interface ExpositionOptions {
  /**
   * How many series a metric may have before the label `agent` goes, and after it those that are
   * left; what they said is added up. Default 2,000.
   */
  labelBudget?: number;
}

/** Of what a histogram is made, as a snapshot shows it. */
export interface HistogramValue {
  /** Upper bounds, in the base unit. */
  bounds: readonly number[];
  /** How many lie in each bucket, and behind the last bound. Not cumulative. */
  counts: readonly number[];
  sum: number;
  count: number;
}

export interface Family extends FamilySpec {
  series: { labels: Readonly<Record<string, string>>; value: number | HistogramValue }[];
}

const secondBounds = [
  ...[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5],
  ...[1, 2.5, 5, 10, 30, 60, 300, 1800],
];
const plainBounds = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5, 1e6];
const boundsOf = (unit: string) => (unit === 'seconds' ? secondBounds : plainBounds);

/** Tags that are no labels: they say how a record is to be read, or never come again. */
const unlabelled = new Set([timesTag, kindTag, 'pid', 'started']);
/** In the order in which they go when there are too many series. */
const detail = ['agent', 'team', 'parent', 'role'];
const visitors = 'cli';

/**
 * Adds records up to what Prometheus wants to see: counters and histograms since the fabric began,
 * gauges as they are now.
 *
 * A metric with more series than the budget loses labels, first `agent`, until it fits: counters and
 * histograms are added up, of gauges there is then the sum, the largest and their number, told apart
 * by the label `aggregate`. It stays so: a series that comes and goes helps nobody.
 */
export class Exposition {
  readonly #budget: number;
  readonly #metrics = new Map<string, FamilyState>();

  constructor({ labelBudget = 2000 }: ExpositionOptions = {}) {
    this.#budget = labelBudget;
  }

  /** Takes over one sample of the fabric; gauges that are not in it are gone. */
  add(records: Iterable<MetricRecord>): void {
    for (const state of this.#metrics.values()) state.begin();
    for (const record of records) {
      let state = this.#metrics.get(record.metric);
      if (state === undefined) {
        state = new FamilyState(familyOf(record), this.#budget);
        this.#metrics.set(record.metric, state);
      }
      state.add(record);
    }
  }

  /** Every family with what it says now, by name. */
  families(): Family[] {
    const byName = new Map<string, Family>();
    for (const state of this.#metrics.values()) {
      const family = state.show();
      // Two metrics may come to the same name: who was first keeps it.
      if (family.series.length > 0 && !byName.has(family.name)) byName.set(family.name, family);
    }
    return [...byName.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  text(format: ExpositionFormat = 'text'): string {
    return render(this.families(), format);
  }
}

type Series = {
  labels: Record<string, string>;
  value: number;
  most: number;
  many: number;
  histogram?: { counts: number[]; sum: number; count: number };
};

class FamilyState {
  readonly #spec: FamilySpec;
  readonly #budget: number;
  #dropped: string[] = [];
  #series = new Map<string, Series>();

  constructor(spec: FamilySpec, budget: number) {
    this.#spec = spec;
    this.#budget = budget;
  }

  begin(): void {
    if (this.#spec.kind === 'gauge') this.#series.clear();
  }

  add(record: MetricRecord): void {
    const value = record.value * this.#spec.scale;
    const series = this.#seriesFor(labelsOf(record.tags, this.#dropped));
    if (this.#spec.kind === 'histogram') {
      const bounds = boundsOf(this.#spec.unit);
      series.histogram ??= { counts: new Array(bounds.length + 1).fill(0), sum: 0, count: 0 };
      const at = bounds.findIndex((bound) => value <= bound);
      const times = timesOf(record);
      (series.histogram.counts[at < 0 ? bounds.length : at] as number) += times;
      series.histogram.sum += value * times;
      series.histogram.count += times;
    } else if (this.#spec.kind === 'gauge' && this.#dropped.length === 0) {
      // Of the same series, the last word counts.
      Object.assign(series, { value, most: value, many: 1 });
    } else {
      series.value += value;
      series.most = Math.max(series.most, value);
      series.many += 1;
    }
    if (this.#series.size > this.#budget) this.#coarsen();
  }

  show(): Family {
    const aggregated = this.#spec.kind === 'gauge' && this.#dropped.length > 0;
    const series = [...this.#series.values()].flatMap(
      ({ labels, value, most, many, histogram }): Family['series'] => {
        if (histogram !== undefined) {
          return [{ labels, value: { bounds: boundsOf(this.#spec.unit), ...histogram } }];
        }
        if (!aggregated) return [{ labels, value }];
        return [
          { labels: { ...labels, aggregate: 'sum' }, value },
          { labels: { ...labels, aggregate: 'max' }, value: most },
          { labels: { ...labels, aggregate: 'count' }, value: many },
        ];
      },
    );
    return { ...this.#spec, series };
  }

  #seriesFor(labels: Record<string, string>): Series {
    const key = keyOf(labels);
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { labels, value: 0, most: -Infinity, many: 0 };
      this.#series.set(key, series);
    }
    return series;
  }

  // The next label goes, and what differed only in it becomes one.
  #coarsen(): void {
    const before = this.#series;
    const left = new Set([...before.values()].flatMap(({ labels }) => Object.keys(labels)));
    const next =
      detail.find((label) => left.has(label)) ?? [...left].find((one) => one !== 'fabric');
    if (next === undefined) return;
    this.#dropped = [...this.#dropped, next];
    this.#series = new Map();
    for (const { labels, value, most, many, histogram } of before.values()) {
      const merged = this.#seriesFor(without(labels, next));
      merged.value += value;
      merged.most = Math.max(merged.most, most);
      merged.many += many;
      if (histogram === undefined) continue;
      merged.histogram ??= { counts: histogram.counts.map(() => 0), sum: 0, count: 0 };
      const { counts } = merged.histogram;
      histogram.counts.forEach((count, i) => {
        (counts[i] as number) += count;
      });
      merged.histogram.sum += histogram.sum;
      merged.histogram.count += histogram.count;
    }
    if (this.#series.size > this.#budget) this.#coarsen();
  }
}

function labelsOf(
  tags: Readonly<Record<string, string>>,
  dropped: readonly string[],
): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [tag, value] of Object.entries(tags)) {
    if (value === '' || unlabelled.has(tag) || dropped.includes(tag)) continue;
    const name = tag.replace(/[^A-Za-z0-9_]/g, '_').replace(/^(?=\d)/, '_');
    // Two underscores in front are Prometheus' own, `le` is a bucket's.
    labels[name.startsWith('__') || name === 'le' ? `tag_${name}` : name] = value;
  }
  // Everyone who types a command would else leave a series behind.
  if (labels.role === visitors && labels.agent !== undefined) labels.agent = visitors;
  return labels;
}

const without = (labels: Record<string, string>, name: string) =>
  Object.fromEntries(Object.entries(labels).filter(([label]) => label !== name));

const keyOf = (labels: Record<string, string>) =>
  Object.keys(labels)
    .sort()
    .map((name) => `${name}\u0000${labels[name]}`)
    .join('\u0001');

/** @internal exported for its test */
export function render(families: readonly Family[], format: ExpositionFormat): string {
  const open = format === 'openmetrics';
  const lines: string[] = [];
  for (const { name, kind, help, unit, series } of families) {
    const shown = kind === 'counter' && !open ? `${name}_total` : name;
    lines.push(`# HELP ${shown} ${escapeHelp(help, open)}`, `# TYPE ${shown} ${kind}`);
    if (open && unit !== '') lines.push(`# UNIT ${shown} ${unit}`);
    for (const { labels, value } of series) {
      if (typeof value === 'number') {
        const sample = kind === 'counter' ? `${name}_total` : name;
        lines.push(`${sample}${labelText(labels)} ${numberText(value)}`);
        continue;
      }
      let below = 0;
      value.counts.forEach((count, i) => {
        below += count;
        const le = i < value.bounds.length ? floatText(value.bounds[i] as number) : '+Inf';
        lines.push(`${name}_bucket${labelText({ ...labels, le })} ${below}`);
      });
      lines.push(`${name}_sum${labelText(labels)} ${numberText(value.sum)}`);
      lines.push(`${name}_count${labelText(labels)} ${value.count}`);
    }
  }
  if (open) lines.push('# EOF');
  return `${lines.join('\n')}\n`;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

const escapeLabel = (text: string) =>
  text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

function escapeHelp(text: string, open: boolean): string {
  const escaped = text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
  return open ? escaped.replaceAll('"', '\\"') : escaped;
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  // Sums of scaled values would else carry the dust of their rounding.
  return String(Number.isInteger(value) ? value : Number(value.toPrecision(15)));
}

// OpenMetrics writes bounds as floats, always.
const floatText = (value: number) => (Number.isInteger(value) ? value.toFixed(1) : String(value));
