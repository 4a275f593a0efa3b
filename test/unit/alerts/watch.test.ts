import { spawn } from 'node:child_process';
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { FileSource } from '../../../src/alerts/file-source.js';
import { readHeartbeat } from '../../../src/alerts/heartbeat.js';
import { readAlertHistory } from '../../../src/alerts/history.js';
import { Redactor } from '../../../src/alerts/redact.js';
import { SilenceFiles } from '../../../src/alerts/silences.js';
import type { AlertSink } from '../../../src/alerts/sinks/sink.js';
import { AlertFiles } from '../../../src/alerts/state-directory.js';
import { AlertWatch, type AlertWatchOptions } from '../../../src/alerts/watch.js';
import { type MetricRecord, toLine } from '../../../src/metrics/record.js';
import { failureOf } from '../../support/fabric.js';
import { record, rule, seconds, told } from './support.js';

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cfc-alerts-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A watch over values that the test gives, on a clock that the test moves. */
class Watched {
  readonly heard: string[] = [];
  readonly lines: string[] = [];
  readonly watch: AlertWatch;
  readonly files: AlertFiles;
  nowMs: number;
  next: () => MetricRecord[] = () => [];

  constructor(dir: string, at = 0, changes: Partial<AlertWatchOptions> = {}) {
    this.nowMs = seconds(at);
    this.files = new AlertFiles(dir);
    const sink: AlertSink = {
      notify: (notification) => this.heard.push(...told(notification)),
      status: () => ({
        name: 'test',
        delivered: 0,
        failed: 0,
        dropped: 0,
        waiting: 0,
        lastError: undefined,
      }),
      close: async () => {},
    };
    this.watch = new AlertWatch({
      rules: [rule()],
      source: { read: () => this.next(), close: () => {} },
      files: this.files,
      sinks: [sink],
      redactor: new Redactor({}),
      intervalMs: 30_000,
      tell: (line) => this.lines.push(line),
      now: () => this.nowMs,
      ...changes,
    });
  }

  async at(at: number, value?: number): Promise<void> {
    this.nowMs = seconds(at);
    if (value !== undefined) this.next = () => [record('load', value, this.nowMs)];
    await this.watch.tick();
  }
}

describe('a watch', () => {
  test('tells, logs once a cooldown, and goes on after a restart where it left off', async () => {
    const dir = temporary();
    const first = new Watched(dir);
    await first.at(0, 11);
    await first.at(30, 11);
    await first.watch.close();

    const second = new Watched(dir, 60);
    await second.at(60, 11);
    await second.at(300, 11);
    await second.at(330, 5);
    await second.watch.close();

    expect(first.heard).toEqual(['load_high firing']);
    expect(second.heard).toEqual(['load_high firing', 'load_high resolved']);
    const { records } = await readAlertHistory(second.files.history);
    expect(records.map(({ metadata }) => metadata.state)).toEqual(['firing', 'firing', 'resolved']);
  });

  test('evaluates at every interval until it is told to end', async () => {
    const stop = new AbortController();
    let reads = 0;
    const read = () => {
      reads += 1;
      if (reads === 3) stop.abort();
      return [];
    };
    const source = { read, close: () => {} };
    const watched = new Watched(temporary(), 0, { source, intervalMs: 10 });
    await watched.watch.run(stop.signal);

    expect(reads).toBe(3);
    expect(readHeartbeat(watched.files.heartbeat, seconds(0))).toMatchObject({
      state: 'stopped',
      evaluations: 3,
    });
  });

  test('does not die of what goes wrong in an evaluation', async () => {
    const watched = new Watched(temporary());
    watched.next = () => [null as unknown as MetricRecord];
    await watched.watch.tick();
    await watched.at(30, 11);
    rmSync(watched.files.directory, { recursive: true });
    await watched.at(60, 11);
    writeFileSync(watched.files.directory, 'in the way');
    await watched.at(90, 11);

    expect(watched.lines.join()).toContain('an evaluation failed');
    expect(watched.heard).toContain('load_high firing');
    rmSync(watched.files.directory);
    await watched.watch.close();
  });

  test('whose source fails says that the fabric is down', async () => {
    const watched = new Watched(temporary());
    watched.next = () => {
      throw new Error('no such fabric');
    };
    await watched.watch.tick();
    await watched.at(30, 5);

    expect(watched.heard).toEqual(['fabric_down firing', 'fabric_down resolved']);
    await watched.watch.close();
  });

  test('keeps a damaged state aside and begins anew', async () => {
    const dir = temporary();
    writeFileSync(join(dir, 'state.json'), '{"v":1,"instances":[{');
    const watched = new Watched(dir);
    await watched.at(0, 11);

    expect(watched.lines[0]).toContain('damaged');
    expect(watched.heard).toEqual(['load_high firing']);
    await watched.watch.close();
  });

  test('hears of silences that others set meanwhile', async () => {
    const watched = new Watched(temporary());
    const silences = new SilenceFiles(watched.files.silences);
    const silence = { alert: 'load_high', labels: {}, fromMs: 0, comment: '' };
    const { id } = silences.add({ ...silence, untilMs: seconds(1000) });
    await watched.at(0, 11);
    expect(watched.heard).toEqual([]);
    expect(silences.end(id, seconds(0))).toBe(true);
    await watched.at(30, 11);

    expect(watched.heard).toEqual(['load_high firing']);
    await watched.watch.close();
  });

  test('is alone with its state', async () => {
    const dir = temporary();
    const first = new Watched(dir);
    expect((await failureOf(() => new Watched(dir))).code).toBe('ERR_CFC_ALERTS_RUNNING');
    await first.watch.close();

    await new Watched(dir).watch.close();
  });

  test('takes the place of one that was killed', async () => {
    const dir = temporary();
    const child = spawn('sleep', ['1000']);
    onTestFinished(() => void child.kill('SIGKILL'));
    const dead = { pid: child.pid, startTicks: '1', boot: 'another', pidNamespace: '' };
    writeFileSync(join(dir, 'lock'), JSON.stringify(dead));

    await new Watched(dir).watch.close();
  });
});

describe('the sign of life', () => {
  test('tells a watch that runs from one that was stopped, one that is late, and none', async () => {
    const dir = temporary();
    const files = new AlertFiles(dir);
    expect(readHeartbeat(files.heartbeat, seconds(0)).state).toBe('never');
    const watched = new Watched(dir);
    await watched.at(0, 5);

    expect(readHeartbeat(files.heartbeat, seconds(90))).toMatchObject({
      state: 'running',
      pid: process.pid,
      lastBeatAtMs: seconds(0),
      intervalMs: 30_000,
      evaluations: 1,
    });
    expect(readHeartbeat(files.heartbeat, seconds(91)).state).toBe('dead');
    await watched.watch.close();
    expect(readHeartbeat(files.heartbeat, seconds(1000)).state).toBe('stopped');
  });

  test('of a process that is gone is none, however fresh', async () => {
    const dir = temporary();
    const watched = new Watched(dir);
    await watched.at(0, 5);
    const { heartbeat } = watched.files;
    const beat = JSON.parse(readFileSync(heartbeat, 'utf8'));
    const write = (changes: object) =>
      writeFileSync(heartbeat, JSON.stringify({ ...beat, ...changes }));

    write({ startTicks: '1' });
    expect(readHeartbeat(heartbeat, seconds(0)).state).toBe('dead');
    write({ pidNamespace: 'pid:[1]' });
    expect(readHeartbeat(heartbeat, seconds(0)).state).toBe('running');
    writeFileSync(heartbeat, '');
    expect(readHeartbeat(heartbeat, seconds(0)).state).toBe('dead');
    await watched.watch.close();
  });
});

describe('a file of metrics as a source', () => {
  const lines = (...values: number[]) =>
    values.map((value) => toLine(record('m', value, 0))).join('');

  function source(text = ''): { path: string; read: () => number[]; source: FileSource } {
    const path = join(temporary(), 'metrics.jsonl');
    writeFileSync(path, text);
    const made = new FileSource(path);
    onTestFinished(() => made.close());
    return { path, source: made, read: () => [...made.read()].map(({ value }) => value) };
  }

  test('gives each whole line once, as it comes', () => {
    const { path, read } = source(lines(1, 2));
    expect(read()).toEqual([1, 2]);
    const [half, rest] = [lines(3).slice(0, 20), lines(3).slice(20)];
    appendFileSync(path, half);
    expect(read()).toEqual([]);
    appendFileSync(path, rest + lines(4));

    expect(read()).toEqual([3, 4]);
  });

  test('follows a rotation by rename, with what was written last into the old file', () => {
    const { path, read } = source(lines(1));
    expect(read()).toEqual([1]);
    appendFileSync(path, lines(2));
    renameSync(path, `${path}.1`);
    expect(read()).toEqual([2]);
    appendFileSync(`${path}.1`, lines(3));
    writeFileSync(path, lines(4));

    expect(read()).toEqual([3, 4]);
  });

  test('begins anew in a file that was truncated', () => {
    const { path, read } = source(lines(1, 2));
    read();
    truncateSync(path);
    read();
    appendFileSync(path, lines(3));

    expect(read()).toEqual([3]);
  });

  test('counts lines that are no records, and skips a line without end', () => {
    const { path, read, source: made } = source(`${lines(1)}nonsense\n{"metric":"m"}\n`);
    expect(read()).toEqual([1]);
    appendFileSync(path, `${'x'.repeat(3 << 20)}\n${lines(2)}`);

    expect(read()).toEqual([2]);
    expect(made.unreadable).toBe(3);
  });

  test('that is not there is a failure', async () => {
    const made = new FileSource('/nowhere/metrics.jsonl');
    expect((await failureOf(() => [...made.read()])).code).toBe('ERR_CFC_SYSTEM');
  });
});
