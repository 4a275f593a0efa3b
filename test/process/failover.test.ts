import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  type Agent,
  type Fabric,
  type SupervisionEvent,
  Supervisor,
  Topology,
} from '../../src/index.js';
import { root } from '../support/child.js';
import { processesOf } from '../support/cli.js';
import { failureOf, openFabric, sleep, testDirectory } from '../support/fabric.js';

const capacity = { maxAgents: 256, maxParticipants: 1024, mailboxCells: 64 };

/** Passes what it gets on to `sink`, not too fast, and only then acks. */
const passer = `
import { Fabric } from ${JSON.stringify(join(root, 'dist', 'index.js'))};
const fabric = await Fabric.open(process.env.CFC_FABRIC);
const me = await fabric.join(process.env.CFC_AGENT);
for await (const message of me.messages()) {
  await new Promise((resolve) => setTimeout(resolve, 1));
  if (message.expectsReply) await message.reply('from ' + me.name);
  else await me.send('sink', message.json());
  message.ack();
}
`;

interface Team {
  fabric: Fabric;
  supervisor: Supervisor;
  events: SupervisionEvent[];
  source: Agent;
  sink: Agent;
}

/** Seven coordinators that pass on what they get, each with two idle workers below it. */
async function openTeam(restart: string): Promise<Team> {
  const dir = testDirectory();
  const scripts = join(dir, 'scripts');
  mkdirSync(scripts);
  writeFileSync(join(scripts, 'passer.mjs'), passer);
  const fabric = await openFabric({ dir, capacity });
  const source = await fabric.join('source');
  const sink = await fabric.join('sink', { mailboxCells: 4096 });
  const topology = Topology.parse(`
topology: hybrid
coordinators: 7
workersPerCoordinator: 2
master: { command: [sleep, '1000'] }
coordinator:
  command: [${process.execPath}, ${join(scripts, 'passer.mjs')}]
  ready: join
  restart: ${restart}
  mailboxCells: 256
worker: { command: [sleep, '1000'] }
`);
  const events: SupervisionEvent[] = [];
  const supervisor = await Supervisor.start(fabric, topology, {
    graceMs: 1000,
    onEvent: (event) => events.push(event),
  });
  onTestFinished(async () => {
    if (!supervisor.closed) await supervisor.down({ timeoutMs: 1000, graceMs: 200 });
  });
  expect((await supervisor.whenReady()).notReady).toEqual([]);
  return { fabric, supervisor, events, source, sink };
}

const letters = ['A', 'B', 'C', 'D', 'E', 'F', 'G'];

/** Sends numbered messages to all coordinators until told to stop. @returns how many were accepted */
async function sendTo(source: Agent, stop: () => boolean, most: number): Promise<Set<number>> {
  const accepted = new Set<number>();
  for (let n = 0; n < most && !stop(); n += 1) {
    const to = `coord-${letters[n % letters.length]}`;
    await source.send(to, { n });
    accepted.add(n);
  }
  return accepted;
}

/** Reads the sink until everything of `wanted` came; calls `midway` once some has. */
async function collect(
  sink: Agent,
  wanted: () => Set<number> | undefined,
  midway: () => void,
): Promise<void> {
  const seen = new Set<number>();
  let told = false;
  for (;;) {
    const all = wanted();
    if (all !== undefined && [...all].every((n) => seen.has(n))) return;
    for (const message of await sink.receiveBatch({ max: 256, timeoutMs: 50 })) {
      seen.add(message.json<{ n: number }>().n);
      message.ack();
    }
    if (told || seen.size < 100) continue;
    told = true;
    midway();
  }
}

function killShim(fabric: Fabric, name: string): void {
  const { pid } = fabric.snapshot().find((agent) => agent.name === name) ?? { pid: 0 };
  process.kill(pid, 'SIGKILL');
}

function childrenOf(fabric: Fabric, parent: string): string[] {
  return fabric
    .snapshot()
    .filter((agent) => agent.parent === parent && agent.liveness === 'alive')
    .map(({ name }) => name)
    .sort();
}

async function settled(fabric: Fabric): Promise<void> {
  for (;;) {
    const queued = fabric
      .snapshot()
      .filter(({ name }) => name.startsWith('coord-'))
      .reduce((sum, { depth }) => sum + depth, 0);
    if (queued === 0) return;
    await sleep(10);
  }
}

/** Sends 1,400 messages through a team, and kills shims on the way. @returns what was accepted */
async function sendThroughDeaths(
  { fabric, source, sink }: Awaited<ReturnType<typeof openTeam>>,
  victims: readonly string[],
): Promise<Set<number>> {
  let accepted: Set<number> | undefined;
  const sending = sendTo(source, () => false, 1400).then((all) => {
    accepted = all;
    return all;
  });
  const collecting = collect(
    sink,
    () => accepted,
    () => {
      for (const name of victims) killShim(fabric, name);
    },
  );
  const [all] = await Promise.all([sending, collecting]);
  return all;
}

describe.each([
  ['one of seven coordinators', ['coord-A']],
  ['three of seven coordinators', ['coord-A', 'coord-C', 'coord-F']],
])('%s killed with messages under way', (_, victims) => {
  test('is restarted under its name, keeps its team, and nothing accepted is lost', async () => {
    const team = await openTeam('on-failure');
    const { fabric, events } = team;
    const accepted = await sendThroughDeaths(team, victims);
    await settled(fabric);
    expect(accepted.size).toBe(1400);
    expect(
      events
        .filter(({ event }) => event === 'restarted')
        .map(({ agent }) => agent)
        .sort(),
    ).toEqual(victims);
    for (const name of victims) expect(childrenOf(fabric, name).length).toBe(2);
    const { queued, dropped, deadLettered } = fabric.census();
    expect([queued, dropped, deadLettered]).toEqual([0, 0, 0]);
  });

  test('and not to be restarted is replaced by a peer: team, mailbox, and what comes later', async () => {
    const team = await openTeam('never');
    const { fabric, supervisor, source, events } = team;
    const accepted = await sendThroughDeaths(team, victims);
    expect(accepted.size).toBe(1400);
    const failovers = events.filter(({ event }) => event === 'failover');
    expect(failovers.map(({ agent }) => agent).sort()).toEqual(victims);
    for (const { agent, successor } of failovers) {
      expect(victims).not.toContain(successor);
      expect(childrenOf(fabric, agent)).toEqual([]);
    }
    const workers = letters.flatMap((letter) => [`worker-${letter}-1`, `worker-${letter}-2`]);
    const placed = letters.flatMap((letter) => childrenOf(fabric, `coord-${letter}`)).sort();
    expect(placed).toEqual(workers);
    // A question to the one that is gone is answered by its heir, to who asked.
    const answer = await source.ask(victims[0] as string, 'who are you?');
    expect(answer.text()).toBe(`from ${supervisor.heirOf(victims[0] as string)}`);
    const receipt = await source.send(victims[0] as string, { n: -1 }, { wait: 'acked' });
    expect(receipt.state).toBe('acked');
  });
});

describe('Supervisor.down', () => {
  test('with full inboxes of 100 agents loses nothing, and leaves nobody', async () => {
    const workers = 100;
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity: { ...capacity, maxParticipants: 2048 } });
    const source = await fabric.join('source');
    const worker = { command: ['sleep', '1000'], mailboxCells: 16 };
    const topology = Topology.flat({ workers, worker, master: { command: ['sleep', '1000'] } });
    const supervisor = await Supervisor.start(fabric, topology, { graceMs: 1000 });
    onTestFinished(async () => {
      if (!supervisor.closed) await supervisor.down({ timeoutMs: 500, graceMs: 200 });
    });
    await supervisor.whenReady();
    let accepted = 0;
    for (let i = 1; i <= workers; i += 1) {
      while (source.trySend(`worker-${i}`, { i })) accepted += 1;
    }
    expect(accepted).toBe(16 * workers);
    const guests = await joinAll(dir, fabric);
    const reading = guests.map(async (guest) => {
      let got = 0;
      for (;;) {
        const message = await guest.receive({ timeoutMs: 20_000 }).catch(() => undefined);
        if (message === undefined) return got;
        got += 1;
        message.ack();
        if (got === 16) return got;
      }
    });
    const going = supervisor.down({ timeoutMs: 20_000 });
    const late = await failureOf(source.send('worker-1', 'late'));
    expect(late.code).toBe('ERR_CFC_MAILBOX_CLOSED');
    const report = await going;
    expect((await Promise.all(reading)).reduce((sum, got) => sum + got, 0)).toBe(accepted);
    expect(report).toMatchObject({ drained: true, undelivered: [], killed: [] });
    expect(report.ledger).toMatchObject({ accepted, acked: accepted, queued: 0, dropped: 0 });
    expect(report.stopped.length).toBe(workers + 1);
    expect(processesOf(dir).filter(({ words }) => words[0] === 'sleep')).toEqual([]);
  });

  test('keeps what nobody read, and says whose it is', async () => {
    const fabric = await openFabric({ capacity });
    const source = await fabric.join('source');
    const topology = Topology.parse(`agents: [{ name: deaf, command: [sleep, '1000'] }]`);
    const supervisor = await Supervisor.start(fabric, topology, { graceMs: 1000 });
    await supervisor.whenReady();
    for (let i = 0; i < 5; i += 1) await source.send('deaf', { i });
    const report = await supervisor.down({ timeoutMs: 1000 });
    expect(report.drained).toBe(false);
    expect(report.undelivered).toEqual([{ agent: 'deaf', messages: 5 }]);
    expect(report.ledger).toMatchObject({ accepted: 5, queued: 5, acked: 0 });
    expect(report.left).toEqual(['source']);
  });

  test('kills the whole tree of one that does not heed TERM', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir, capacity });
    const script = 'trap "" TERM; sleep 1000 & wait; sleep 1000';
    const topology = Topology.parse(
      `agents: [{ name: stubborn, command: [bash, -c, ${JSON.stringify(script)}] }]`,
    );
    const supervisor = await Supervisor.start(fabric, topology);
    await supervisor.whenReady();
    await sleep(100);
    const report = await supervisor.down({ timeoutMs: 5000, graceMs: 200 });
    expect(report.stopped).toEqual(['stubborn']);
    expect(processesOf(dir)).toEqual([]);
  });
});

/** Joins as every worker at once, as a process below its shim would: by its token. */
async function joinAll(dir: string, fabric: Fabric): Promise<Agent[]> {
  const tokens = new Map<string, string>();
  for (const { pid, words } of processesOf(dir)) {
    if (words[0] !== 'sleep') continue;
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    const named = (name: string) =>
      environment.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
    if (named('CFC_AGENT').startsWith('worker-')) {
      tokens.set(named('CFC_AGENT'), named('CFC_LEASE'));
    }
  }
  const before = { ...process.env };
  const guests: Agent[] = [];
  for (const [name, token] of tokens) {
    Object.assign(process.env, {
      CFC_AGENT: name,
      CFC_LEASE: token,
      CFC_FABRIC: 'test',
      CFC_DIR: dir,
    });
    guests.push(await fabric.join(name));
  }
  for (const name of ['CFC_AGENT', 'CFC_LEASE', 'CFC_FABRIC', 'CFC_DIR']) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
  return guests;
}
