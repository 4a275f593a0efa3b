import type { Case, Rival } from './lib/case.js';
import { besideBusy, type Placement } from './lib/children.js';
import { missing, type NativeProgram, type NativeWork, runNative } from './lib/native.js';

const labels: Readonly<Record<NativeProgram, string>> = {
  core: 'cfc',
  topic: 'cfc',
  futex: 'bare futex',
  round: 'bare round',
  futex_wake: 'bare futexes',
  spsc: 'bare SPSC ring',
  posix_mq: 'POSIX queue',
  boost_mq: 'Boost queue',
};

interface Plan {
  name: string;
  /** Default `core`. */
  program?: NativeProgram;
  work: NativeWork;
  rivals: NativeProgram[];
  /** How much less work a rival gets, where it is so much slower. */
  rivalCount?: number;
  /** Ratios to reach, by rival. */
  aims?: Partial<Record<NativeProgram, number>>;
  target?: number;
  targetShare?: number;
  /** Processes that do nothing but use CPU, all the time. */
  busy?: number;
}

/**
 * The core in C++, against the least that it could cost and against other queues.
 *
 * @param scale multiplies the work; 1 takes about a second a run
 * @param placement overrides that of every case
 */
export function nativeCases(scale: number, placement?: Placement): Case[] {
  const of = (count: number) => Math.max(1000, Math.round(count * scale));
  const oneWay = (bytes: number, count: number): NativeWork => ({
    kind: 'one-way',
    placement: placement ?? 'free',
    count: of(count),
    bytes,
  });
  const roundTrip = (at: Placement): NativeWork => ({
    kind: 'round-trip',
    placement: placement ?? at,
    count: of(20_000),
    bytes: 64,
  });
  const plans: Plan[] = [
    {
      name: 'C++, one way, 64 B, one by one',
      work: oneWay(64, 5_000_000),
      rivals: ['spsc', 'boost_mq', 'posix_mq'],
      rivalCount: of(1_000_000),
      aims: { boost_mq: 4 },
      target: 10_000_000,
    },
    {
      name: 'C++, one way, 64 B, batches',
      work: { ...oneWay(64, 5_000_000), batch: true },
      rivals: [],
    },
    {
      name: 'C++, one way, 1 KiB, one by one',
      work: oneWay(1024, 2_000_000),
      rivals: ['spsc', 'boost_mq', 'posix_mq'],
      rivalCount: of(500_000),
      target: 4_000_000,
    },
    {
      name: 'C++, one way, 64 B, 4 producers',
      work: { ...oneWay(64, 5_000_000), producers: 4 },
      rivals: ['boost_mq'],
      rivalCount: of(1_000_000),
      target: 6_000_000,
      targetShare: 0.5,
    },
    {
      name: 'C++, one way, 64 B, 100 producers',
      work: { ...oneWay(64, 5_000_000), producers: 100 },
      rivals: ['boost_mq'],
      rivalCount: of(1_000_000),
    },
    {
      name: 'C++, round trip, 64 B, parked',
      work: roundTrip('1core'),
      rivals: ['futex', 'posix_mq', 'boost_mq'],
      aims: { futex: 1.3 },
    },
    {
      name: 'C++, round trip, 64 B, hot',
      work: roundTrip('free'),
      rivals: ['futex', 'posix_mq', 'boost_mq'],
      target: 1,
    },
  ];
  // What the spin costs where others want the CPU: the bare futex never spins.
  for (const busy of [1, 2, 16]) {
    plans.push({
      name: `C++, round trip, 64 B, beside ${busy} busy`,
      work: { ...roundTrip('free'), count: of(2000) },
      rivals: ['futex'],
      busy,
    });
  }
  for (const busy of [2, 16]) {
    plans.push({
      name: `C++, one way, 64 B, beside ${busy} busy`,
      work: oneWay(64, 1_000_000),
      rivals: ['spsc', 'boost_mq'],
      rivalCount: of(300_000),
      busy,
    });
  }
  const subscribers = [1, 4, 16];
  for (const count of subscribers) {
    plans.push({
      name: `C++, topic, 64 B, 1 to ${count}`,
      program: 'topic',
      work: { ...oneWay(64, Math.round(1_000_000 / count)), producers: count },
      rivals: [],
    });
  }
  plans.push({
    name: 'C++, topic, a publish to 1,000 sleepers',
    program: 'topic',
    work: {
      kind: 'round-trip',
      placement: 'free',
      count: Math.max(5, Math.round(30 * scale)),
      bytes: 64,
      producers: 1000,
    },
    rivals: ['futex_wake'],
  });
  return plans.map(caseOf);
}

function caseOf({
  name,
  program = 'core',
  work,
  rivals,
  rivalCount,
  aims,
  target,
  targetShare,
  busy,
}: Plan): Case {
  const run = (which: NativeProgram, what: NativeWork) =>
    besideBusy(busy ?? 0, runNative(which, what));
  const there = rivals.filter((program) => missing(program) === undefined);
  return {
    name,
    unit: work.kind === 'round-trip' ? 'us' : 'messages/s',
    placement: work.placement,
    ours: { name: labels[program], run: run(program, work) },
    rivals: there.map((program): Rival => {
      const fewer = rivalCount !== undefined && program !== 'spsc';
      const targetRatio = aims?.[program];
      return {
        name: labels[program],
        run: run(program, fewer ? { ...work, count: rivalCount } : work),
        ...(targetRatio === undefined ? {} : { targetRatio }),
      };
    }),
    ...(target === undefined ? {} : { target }),
    ...(targetShare === undefined ? {} : { targetShare }),
  };
}
