/** What a fabric measures: the records, and what they mean. */
export { catalog, type MetricSpec } from './catalog.js';
export { type MetricRecord, timesOf, toLine, toRecord } from './record.js';
