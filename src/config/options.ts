import { closest } from '../errors/closest.js';

/** What an option is: docs/config.md has a row for each. */
export interface OptionSpec {
  /** The environment variable that sets it. */
  env: string;
  kind: 'text' | 'integer' | 'number' | 'flag';
  /** null: what `otherwise` says. */
  default: string | number | boolean | null;
  /** Of a default of null. */
  otherwise?: string;
  /** Of a number. */
  unit?: string;
  least?: number;
  most?: number;
  choices?: readonly string[];
  /** Of a text, with words for what it asks. */
  pattern?: { is: RegExp; words: string };
  /** What it decides. */
  doc: string;
  /** Who reads it. */
  reader: string;
  /** A path; in a file it begins at the folder of the file. */
  path?: true;
  /** Only the environment sets it: it is of one process, and of no directory. */
  envOnly?: true;
}

const name = {
  is: /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/,
  words: 'up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit',
};

/**
 * Every option of cfc: the one place where a name, a default and a limit of one stands.
 *
 * Quantities carry their unit in the name. Flags of the command line and arguments of functions go
 * before all of it; docs/config.md has the order.
 */
export const options = {
  dir: {
    env: 'CFC_DIR',
    kind: 'text',
    default: null,
    otherwise: '`/dev/shm/cfc-<uid>`',
    path: true,
    doc: 'the directory of fabrics',
    reader: 'everything that opens a fabric',
  },
  fabric: {
    env: 'CFC_FABRIC',
    kind: 'text',
    default: 'default',
    pattern: name,
    doc: 'the fabric, unless `--fabric` says it',
    reader: 'the verbs of `cfc` (`map` and `demo` have one of their own)',
  },
  agent: {
    env: 'CFC_AGENT',
    kind: 'text',
    default: null,
    otherwise: 'nobody: `cli-<pid>`',
    pattern: name,
    doc: 'the agent that a process is, unless `--agent` or `--from` says it',
    reader: 'the verbs of `cfc`, and whoever asks for rights',
    envOnly: true,
  },
  config: {
    env: 'CFC_CONFIG',
    kind: 'text',
    default: null,
    otherwise: 'the nearest `cfc.yaml`',
    doc: 'the file that is read instead of `cfc.yaml`; it must be there',
    reader: 'the verbs of `cfc`',
    envOnly: true,
  },
  debug: {
    env: 'CFC_DEBUG',
    kind: 'flag',
    default: false,
    doc: 'errors come with their stack',
    reader: 'the verbs of `cfc`',
  },
  noColor: {
    env: 'NO_COLOR',
    kind: 'flag',
    default: false,
    doc: 'no colours, no dim text',
    reader: 'the verbs of `cfc`',
  },
  profile: {
    env: 'CFC_PROFILE',
    kind: 'text',
    default: 'default',
    choices: ['small', 'default', 'large'],
    doc: 'how much room a new fabric has',
    reader: '`Fabric.open` with `create`, `cfc create`, `cfc topo`',
  },
  mailboxCells: {
    env: 'CFC_MAILBOX_CELLS',
    kind: 'integer',
    default: null,
    otherwise: "the profile's: 1,024 by default",
    unit: 'messages',
    least: 1,
    most: 65_536,
    doc: 'what a mailbox holds where neither its agent nor a topology says it',
    reader: '`Fabric.open` with `create`',
  },
  'send.pace': {
    env: 'CFC_SEND_PACE',
    kind: 'text',
    default: 'none',
    choices: ['none', 'adaptive'],
    doc: 'whether a send pauses 5 or 10 ms after a message to who is behind',
    reader: '`send`, `sendBatch`; `cfc send`',
  },
  'send.timeoutMs': {
    env: 'CFC_SEND_TIMEOUT_MS',
    kind: 'integer',
    default: 30_000,
    unit: 'ms',
    least: 0,
    most: 86_400_000,
    doc: 'how long a send waits for room, and for the ack where it wants one',
    reader: '`send`, `sendBatch`, `publish`, `reply`; `cfc send`, `cfc pub`',
  },
  'ask.timeoutMs': {
    env: 'CFC_ASK_TIMEOUT_MS',
    kind: 'integer',
    default: 5_000,
    unit: 'ms',
    least: 0,
    most: 86_400_000,
    doc: 'how long a question waits for its reply',
    reader: '`ask`, `gather`; `cfc ask`',
  },
  'wait.timeoutMs': {
    env: 'CFC_WAIT_TIMEOUT_MS',
    kind: 'integer',
    default: 30_000,
    unit: 'ms',
    least: 0,
    most: 86_400_000,
    doc: 'how long to wait for the state of an agent',
    reader: '`cfc wait`',
  },
  'map.workers': {
    env: 'CFC_MAP_WORKERS',
    kind: 'integer',
    default: null,
    otherwise: 'the CPUs',
    unit: 'processes',
    least: 1,
    most: 10_000,
    doc: 'how many workers run beside each other',
    reader: '`cfc map`',
  },
  'map.retries': {
    env: 'CFC_MAP_RETRIES',
    kind: 'integer',
    default: 3,
    unit: 'deaths',
    least: 0,
    most: 13,
    doc: 'how many deaths of its worker a task survives',
    reader: '`cfc map`',
  },
  'health.degradedDepth': {
    env: 'CFC_HEALTH_DEGRADED_DEPTH',
    kind: 'integer',
    default: 500,
    unit: 'messages',
    least: 0,
    most: 65_536,
    doc: 'an agent with more unacked messages than that is degraded',
    reader: '`fabric.snapshot()`; `cfc health`, `cfc ps`, `cfc status`',
  },
  'health.degradedPct': {
    env: 'CFC_HEALTH_DEGRADED_PCT',
    kind: 'number',
    default: 80,
    unit: '% of the mailbox',
    least: 0,
    most: 100,
    doc: 'the same as a share of its mailbox; whichever is less counts',
    reader: '`fabric.snapshot()`; `cfc health`, `cfc ps`, `cfc status`',
  },
  'health.staleMs': {
    env: 'CFC_HEALTH_STALE_MS',
    kind: 'integer',
    default: 30_000,
    unit: 'ms',
    least: 1,
    most: 86_400_000,
    doc: 'an agent whose messages wait while it does nothing for longer is degraded',
    reader: '`fabric.snapshot()`; `cfc health`, `cfc ps`, `cfc status`',
  },
  'checkpoint.dir': {
    env: 'CFC_CHECKPOINT_DIR',
    kind: 'text',
    default: null,
    otherwise: '`cfc/checkpoints` in `XDG_STATE_HOME`, else in `~/.local/state`',
    path: true,
    doc: 'where agents keep their checkpoints',
    reader: '`agent.checkpoint`, `agent.restore`',
  },
  'checkpoint.keep': {
    env: 'CFC_CHECKPOINT_KEEP',
    kind: 'integer',
    default: 5,
    unit: 'checkpoints',
    least: 1,
    most: 1000,
    doc: 'how many of each agent are kept',
    reader: '`agent.checkpoint`',
  },
  'metrics.count': {
    env: 'CFC_METRICS',
    kind: 'text',
    default: 'on',
    choices: ['on', 'off'],
    doc: 'whether agents count what they do',
    reader: '`fabric.join`',
  },
  'metrics.intervalMs': {
    env: 'CFC_METRICS_INTERVAL_MS',
    kind: 'integer',
    default: 5_000,
    unit: 'ms',
    least: 10,
    most: 86_400_000,
    doc: 'how often an exporter writes',
    reader: '`Exporter`, `cfc metrics export`',
  },
  'pool.size': {
    env: 'CFC_POOL_SIZE',
    kind: 'integer',
    default: 20,
    unit: 'agents',
    least: 1,
    most: 10_000,
    doc: 'how many agents a pool keeps waiting',
    reader: '`fabric.pool`',
  },
  'stop.graceMs': {
    env: 'CFC_STOP_GRACE_MS',
    kind: 'integer',
    default: 5_000,
    unit: 'ms',
    least: 0,
    most: 268_435_455,
    doc: 'how long an agent that is stopped has from SIGTERM to SIGKILL',
    reader:
      '`fabric.control`, `startAgents`, `Supervisor`; `cfc stop`, `cfc run`, `cfc up`, `cfc down`',
  },
  'supervisor.drainMs': {
    env: 'CFC_SUPERVISOR_DRAIN_MS',
    kind: 'integer',
    default: 30_000,
    unit: 'ms',
    least: 0,
    most: 86_400_000,
    doc: 'how long a fabric that is taken down has to empty its mailboxes and end',
    reader: '`Supervisor.down`, `cfc down`',
  },
  'metrics.rotateBytes': {
    env: 'CFC_METRICS_ROTATE_BYTES',
    kind: 'integer',
    default: 10_000_000,
    unit: 'bytes',
    least: 1_000,
    most: 1_000_000_000_000,
    doc: 'a file of metrics that has grown so large is put away',
    reader: '`Exporter`, `cfc metrics export`',
  },
  'metrics.keepFiles': {
    env: 'CFC_METRICS_KEEP_FILES',
    kind: 'integer',
    default: 5,
    unit: 'files',
    least: 0,
    most: 1_000,
    doc: 'how many files of metrics are kept beside the one that grows',
    reader: '`Exporter`, `cfc metrics export`',
  },
  'metrics.keepSeconds': {
    env: 'CFC_METRICS_KEEP_SECONDS',
    kind: 'integer',
    default: 172_800,
    unit: 's',
    least: 1,
    most: 315_360_000,
    doc: 'how long they are kept at most',
    reader: '`Exporter`, `cfc metrics export`',
  },
  'metrics.port': {
    env: 'CFC_METRICS_PORT',
    kind: 'integer',
    default: 9_464,
    least: 0,
    most: 65_535,
    doc: 'where metrics are served; 0 takes a free port',
    reader: '`MetricsServer`, `cfc metrics serve`',
  },
  'alerts.coordinationTimeMs': {
    env: 'ALERT_COORDINATION_TIME_MS',
    kind: 'number',
    default: 10_000,
    unit: 'ms',
    least: 0,
    doc: '`coordination_time_exceeded`: a coordination that takes longer',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.deliveryRatePct': {
    env: 'ALERT_DELIVERY_RATE_PCT',
    kind: 'number',
    default: 90,
    unit: '%',
    least: 0,
    doc: '`delivery_rate_low`: a smaller share that was delivered',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.memoryGrowthPct': {
    env: 'ALERT_MEMORY_GROWTH_PCT',
    kind: 'number',
    default: 10,
    unit: '%',
    least: 0,
    doc: '`memory_growth_high`: memory of an agent that grows by more',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.fdGrowth': {
    env: 'ALERT_FD_GROWTH',
    kind: 'number',
    default: 100,
    unit: 'descriptors',
    least: 0,
    doc: '`fd_growth_high`: an agent that opens more',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.errorRatePct': {
    env: 'ALERT_ERROR_RATE_PCT',
    kind: 'number',
    default: 5,
    unit: '%',
    least: 0,
    doc: '`error_rate_high`: a larger share of tasks that failed',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.queueDepth': {
    env: 'ALERT_QUEUE_DEPTH',
    kind: 'number',
    default: 1_000,
    unit: 'messages',
    least: 0,
    doc: '`queue_depth_high`: more messages that wait in the fabric',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.windowSeconds': {
    env: 'ALERT_WINDOW_SECONDS',
    kind: 'number',
    default: 300,
    unit: 's',
    least: 0.001,
    most: 2_592_000,
    doc: 'how far back a rule looks that does not say it',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.cooldownSeconds': {
    env: 'ALERT_COOLDOWN_SECONDS',
    kind: 'number',
    default: 300,
    unit: 's',
    least: 0,
    most: 2_592_000,
    doc: 'how long nothing is told again of an alert, where its rule does not say it',
    reader: 'the rules of alerts; `cfc alerts`',
  },
  'alerts.checkSeconds': {
    env: 'CHECK_INTERVAL',
    kind: 'number',
    default: 30,
    unit: 's',
    least: 0.05,
    most: 86_400,
    doc: 'how often the rules are looked at',
    reader: '`cfc alerts watch`',
  },
} as const satisfies Record<string, OptionSpec>;

export type OptionKey = keyof typeof options;

type Kinds = { text: string; integer: number; number: number; flag: boolean };
type ValueOf<Spec> = Spec extends { kind: infer Kind extends keyof Kinds; default: infer Default }
  ? Kinds[Kind] | (Default extends null ? null : never)
  : never;

export type Options = { [Key in OptionKey]: ValueOf<(typeof options)[Key]> };

export const optionKeys = Object.keys(options) as readonly OptionKey[];

export function specOf<Key extends OptionKey>(key: Key): (typeof options)[Key] {
  return options[key];
}

/** The option that a misspelt key or variable may mean. */
export function closestOption(text: string): OptionKey | undefined {
  const key = closest(text, optionKeys);
  if (key !== undefined) return key as OptionKey;
  const variable = closest(
    text,
    optionKeys.map((one) => options[one].env),
  );
  return optionKeys.find((one) => options[one].env === variable);
}

/** Variables beside the options: what cfc itself or its tests set. */
export const otherVariables: readonly string[] = [
  'CFC_LEASE',
  'CFC_FAIL_AT',
  'CFC_EVIDENCE',
  'CFC_COVERAGE',
  'CFC_FUZZ_RUNS',
];
