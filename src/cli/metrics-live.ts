import { setTimeout as pause } from 'node:timers/promises';
import { Fabric } from '../index.js';
import { type Analysis, type AnalyzeOptions, Analyzer } from '../metrics/index.js';
import { warn } from './terminal.js';

// Short windows are looked at this often, long ones once a second: a gauge is a series then.
const looksAWindow = 20;
const shortestMs = 50;
const longestMs = 1000;
const processesAtATime = 20_000;

export interface Live {
  analysis: Analysis;
  /** Ctrl-C came before the time was over; what was seen until then is in it. */
  interrupted: boolean;
}

/**
 * What a fabric that runs measures: everything since it was made, or, where `windowMs` is shorter
 * than that, what happens from now on for so long. Shared memory has no past.
 *
 * @throws {CfcError} `ERR_CFC_NO_FABRIC`, `ERR_CFC_FABRIC_REMOVED`
 */
export async function analyzeLive(name: string, options: AnalyzeOptions): Promise<Live> {
  const { windowMs, ...rest } = options;
  const fabric = await Fabric.open(name);
  try {
    const madeAtMs = fabric.info().createdAt.getTime();
    const watched = windowMs !== undefined && windowMs < Date.now() - madeAtMs;
    const sampler = fabric.sampler({ processesAtATime });
    const analyzer = new Analyzer(rest);
    let fromMs = madeAtMs;
    let interrupted = false;
    if (watched) {
      sampler.sample(); // what was before
      fromMs = Date.now();
      interrupted = await watch(windowMs, (nowMs) => {
        fabric.check();
        for (const record of sampler.sample(nowMs)) analyzer.add(record);
      });
    } else {
      for (const record of sampler.sample()) analyzer.add(record);
    }
    return { analysis: within(analyzer.result(), fromMs, Date.now()), interrupted };
  } finally {
    await fabric.close();
  }
}

async function watch(windowMs: number, look: (nowMs: number) => void): Promise<boolean> {
  const stop = new AbortController();
  const interrupt = () => stop.abort();
  process.once('SIGINT', interrupt);
  try {
    warn(
      `cfc: watching for ${windowMs / 1000} s from now on, as shared memory has no past; for that ` +
        'give the file of `cfc metrics export`. Ctrl-C ends it early\n',
    );
    const untilMs = Date.now() + windowMs;
    const stepMs = Math.min(Math.max(windowMs / looksAWindow, shortestMs), longestMs);
    for (let nowMs = Date.now(); nowMs < untilMs && !stop.signal.aborted; nowMs = Date.now()) {
      const ms = Math.min(stepMs, untilMs - nowMs);
      await pause(ms, undefined, { signal: stop.signal }).catch(() => {}); // it was interrupted
      look(Date.now());
    }
  } finally {
    process.off('SIGINT', interrupt);
  }
  return stop.signal.aborted;
}

// Rates are of the time that was looked at, not of that between the first record and the last.
function within(analysis: Analysis, fromMs: number, toMs: number): Analysis {
  const ms = Math.max(1, toMs - fromMs);
  const metrics = analysis.metrics.map((row) => {
    const grew = row.kind === 'counter' ? row.avg * row.count : row.count;
    return { ...row, rate: (grew * 1000) / ms };
  });
  const window = { from: new Date(fromMs).toISOString(), to: new Date(toMs).toISOString(), ms };
  return { ...analysis, window, metrics };
}
