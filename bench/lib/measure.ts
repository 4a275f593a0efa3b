import type { Case, Rival, Run, Unit } from './case.js';
import { type Ratio, ratioOf, type Summary, summarize } from './statistics.js';

/** The figures of one contender, all runs together. */
export interface Figures extends Summary {
  name: string;
  sent: number;
  lost: number;
  outOfOrder: number;
  slowestShare?: number;
  detail?: string;
}

export interface Against {
  figures: Figures;
  ratio: Ratio;
  targetRatio?: number;
  ratioP99?: Ratio;
  targetRatioP99?: number;
  byWorst?: boolean;
}

export interface Row {
  name: string;
  unit: Unit;
  placement: string;
  ours: Figures;
  rivals: Against[];
  target?: number;
  targetP99?: number;
  targetShare?: number;
}

/**
 * Runs ours and each rival by turns, so that what else the machine does meets all of them.
 *
 * @throws {Error} where ours lost a message or changed their order
 */
export async function measure(bench: Case, rounds: number, tick: () => void): Promise<Row> {
  const contenders = [bench.ours, ...bench.rivals];
  const runs: Run[][] = contenders.map(() => []);
  for (let round = 0; round < (bench.once ? 1 : rounds); round += 1) {
    for (const [i, { run }] of contenders.entries()) {
      const result = await run();
      if (i === 0) checkOurs(bench, result);
      runs[i]?.push(result);
      tick();
    }
  }
  const [ours = [], ...others] = runs;
  const { name, unit, placement, target, targetP99, targetShare } = bench;
  return {
    name,
    unit,
    placement,
    ours: figuresOf(bench.ours.name, ours),
    rivals: bench.rivals.map((rival, i) => against(unit, ours, rival, others[i] ?? [])),
    ...(target === undefined ? {} : { target }),
    ...(targetP99 === undefined ? {} : { targetP99 }),
    ...(targetShare === undefined ? {} : { targetShare }),
  };
}

function checkOurs({ name }: Case, { sent, lost, outOfOrder }: Run): void {
  if (lost === 0 && outOfOrder === 0) return;
  throw new Error(`${name}: of ${sent} messages ${lost} lost, ${outOfOrder} out of order`);
}

function against(unit: Unit, ours: readonly Run[], rival: Rival, runs: readonly Run[]): Against {
  const each = (of: (summary: Summary) => number, all: readonly Run[]) =>
    all.map(({ samples }) => of(summarize(samples)));
  const middle = ({ median }: Summary) => median;
  const tail = ({ p99 }: Summary) => p99;
  const { targetRatio, targetRatioP99, byWorst } = rival;
  return {
    figures: figuresOf(rival.name, runs),
    ratio: ratioOf(each(middle, ours), each(middle, runs)),
    ...(targetRatio === undefined ? {} : { targetRatio }),
    ...(unit === 'us' ? { ratioP99: ratioOf(each(tail, ours), each(tail, runs)) } : {}),
    ...(targetRatioP99 === undefined ? {} : { targetRatioP99 }),
    ...(byWorst === undefined ? {} : { byWorst }),
  };
}

function figuresOf(name: string, runs: readonly Run[]): Figures {
  const sum = (of: (run: Run) => number) => runs.reduce((total, run) => total + of(run), 0);
  const shares = runs.flatMap(({ slowestShare }) => slowestShare ?? []);
  const detail = runs[0]?.detail;
  return {
    name,
    ...summarize(runs.flatMap(({ samples }) => samples)),
    sent: sum(({ sent }) => sent),
    lost: sum(({ lost }) => lost),
    outOfOrder: sum(({ outOfOrder }) => outOfOrder),
    ...(shares.length > 0 ? { slowestShare: Math.min(...shares) } : {}),
    ...(detail === undefined ? {} : { detail }),
  };
}
