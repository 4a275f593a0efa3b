// Kills and stops Node and native processes at random moments while they exchange messages under
// load, and checks afterwards, against logs outside the fabric, that nothing accepted was lost,
// harmed or out of order, that nobody hung, and that every cell, chunk and slot is accounted for.
//
//   npm run torture -- [--kills 2000] [--minutes N] [--seed S] [--resume FILE]
//
// It goes in rounds, by turns: a mixed one, of Node and native processes and a repairer that dies in
// the middle of its repairs (torture-round.mjs); and a native one, of native/test/torture.cc, which
// also nacks, hands over, holds back, leaves and comes again, in lanes that begin shortly before
// their 32-bit counts wrap. It ends after --minutes, or when --kills
// of either are done. --resume keeps the sums in FILE after each round and goes on from there. A seed
// gives the same choices; the kernel decides where they meet whom.
//
// Prints one JSON line: injected / hit / violations. Exit code 1 where something was violated, 3
// where too few kills met a process at work to say anything.
//
//   --producers 2 --consumers 2 --native-producers 2 --native-consumers 1 --repairers 2
//   --stops 0.15 (of each kill, another is stopped) --round 100 (kills) --no-native --keep

import { spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './lib.mjs';
import { optionsOf } from './options.mjs';
import { tortureRound } from './torture-round.mjs';

const { values } = optionsOf(import.meta.url, {
  options: {
    kills: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string', default: `${Date.now() % 1e6}` },
    resume: { type: 'string' },
    round: { type: 'string', default: '100' },
    producers: { type: 'string', default: '2' },
    consumers: { type: 'string', default: '2' },
    'native-producers': { type: 'string', default: '2' },
    'native-consumers': { type: 'string', default: '1' },
    repairers: { type: 'string', default: '2' },
    stops: { type: 'string', default: '0.15' },
    'no-native': { type: 'boolean', default: false },
    keep: { type: 'boolean', default: false },
  },
});
const minutes = values.minutes === undefined ? Infinity : Number(values.minutes);
const kills = Number(values.kills ?? (minutes < Infinity ? Infinity : 2000));
const withNative = !values['no-native'];
/** Of the kills, how many must meet a process that has begun to work. */
const leastHits = 0.6;

const programs = join(root, 'native', 'build', 'gcc');
if (withNative) {
  const build = ['gcc', '--build', 'torture', 'torture_peer'];
  run(join(root, 'scripts', 'test-native.sh'), build, { stdio: ['ignore', 'ignore', 'inherit'] });
}

let sums = {
  seed: Number(values.seed),
  rounds: 0,
  injected: 0,
  hit: 0,
  violations: 0,
  /** [injected, hit] of each kind of fault. */
  faults: { producers: [0, 0], consumers: [0, 0], repairers: [0, 0], stops: [0, 0] },
  nodeKilled: 0,
  accepted: 0,
  delivered: 0,
  redelivered: 0,
  /** Lanes that passed a wrap of their counts. */
  wraps: 0,
  longestStillMs: 0,
  /** How long the one who watches for hangs was late, all in all, and how long it was not. */
  blindMs: 0,
  watchedMs: 0,
};
if (values.resume && existsSync(values.resume)) {
  sums = JSON.parse(readFileSync(values.resume, 'utf8'));
}

/** A round of native/test/torture.cc, told by what it prints. */
function nativeRound(seed, count) {
  const seconds = Math.max(2, Math.ceil(count / 15));
  const stops = Math.ceil(count / 8);
  const words = ['--kills', count, '--stops', stops, '--seconds', seconds, '--seed', seed];
  words.push('--near-wrap');
  const { status, stdout, stderr } = spawnSync(join(programs, 'torture'), words.map(String), {
    encoding: 'utf8',
  });
  const number = (pattern) => Number(pattern.exec(stdout)?.[1] ?? 0);
  const pair = (kind) => {
    const found = new RegExp(`(\\d+)${kind} \\((\\d+) at work\\)`).exec(stdout);
    return [Number(found?.[1] ?? 0), Number(found?.[2] ?? 0)];
  };
  const violations = stderr.split('\n').filter((line) => line.startsWith('violation'));
  if (status !== 0 && violations.length === 0) {
    violations.push(`native round, seed ${seed}, ended with ${status}: ${stdout}${stderr}`);
  }
  return {
    counts: {
      producers: pair(' producers'),
      consumers: pair(' consumers'),
      repairers: [0, 0],
      stops: [number(/stopped (\d+)/), number(/stopped \d+ \((\d+)/)],
      node: 0,
    },
    violations,
    accepted: number(/accepted (\d+)/),
    delivered: number(/delivered (\d+)/),
    redelivered: number(/redelivered (\d+)/),
    wraps: number(/(\d+) lanes passed their wrap/),
    longestStillMs: number(/standstill (\d+) ms/),
    blindMs: number(/not watched for (\d+) ms/),
    watchedMs: 1000 * seconds,
  };
}

function add(round) {
  sums.rounds += 1;
  for (const [kind, [injected, hit]] of Object.entries(sums.faults)) {
    sums.faults[kind] = [injected + round.counts[kind][0], hit + round.counts[kind][1]];
  }
  const killed = ['producers', 'consumers', 'repairers'].map((kind) => sums.faults[kind]);
  sums.injected = killed.reduce((sum, [injected]) => sum + injected, 0);
  sums.hit = killed.reduce((sum, [, hit]) => sum + hit, 0);
  sums.violations += round.violations.length;
  sums.nodeKilled += round.counts.node;
  for (const what of ['accepted', 'delivered', 'redelivered', 'blindMs', 'watchedMs']) {
    sums[what] += round[what];
  }
  sums.wraps = (sums.wraps ?? 0) + (round.wraps ?? 0);
  sums.longestStillMs = Math.max(sums.longestStillMs, round.longestStillMs);
  for (const violation of round.violations.slice(0, 50)) console.error(violation);
  if (values.resume) {
    writeFileSync(`${values.resume}.new`, `${JSON.stringify(sums)}\n`);
    renameSync(`${values.resume}.new`, values.resume);
  }
}

const until = performance.now() + minutes * 60_000;
/** Of producers and consumers: repairers die on top of that. */
const done = () => sums.faults.producers[0] + sums.faults.consumers[0];
while (done() < kills && performance.now() < until) {
  const seed = sums.seed + sums.rounds;
  const count = Math.min(Number(values.round), kills - done());
  if (withNative && sums.rounds % 2 === 1) {
    add(nativeRound(seed, Math.max(count, 20)));
    continue;
  }
  add(
    await tortureRound({
      seed,
      kills: count,
      stops: Number(values.stops),
      producers: Number(values.producers),
      consumers: Number(values.consumers),
      nativeProducers: withNative ? Number(values['native-producers']) : 0,
      nativeConsumers: withNative ? Number(values['native-consumers']) : 0,
      repairers: withNative ? Number(values.repairers) : 0,
      nativePeer: join(programs, 'torture_peer'),
      keep: values.keep,
    }),
  );
}

if (process.env.CFC_EVIDENCE) {
  const rows = { F1: 'producers', F2: 'consumers', F3: 'repairers', F6: 'stops' };
  for (const [fault, kind] of Object.entries(rows)) {
    const [injected, hit] = sums.faults[kind];
    const line = { fault, test: 'npm run torture', injected, hit, violations: sums.violations };
    appendFileSync(process.env.CFC_EVIDENCE, `${JSON.stringify(line)}\n`);
  }
}
console.log(JSON.stringify(sums));
const tooFew =
  sums.hit < leastHits * sums.injected ||
  sums.delivered < 10 * sums.injected ||
  sums.blindMs > sums.watchedMs / 4;
if (sums.violations > 0) process.exitCode = 1;
else if (tooFew) process.exitCode = 3;
