import type { MetricKind } from '../core/counters.js';
import { catalog } from './catalog.js';
import { kindTag, type MetricRecord } from './record.js';

/** How a metric is called and counted in the world of Prometheus. */
export interface FamilySpec {
  /** Of the family; samples of a counter are `…_total`. */
  name: string;
  kind: MetricKind;
  help: string;
  /** `seconds`, `bytes`, `ratio`, or nothing: then it counts things. */
  unit: string;
  /** From the record's unit to the base unit. */
  scale: number;
}

// Prometheus wants base units, and the unit at the end of the name.
const baseUnits: Readonly<Record<string, { unit: string; scale: number }>> = {
  nanoseconds: { unit: 'seconds', scale: 1e-9 },
  microseconds: { unit: 'seconds', scale: 1e-6 },
  milliseconds: { unit: 'seconds', scale: 1e-3 },
  ms: { unit: 'seconds', scale: 1e-3 },
  seconds: { unit: 'seconds', scale: 1 },
  s: { unit: 'seconds', scale: 1 },
  bytes: { unit: 'bytes', scale: 1 },
  kilobytes: { unit: 'bytes', scale: 1e3 },
  megabytes: { unit: 'bytes', scale: 1e6 },
  mb: { unit: 'bytes', scale: 1e6 },
  percent: { unit: 'ratio', scale: 0.01 },
  ratio: { unit: 'ratio', scale: 1 },
};

// Words of our names that say a unit, or a thing that Prometheus says otherwise.
const redundant = /_(?:mb|ms|pct|percent|total|count|sum|bucket|info)$/;

/** The family of a record. The same name for the same metric, always. */
export function familyOf(record: MetricRecord): FamilySpec {
  const known = catalog.get(record.metric);
  const kind: MetricKind =
    known?.kind ?? (record.tags[kindTag] === 'counter' ? 'counter' : 'gauge');
  const base = baseUnits[known?.unit ?? record.unit];
  const unit = base?.unit ?? '';
  let stem = record.metric.replace(/[^A-Za-z0-9]+/g, '_').replace(redundant, '');
  // `bytes.sent` has its unit in front.
  if (unit !== '' && stem.startsWith(`${unit}_`)) stem = stem.slice(unit.length + 1);
  if (unit !== '' && !stem.endsWith(`_${unit}`)) stem = `${stem}_${unit}`;
  return {
    name: `cfc_${stem}`,
    kind,
    help: known?.help ?? `What programs of the fabric count as ${record.metric}.`,
    unit,
    scale: base?.scale ?? 1,
  };
}
