// Days on a clock that the test moves: what grows with time alone, and what must go away with it.
import { existsSync, readdirSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { RestartHistory } from '../../src/agents/supervisor/restart.js';
import { readAlertHistory } from '../../src/alerts/history.js';
import type { AlertState } from '../../src/alerts/instance.js';
import { Redactor } from '../../src/alerts/redact.js';
import { defaultRules } from '../../src/alerts/rule.js';
import { AlertFiles } from '../../src/alerts/state-directory.js';
import { AlertWatch } from '../../src/alerts/watch.js';
import { LogFile } from '../../src/metrics/log-file.js';
import { defaultRestart } from '../../src/topology/plan.js';
import { range, testDirectory } from '../support/fabric.js';
import { record, rule, seconds } from './alerts/support.js';

const hourMs = 3_600_000;
const everySeconds = 30;
const ticksPerHour = 3600 / everySeconds;
const ticksPerDay = 24 * ticksPerHour;

describe('In days', () => {
  // Ten minutes of each hour the load is high; once a day the daemon is another one.
  test('alerts fire and resolve each hour, keep a day of history, and a state that does not grow', async () => {
    const files = new AlertFiles(testDirectory());
    const states: AlertState[] = [];
    const stateBytes: number[] = [];
    const days = 3;
    for (const day of range(days)) {
      let nowMs = 0;
      const watch = new AlertWatch({
        rules: [...defaultRules({}), rule({ by: ['agent'] })],
        source: {
          read: () =>
            range(4).flatMap((n) => {
              const tags = { agent: `a${n}`, pid: `${n}`, started: `${seconds(0)}` };
              const high = n === 0 && (nowMs - seconds(0)) % hourMs < hourMs / 6;
              return [
                record('load', high ? 11 : 1, nowMs, tags),
                record('system.memory_mb', 50, nowMs, tags),
                record('agent.queue_depth', 3, nowMs, tags),
              ];
            }),
          close: () => {},
        },
        files,
        sinks: [],
        redactor: new Redactor({}),
        intervalMs: everySeconds * 1000,
        tell: (line) => {
          throw new Error(line);
        },
        now: () => nowMs,
      });
      for (const tick of range(ticksPerDay)) {
        nowMs = seconds((day * ticksPerDay + tick) * everySeconds);
        for (const { alert, state } of await watch.tick()) {
          expect(alert).toBe('load_high');
          states.push(state);
        }
      }
      stateBytes.push(statSync(files.state).size);
      await watch.close();
    }

    const fired = states.filter((state) => state === 'firing').length;
    const resolved = states.filter((state) => state === 'resolved').length;
    expect([fired, resolved]).toEqual([24 * days, 24 * days]);
    const { records } = await readAlertHistory(files.history);
    const oldest = Date.parse(records[0]?.timestamp ?? '');
    // Lines may outstay the day by an hour, so that the file is seldom written anew.
    expect(oldest).toBeGreaterThanOrEqual(seconds((days - 1) * 86_400) - 2 * hourMs);
    // Fires, goes on firing after the cooldown, resolves.
    expect(records.length / 3).toBeGreaterThanOrEqual(23);
    expect(records.length / 3).toBeLessThanOrEqual(26);
    const [first, , last] = stateBytes as [number, number, number];
    expect(last).toBeLessThanOrEqual(first + 64); // times of more digits
    expect(readFileSync(files.heartbeat, 'utf8').length).toBeLessThan(500);
  }, 120_000);

  // In the future, so that what looks at the real clock too finds nothing old.
  test('an exporter whose file is put away each hour keeps two days of them', async () => {
    const path = join(testDirectory(), 'metrics.jsonl');
    const retentionMs = 48.5 * hourMs;
    const log = new LogFile(path, { maxBytes: 1000, keep: 60, gzip: false, retentionMs });
    await log.open();
    const batch = Buffer.from(`${'x'.repeat(599)}\n`);
    const startMs = Date.now() + 365 * 24 * hourMs;
    const counts: number[] = [];
    for (const hour of range(10 * 24)) {
      const nowMs = startMs + hour * hourMs;
      await log.append(batch, await log.prepare(batch.length));
      utimesSync(path, nowMs / 1000, nowMs / 1000);
      await log.prune(nowMs);
      counts.push(readdirSync(dirname(path)).length - 1);
    }
    await log.close();

    expect(log.rotations).toBe(10 * 24 - 1);
    expect(counts.slice(0, 5)).toEqual([0, 1, 2, 3, 4]);
    expect(Math.max(...counts)).toBe(48);
    expect(counts.at(-1)).toBe(48);
    expect(existsSync(join(dirname(path), `${basename(path)}.48`))).toBe(true);
  });

  test('a crash each minute is no crash loop, and one loop is over when the agent has lived', () => {
    const history = new RestartHistory(defaultRestart, () => 0.5);
    const crash = (startedMs: number, nowMs: number) =>
      history.ended({ exitCode: 137 }, startedMs, nowMs);
    const minutes = 10 * 24 * 60;
    // From near where a signed count of milliseconds in 32 bits would wrap.
    const fromMs = 2 ** 31 - 3 * hourMs;
    for (const minute of range(minutes)) {
      const nowMs = fromMs + minute * 60_000;
      expect(crash(nowMs - 59_000, nowMs)).toEqual({ kind: 'restart', delayMs: 100 });
    }
    const endMs = fromMs + minutes * 60_000;
    const kinds = range(7).map((i) => crash(endMs + i * 100 - 50, endMs + i * 100).kind);

    expect(kinds.filter((kind) => kind === 'crash-loop')).toHaveLength(2);
    expect(history.recovered(endMs + hourMs, endMs + 2 * hourMs)).toBe(true);
    expect(crash(endMs + hourMs, endMs + 3 * hourMs).kind).toBe('restart');
  });
});
