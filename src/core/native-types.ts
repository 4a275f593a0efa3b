// What the addon takes and gives, as native/binding makes it.

/** Capacities of a new fabric; native/core/fabric_files.h has the defaults. */
export interface NativeFabricOptions {
  maxAgents?: number;
  maxParticipants?: number;
  mailboxCells?: number;
  mailSegmentBytes?: number;
  slabSegmentBytes?: number;
  slabMaxBytes?: number;
  senderSlabBytes?: number;
  histograms?: number;
  maxTopics?: number;
  topicCells?: number;
  topicSubscribers?: number;
  /** Deliveries before a message is a dead letter; 0: no limit. */
  attemptLimit?: number;
}

export interface NativeAgentRecord {
  name: string;
  role: string;
  team: string;
  parent: string;
  entry: number;
  pid: number;
  /** When that process was started, in clock ticks since boot; 0 where nobody takes part. */
  startTicks: number;
  state: number;
  incarnation: number;
  restarts: number;
  joinedAtMs: number;
  lastProgressAtMs: number;
  held: boolean;
  alive: boolean;
  /** Its mailbox is closed to those outside. */
  gated: boolean;
  /** Somebody asked for its end, in this life. */
  stopWanted: boolean;
  /** The kernel says that it, or its command, is stopped. */
  stalled: boolean;
  /** An event loop of it does not turn. */
  busy: boolean;
  /** AgentFact bits. */
  facts: number;
  /** Of the command that its shim started; -1: none (yet). */
  exitCode: number;
  /** 0: nobody started one for it. */
  commandPid: number;
  statusText: string;
  depth: number;
  capacity: number;
  leased: number;
  waiting: number;
}

/** Every cell, chunk, slot and name of a fabric, counted. */
export interface Census {
  acked: number;
  queued: number;
  ready: number;
  leased: number;
  held: number;
  claimed: number;
  quarantined: number;
  done: number;
  aborted: number;
  dropped: number;
  /** Since the fabric was made, whatever became of their letters. */
  deadLettered: number;
  /** Dead letters that are kept now; in none of the other counts. */
  deadLetters: number;
  mailboxesOwned: number;
  mailboxesClaimed: number;
  slotsLive: number;
  slotsReaping: number;
  namesLive: number;
  namesClaimed: number;
  topics: number;
  /** Of all topics, those set aside as too slow included. */
  subscribers: number;
  subscribersLagged: number;
  /** Just being made, or left by the dead. */
  subscribersClaimed: number;
  /** Cells of topics that a publisher has claimed and not yet filled. */
  topicClaims: number;
  chunksLoaned: number;
  chunksPlaced: number;
  chunksFree: number;
}

/** What a sweep for dead processes found and mended. */
export interface SweepReport {
  living: number;
  reaped: number;
  settledCells: number;
  freedChunks: number;
}

export interface NativeMetric {
  index: number;
  name: string;
  unit: string;
  kind: number;
}

export interface NativeHistogramReading {
  count: number;
  sum: number;
  min: number;
  max: number;
  percentiles: number[];
}

export interface NativeFabricInfo {
  name: string;
  path: string;
  /** Of this fabric and no other, also not of one that is made under its name later. */
  id: string;
  createdAtMs: number;
  maxAgents: number;
  maxParticipants: number;
  mailboxCells: number;
  maxTopics: number;
  topicCells: number;
  topicSubscribers: number;
  slabMaxBytes: number;
  senderSlabBytes: number;
  attemptLimit: number;
  sharedBytes: number;
}

export interface NativeFabric {
  info(): NativeFabricInfo;
  watch(watching: boolean): void;
  snapshot(probe: boolean, name?: string): NativeAgentRecord[];
  control(name: string, verb: number, graceMs: number): number;
  forget(name: string): number;
  lastLines(name: string): Buffer | undefined;
  history(name: string): { atMs: number; from: number; to: number }[] | undefined;
  peek(name: string, most: number): NativePeeked[] | number;
  clear(name: string): number;
  trace(uid: number, number: number): NativeTrace | undefined;
  sends(name: string, most: number): (NativeTrace & { body: ArrayBuffer | undefined })[];
  deadLetters(most: number, name: string): NativeDeadLetter[];
  dropDead(uid: number, number: number): number;
  sweep(): SweepReport;
  check(): number;
  census(): Census;
  metrics(): NativeMetric[];
  readMetrics(entry: number, out: Float64Array): boolean;
  readHistogram(
    entry: number,
    metric: number,
    percentiles: readonly number[],
  ): NativeHistogramReading | undefined;
  table(probe: boolean, metrics: number, out: Float64Array, texts: Uint8Array): number;
  sample(metrics: number, out: Float64Array): number;
  sampleBoxes(out: Float64Array): number;
  sampleHistogram(place: number, out: Float64Array): NativeHistogramPlace | null | undefined;
  readTopic(
    name: string,
    position: number,
    aborted: number,
    most: number,
  ): NativeTopicRead | undefined;
  describe(entry: number): NativeAgentNames | undefined;
  registerMetric(name: string, unit: string, kind: number): number;
  watchPids(onEnded: (pids: number[]) => void): boolean;
  watchPid(pid: number): number;
  unwatchPid(pid: number): void;
  reparent(name: string, parent: string): number;
  gate(name: string, closed: boolean): number;
  close(): void;
}

/** Who stands at an entry of the directory. */
export interface NativeAgentNames {
  name: string;
  role: string;
  team: string;
  parent: string;
}

/** Whose histogram lies in a place; its buckets are in what was handed over. */
export interface NativeHistogramPlace {
  key: string;
  entry: number;
  metric: number;
  uid: number;
  sum: number;
  min: number;
  max: number;
}

/** Messages of a topic from a position on, read without subscribing. */
export interface NativeTopicRead {
  position: number;
  aborted: number;
  lost: number;
  from: string[];
  bodies: string[];
}

export interface NativeTrace {
  state: number;
  row: Float64Array;
  from: string;
  type: string;
  to: string;
  pid: number;
  /** Of a dead letter that is kept. */
  reason?: string;
}

export interface NativeDeadLetter {
  row: Float64Array;
  from: string;
  type: string;
  body: ArrayBuffer;
  to: string;
  reason: string;
  cause: number;
  diedAtMs: number;
}

/** What take() fills in; `texts` and `buffer` are replaced, never changed, but for new texts. */
export interface TakeHolder {
  table: Float64Array;
  texts: string[];
  buffer: ArrayBuffer;
}

export interface NativePeeked {
  row: Float64Array;
  from: string;
  type: string;
  body: ArrayBuffer;
  leased: boolean;
}

export interface NativeAgent {
  info(): {
    name: string;
    entry: number;
    incarnation: number;
    guest: boolean;
    uid: number;
    workCells: number;
    controlCells: number;
  };
  route(name: string): number;
  typeId(type: string): number;
  trySend(
    route: number,
    body: Uint8Array | string,
    options: number,
    type: number,
    correlationUid?: number,
    correlationNumber?: number,
    ttlMs?: number,
    key?: string,
  ): number;
  trySendBatch(
    route: number,
    bodies: readonly (Uint8Array | string)[],
    kinds: Uint8Array,
    options: number,
    type: number,
    numbers: Float64Array,
    ttlMs?: number,
  ): number;
  trySendPacked(
    route: number,
    bytes: Uint8Array,
    lengths: Uint32Array,
    kinds: Uint8Array,
    count: number,
    options: number,
    type: number,
    numbers: Float64Array,
    ttlMs?: number,
  ): number;
  batchLimit(route: number, work: boolean): number;
  awaitAnswers(awaits: boolean): number;
  rateWait(): number;
  pace(route: number, work: boolean): number;
  waitRoom(route: number, work: boolean, cells: number): void;
  stopWaitRoom(route: number, work: boolean): void;
  noteSendWait(waitedMs: number, refused: number): void;
  waitVerdict(number: number): void;
  verdict(number: number): number;
  readerLives(name: string): boolean;
  members(kind: number, name: string): string[];
  leastLoaded(kind: number, name: string, work: boolean, onlyIdle: boolean): string | number;
  expect(what: number): void;
  take(max: number, repliesOnly: boolean): number;
  wait(timeoutMs: number): number;
  ack(lease: number): number;
  ackMany(leases: Uint32Array, count: number): number;
  nack(lease: number, delayMs: number, reason: string): number;
  release(lease: number): number;
  redrive(uid: number, number: number): number;
  handOver(lease: number): number;
  forward(lease: number, route: number): number;
  forwarded(lease: number): number;
  settleHeld(uid: number, number: number, ack: boolean, delayMs: number, reason: string): number;
  depth(): number;
  clear(): number;
  setState(state: number): number;
  progress(): void;
  counterValues(): Float64Array | undefined;
  histogramWords(metric: number): Float64Array | number;
  topic(name: string): number;
  tryPublish(topic: number, body: Uint8Array | string, options: number, type: number): number;
  waitTopic(topic: number, room: boolean): void;
  stopWaitTopic(topic: number): void;
  subscribe(topic: string, lossy: boolean, patienceMs: number): number;
  unsubscribe(subscription: number): void;
  expectEvents(subscription: number, expected: boolean): void;
  waitEvents(subscription: number, timeoutMs: number): number;
  nextEvents(subscription: number, max: number): number;
  subscriptionInfo(
    subscription: number,
  ): { position: number; delivered: number; lost: number; lagged: number } | undefined;
  leave(): void;
}

export interface NativeAgentSpec {
  name: string;
  role: string;
  team: string;
  parent: string;
  mailboxCells: number;
  perSecond: number;
  burst: number;
  quotaMessages: number;
  quotaBytes: number;
  fence: boolean;
  counts: boolean;
  life: string;
}

/** What the addon exports. */
export interface Addon {
  NativeFabric: new (
    mode: 'open' | 'create' | 'openOrCreate',
    base: string,
    name: string,
    options: NativeFabricOptions,
    onReady: (failed: number) => void,
  ) => NativeFabric;
  NativeAgent: new (fabric: NativeFabric, spec: NativeAgentSpec, holder: TakeHolder) => NativeAgent;
  destroyFabric(base: string, name: string): void;
  memoryFor(
    options: NativeFabricOptions,
    cells: Uint32Array,
  ): { fabricBytes: number; mailboxBytes: number };
  defaultBase(): string;
  /** Of a negative pid: of everything below that process. */
  processUsage(pids: Float64Array, count: number, out: Float64Array): void;
  startPrograms(
    program: string,
    commands: readonly (readonly string[])[],
    environments: readonly (readonly string[] | number)[],
  ): { pids: number[]; readFd: number };
  reapPrograms(): number;
  constants: Readonly<{
    version: string;
    layoutMajor: number;
    layoutMinor: number;
    columns: number;
    mostTaken: number;
    maxNameBytes: number;
    maxBodyBytes: number;
    inlineBytes: number;
    maxLaneCells: number;
    hopShift: number;
    hopLimit: number;
    blockValues: number;
    predefinedMetrics: number;
    sampleColumns: number;
    tableColumns: number;
    tableTexts: number;
    tableTextBytes: number;
    boxColumns: number;
    histogramMinValue: number;
    histogramMaxValue: number;
    histogramSubBits: number;
    histogramFirstCode: number;
    histogramBuckets: number;
    histogramSumWord: number;
    histogramMinWord: number;
    histogramMaxWord: number;
    histogramBucketWord: number;
  }>;
  statuses: Readonly<Record<string, number>>;
}
