/** Coordination fabric for command-line agents. */
export {
  type Agent,
  type AgentState,
  agentStates,
  type Pace,
  type ReceiveBatchOptions,
  type ReceiveOptions,
  type SubscribeOptions,
} from './agents/agent.js';
export type {
  CheckpointOptions,
  CheckpointReceipt,
  Restored,
  RestoreOptions,
  SkippedCheckpoint,
  StateSchema,
} from './agents/checkpoint.js';
export {
  type GatherOptions,
  type GatherResult,
  QuorumError,
} from './agents/gather.js';
export type { GroupAddress } from './agents/group-address.js';
export type { GroupReceipt, Refusal } from './agents/group-send.js';
export type { MessageBatch } from './agents/message-stream.js';
export type { Pool, PoolStatistics, PoolTemplate } from './agents/pool.js';
export { type PublishOptions, PublishReceipt } from './agents/publisher.js';
export type { RightVerb } from './agents/rights.js';
export { type BatchOptions, type Route, type SendOptions, SendReceipt } from './agents/send.js';
export {
  type AgentStart,
  readReport,
  type StartedAgent,
  type StartTarget,
  shimCommand,
  startAgents,
} from './agents/start.js';
export type { Subscription } from './agents/subscription.js';
export {
  eventsTopic,
  type SupervisionEvent,
  type SupervisionEventName,
  supervisionEvents,
} from './agents/supervisor/events.js';
export type { ShutdownReport } from './agents/supervisor/shutdown.js';
export type { Phase as SupervisedPhase } from './agents/supervisor/supervision.js';
export {
  type DownOptions,
  type SupervisedAgent,
  Supervisor,
  type SupervisorLimits,
  type SupervisorOptions,
  supervisorName,
} from './agents/supervisor/supervisor.js';
export {
  type AgentSnapshot,
  AgentTable,
  type Health,
  isLiving,
  type Liveness,
} from './agents/table.js';
export type { AlertRecord } from './alerts/alert-record.js';
export {
  AlertEngine,
  type AlertEngineOptions,
  type AlertEngineState,
  type Evaluation,
} from './alerts/engine.js';
export { FileSource } from './alerts/file-source.js';
export { readHeartbeat, type WatchStatus } from './alerts/heartbeat.js';
export {
  type AlertCount,
  type AlertFilter,
  type AlertSummary,
  readAlertHistory,
  summarizeAlerts,
} from './alerts/history.js';
export type { ActiveAlert, AlertState, Labels } from './alerts/instance.js';
export type { Inhibition, Silence } from './alerts/muting.js';
export type { AlertGroup, Notification, NotifierOptions } from './alerts/notifier.js';
export { Redactor, shownUrl } from './alerts/redact.js';
export {
  type AlertRule,
  type Comparison,
  defaultRules,
  type Severity,
  type Statistic,
  severities,
  timesFrom,
} from './alerts/rule.js';
export {
  type AlertRuleProblem,
  type AlertRules,
  loadAlertRules,
  parseAlertRules,
} from './alerts/rule-file.js';
export { readFiringAlerts } from './alerts/saved-state.js';
export { SilenceFiles } from './alerts/silences.js';
export { type AlertmanagerOptions, AlertmanagerSink } from './alerts/sinks/alertmanager.js';
export { CommandSink, type CommandSinkOptions } from './alerts/sinks/command.js';
export { RecordSink } from './alerts/sinks/lines.js';
export type { AlertSink, SinkStatus } from './alerts/sinks/sink.js';
export { type WebhookOptions, WebhookSink } from './alerts/sinks/webhook.js';
export { AlertFiles } from './alerts/state-directory.js';
export { AlertWatch, type AlertWatchOptions, type MetricSource } from './alerts/watch.js';
export {
  type Config,
  type ConfigProblem,
  closestOption,
  configJsonSchema,
  exportConfig,
  type LoadConfigOptions,
  loadConfig,
  type OptionKey,
  type OptionSource,
  type OptionSpec,
  type Options,
  option,
  optionKeys,
  specOf,
} from './config/index.js';
export type { Counter, Gauge, Histogram } from './core/counters.js';
export type { RateLimit, SendQuota } from './core/limits.js';
export {
  type BodyKind,
  type DeadLetter,
  type Message,
  type MessageTrace,
  type PeekedMessage,
  parseMessageId,
  type TracedMessage,
} from './core/message.js';
export type { Census, SweepReport } from './core/native.js';
export type { TopicEvent, TopicGap, TopicMessage, TopicPolicy } from './core/topics.js';
export { CfcError, type CfcErrorCode, describeError, errorCodes } from './errors.js';
export {
  Fabric,
  type FabricCapacity,
  type FabricProfile,
  type JoinOptions,
  type OpenOptions,
  type RedriveResult,
} from './fabric.js';
export {
  type AgentLimits,
  type AgentOptions,
  type AgentPlan,
  defaultEnv,
  defaultRestart,
  type ReadyWhen,
  type RestartPolicy,
  type RoleOptions,
  type TopologyProblem,
  type TopologyShape,
} from './topology/plan.js';
export type { Rights, RoleRights } from './topology/rights.js';
export type {
  FlatOptions,
  HierarchicalOptions,
  HybridOptions,
  MeshOptions,
  ShapeOptions,
} from './topology/shapes.js';
export { type Link, Topology, type TopologyCapacity } from './topology/topology.js';
