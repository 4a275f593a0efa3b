/**
 * What a fabric measures: samples of it, a file of them that grows, and what such files come to.
 */
export {
  type Analysis,
  type AnalyzeOptions,
  Analyzer,
  analyze,
  type MetricStatistics,
} from './analyze.js';
export type { Baseline, HistogramBaseline } from './baseline.js';
export { catalog, type MetricSpec, metricOfCounter } from './catalog.js';
export { type Exported, Exporter, type ExporterOptions } from './exporter.js';
export {
  contentTypes,
  Exposition,
  type ExpositionFormat,
  type ExpositionOptions,
  type Family,
  type HistogramValue,
} from './exposition.js';
export { type OtlpOptions, type OtlpPushOptions, otlpOf, pushOtlp } from './otlp.js';
export { type FamilySpec, familyOf } from './prometheus-names.js';
export {
  kindTag,
  type MetricRecord,
  timesOf,
  timesTag,
  toLine,
  toRecord,
} from './record.js';
export type { Sample, Sampler, SamplerOptions } from './sampler.js';
export { MetricsServer, type MetricsServerOptions, tokenFrom } from './serve.js';
export { Sketch } from './sketch.js';
export { eventsTopic, metricsTopic } from './topic-records.js';
