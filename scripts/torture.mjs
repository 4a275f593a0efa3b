// Kills Node processes at random moments while they exchange messages under load, and checks
// afterwards, against logs outside the fabric, that nothing accepted was lost, harmed or out of
// order, that nobody hung, and that every cell, chunk and slot is accounted for.
//
//   npm run torture -- --kills 300 --seed 7 [--producers 3] [--consumers 2] [--stops 0.15] [--keep]
//
// Prints one JSON line: injected / hit / violations. Exit code 1 where something was violated, 3
// where too few kills met a process at work to say anything. The seed decides who is killed, and
// when; the kernel decides where that meets it.

import { fork } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Fabric } from 'cfc';
import { checkLogs } from './torture-check.mjs';

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '300' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
    producers: { type: 'string', default: '3' },
    consumers: { type: 'string', default: '2' },
    stops: { type: 'string', default: '0.15' },
    keep: { type: 'boolean', default: false },
  },
});
const kills = Number(values.kills);
const seed = Number(values.seed);
const stops = Number(values.stops);

const mailboxCells = 64;
const hangMs = 1000;
const tickMs = 20;
/** Of the kills, how many must meet a process that has begun to work. */
const leastHits = 0.6;

let state = seed >>> 0;
function random() {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
const pick = (list) => list[Math.floor(random() * list.length)];

const dir = join('/dev/shm', `cfc-torture-${process.pid}-${randomUUID()}`);
mkdirSync(dir, { mode: 0o700 });
const logs = mkdtempSync(join(tmpdir(), 'cfc-torture-'));
const fabric = await Fabric.open('torture', {
  dir,
  create: true,
  capacity: {
    maxAgents: 64,
    maxParticipants: 64,
    mailboxCells,
    mailSegmentBytes: 1 << 18,
    slabSegmentBytes: 1 << 20,
    slabMaxBytes: 32 << 20,
    senderSlabBytes: 8 << 20,
    histograms: 8,
  },
});

const names = (count, letter) => Array.from({ length: Number(count) }, (_, i) => `${letter}${i}`);
const consumers = names(values.consumers, 'c');
const producers = names(values.producers, 'p');
const peers = new Map();
let lives = 0;
let ended = false;

function start(name) {
  lives += 1;
  const log = join(logs, `${name}.${lives}.log`);
  const role = producers.includes(name) ? 'producer' : 'consumer';
  const options = {
    role,
    name,
    life: lives,
    dir,
    log,
    targets: consumers,
    mailboxCells,
    seed: seed + lives,
  };
  const child = fork(fileURLToPath(new URL('torture-peer.mjs', import.meta.url)), [
    JSON.stringify(options),
  ]);
  const peer = {
    name,
    role,
    child,
    log,
    ready: false,
    stopped: false,
    bytes: 0,
    worked: false,
    stillMs: 0,
    starvedMs: 0,
  };
  peers.set(name, peer);
  child.once('message', () => {
    peer.ready = true;
  });
  peer.exited = new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      peer.ready = false;
      if (!ended && signal !== 'SIGKILL')
        violations.push(`${name} ended by itself: ${code ?? signal}`);
      resolve(code);
    });
  });
  return peer;
}

// How long each stood still though it could have gone on: it was ready and not stopped, a consumer
// had mail, a producer had room at a consumer that lives. The time for which a process wanted a CPU
// and got none doesn't count: a crowded machine hangs nobody.
const violations = [];
let longestStillMs = 0;
let before = performance.now();

/** Milliseconds for which this process has waited for a CPU, ever. */
function starvedMs(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e6;
  } catch {
    return 0;
  }
}

function tick() {
  const now = performance.now();
  const passed = Math.min(now - before, 2 * tickMs);
  before = now;
  const mailboxes = new Map(fabric.snapshot().map((agent) => [agent.name, agent]));
  const runs = (name) => peers.get(name).ready && !peers.get(name).stopped;
  const someRoom = consumers.some(
    (name) => runs(name) && (mailboxes.get(name)?.depth ?? mailboxCells) < mailboxCells / 2,
  );
  for (const peer of peers.values()) {
    if (!runs(peer.name)) continue;
    const { size } = statSync(peer.log);
    const starved = starvedMs(peer.child.pid);
    const wanted = starved - peer.starvedMs;
    peer.starvedMs = starved;
    const box = mailboxes.get(peer.name);
    const could = peer.role === 'producer' ? someRoom : box !== undefined && box.depth > box.leased;
    if (size !== peer.bytes || !could) {
      peer.worked ||= size > 0;
      peer.bytes = size;
      peer.stillMs = 0;
      continue;
    }
    peer.stillMs += Math.max(0, passed - wanted);
    longestStillMs = Math.max(longestStillMs, peer.stillMs);
    if (peer.stillMs > hangMs && !peer.reported) {
      peer.reported = true;
      violations.push(`${peer.name} stood still for more than ${hangMs} ms`);
    }
  }
}
const ticking = setInterval(tick, tickMs);

async function stopFor(peer, ms) {
  peer.stopped = true;
  peer.child.kill('SIGSTOP');
  await sleep(ms);
  peer.child.kill('SIGCONT');
  peer.stillMs = 0;
  peer.stopped = false;
}

for (const name of [...consumers, ...producers]) start(name);
const stopping = new Set();
let hit = 0;
let injected = 0;
while (injected < kills) {
  // Mostly soon, so that one death meets the repair of another; now and then a while of peace.
  await sleep(random() < 0.1 ? 1300 : 5 + random() * 120);
  if (random() < stops) {
    const peer = pick([...peers.values()]);
    if (!peer.stopped) {
      const stop = stopFor(peer, random() * 400).finally(() => stopping.delete(stop));
      stopping.add(stop);
    }
  }
  const victims = random() < 0.15 ? [pick(consumers), pick(producers)] : [pick([...peers.keys()])];
  // A process that has just been started is let go most of the time: it would never do anything.
  const chosen = victims.map((name) => peers.get(name)).filter((p) => p.worked || random() < 0.15);
  for (const peer of chosen) {
    injected += 1;
    if (peer.worked) hit += 1;
    peer.child.kill('SIGKILL');
  }
  await Promise.all(chosen.map((peer) => peer.exited));
  for (const { name } of chosen) start(name);
}

// The end: producers first, then consumers, which read what is left.
await Promise.all(stopping);
const all = [...peers.values()];
while (!all.every((peer) => peer.ready || peer.child.exitCode !== null)) await sleep(10);
await sleep(300);
ended = true;
clearInterval(ticking);
for (const role of ['producer', 'consumer']) {
  const those = all.filter((peer) => peer.role === role);
  for (const peer of those) peer.child.kill('SIGTERM');
  for (const peer of those) {
    const watchdog = setTimeout(() => {
      violations.push(`${peer.name} did not end`);
      peer.child.kill('SIGKILL');
    }, 30_000);
    const code = await peer.exited;
    clearTimeout(watchdog);
    if (code !== 0) violations.push(`${peer.name} ended with ${code}`);
  }
}

fabric.sweep();
const last = fabric.census();
const result = checkLogs(logs);
violations.push(...result.violations);
const none = ['queued', 'ready', 'leased', 'held', 'claimed', 'quarantined', 'done', 'dropped'];
none.push('deadLettered', 'slotsReaping', 'namesClaimed', 'mailboxesClaimed');
none.push('chunksLoaned', 'chunksPlaced', 'namesLive', 'mailboxesOwned');
for (const what of none) if (last[what] !== 0) violations.push(`left: ${what} ${last[what]}`);
if (last.slotsLive !== 1) violations.push(`left: slotsLive ${last.slotsLive} with ours`);
if (last.acked !== result.delivered) {
  violations.push(`ledger: ${last.acked} acked, ${result.delivered} delivered`);
}
await fabric.close();

const tooFew = hit < leastHits * injected || result.delivered < 10 * injected;
const { accepted, delivered, redelivered } = result;
console.log(
  JSON.stringify({
    seed,
    injected,
    hit,
    violations: violations.length,
    lives,
    accepted,
    delivered,
    redelivered,
    longestStillMs: Math.round(longestStillMs),
  }),
);
for (const violation of violations.slice(0, 50)) console.error(violation);
if (values.keep || violations.length > 0) console.error(`kept: ${logs} ${dir}`);
else for (const folder of [logs, dir]) rmSync(folder, { recursive: true, force: true });
if (violations.length > 0) process.exitCode = 1;
else if (tooFew) process.exitCode = 3;
