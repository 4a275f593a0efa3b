import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { AlertRecord } from '../../../src/alerts/alert-record.js';
import { AlertHistory, readAlertHistory, summarizeAlerts } from '../../../src/alerts/history.js';
import type { Severity } from '../../../src/alerts/rule.js';
import { seconds } from './support.js';

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cfc-alerts-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return join(dir, 'state', 'alerts.jsonl');
}

function open(path: string): AlertHistory {
  const history = new AlertHistory(path);
  onTestFinished(() => history.close());
  return history;
}

function line(
  alert: string,
  at: number,
  severity: Severity = 'warning',
  state = 'firing',
): AlertRecord {
  const timestamp = new Date(seconds(at)).toISOString();
  return { timestamp, alert, message: 'm', severity, metadata: { state } };
}

const hour = 3600;

describe('a history', () => {
  test('has a line for each record, with the fields of the predecessor, for its owner alone', () => {
    const path = temporary();
    open(path).append(line('a', 0), seconds(0));

    expect(Object.keys(JSON.parse(readFileSync(path, 'utf8')))).toEqual([
      'timestamp',
      'alert',
      'message',
      'severity',
      'metadata',
    ]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('keeps 24 hours', async () => {
    const path = temporary();
    const history = open(path);
    for (let at = 0; at <= 50; at += 1)
      history.append(line(`a${at}`, at * hour), seconds(at * hour));

    const { records } = await readAlertHistory(path);
    expect(records.map(({ alert }) => alert)).toEqual(
      Array.from({ length: 25 }, (_, i) => `a${i + 26}`),
    );
  });

  test('keeps at most 10 MB, the newest, in whole lines', async () => {
    const path = temporary();
    const history = open(path);
    const record = { ...line('a', 0), message: 'm'.repeat(100_000) };
    let most = 0;
    for (let n = 0; n < 250; n += 1) {
      history.append({ ...record, alert: `a${n}` }, seconds(n));
      most = Math.max(most, statSync(path).size);
    }

    expect(most).toBeGreaterThan(10 << 20);
    expect(most).toBeLessThan((10 << 20) + 200_000);
    const { records, unreadable } = await readAlertHistory(path);
    const first = 250 - records.length;
    expect(unreadable).toBe(0);
    expect(records.length).toBeGreaterThan(50);
    expect(records.map(({ alert }) => alert)).toEqual(records.map((_, i) => `a${first + i}`));
  });

  test('cuts away what a crash tore off, and goes on behind it', async () => {
    const path = temporary();
    const whole = `${JSON.stringify(line('a', 0))}\n`;
    const torn = JSON.stringify(line('b', 1));
    for (const bytes of [0, 1, 40, torn.length]) {
      const history = new AlertHistory(path);
      history.close();
      writeFileSync(path, whole + torn.slice(0, bytes));
      open(path).append(line('c', 2), seconds(2));

      const { records, unreadable } = await readAlertHistory(path);
      expect(records.map(({ alert }) => alert)).toEqual(['a', 'c']);
      expect(unreadable).toBe(0);
    }
  });

  test('is read by severity, name, state and time; lines that are no records are counted', async () => {
    const path = temporary();
    const history = open(path);
    history.append(line('a', 0, 'critical'), seconds(0));
    history.append(line('b', 10), seconds(10));
    history.append(line('a', 20, 'critical', 'resolved'), seconds(20));
    appendFileSync(path, 'no json\n{"alert":1}\n');
    const read = async (filter: Parameters<typeof readAlertHistory>[1]) =>
      (await readAlertHistory(path, filter)).records.map(({ alert, metadata }) => {
        return `${alert} ${metadata.state}`;
      });

    expect(await read({})).toEqual(['a firing', 'b firing', 'a resolved']);
    expect(await read({ severity: 'warning' })).toEqual(['b firing']);
    expect(await read({ leastSeverity: 'warning' })).toHaveLength(3);
    expect(await read({ name: 'a', state: 'resolved' })).toEqual(['a resolved']);
    expect(await read({ sinceMs: seconds(10), untilMs: seconds(20) })).toEqual(['b firing']);
    expect((await readAlertHistory(path)).unreadable).toBe(2);
    expect((await readAlertHistory(`${path}.none`)).records).toEqual([]);
  });

  test('is summed up by alert and by severity', () => {
    const summary = summarizeAlerts([
      line('b', 0),
      line('a', 10, 'critical'),
      line('a', 20, 'critical'),
      line('a', 30, 'critical', 'resolved'),
    ]);

    expect(summary).toMatchObject({
      total: 3,
      resolved: 1,
      bySeverity: { info: 0, warning: 1, critical: 2 },
      byAlert: [
        { alert: 'a', count: 2, resolved: 1, firstAt: line('', 10).timestamp },
        { alert: 'b', count: 1, resolved: 0 },
      ],
    });
  });
});
