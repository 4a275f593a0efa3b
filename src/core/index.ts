/**
 * The core alone: shared regions, mailboxes and counters without agents and policy, for tools that
 * bring their own.
 */
export { CfcError, type CfcErrorCode, errorCodes } from '../errors.js';
export {
  type Counter,
  Counters,
  type Gauge,
  type Histogram,
  type MetricKind,
  metricKinds,
} from './counters.js';
export { Mailbox, type MailboxOptions } from './mailbox.js';
export {
  type BodyKind,
  type DeadLetter,
  formatMessageId,
  Message,
  type PeekedMessage,
  parseMessageId,
} from './message.js';
export type {
  Census,
  NativeAgentRecord as MailboxRecord,
  NativeFabricInfo as RegionInfo,
  NativeFabricOptions as RegionCapacity,
  NativeHistogramReading as HistogramReading,
  NativeMetric as MetricInfo,
  SweepReport,
} from './native.js';
export { agentPrograms, findNativeProgram } from './native-program.js';
export { Region, type RegionOptions } from './region.js';
export type { SendFacts } from './send-facts.js';
export { isFull } from './status.js';
export {
  type SubscribeFacts,
  type TopicEvent,
  type TopicGap,
  TopicMessage,
  type TopicPolicy,
  TopicReader,
  Topics,
} from './topics.js';
