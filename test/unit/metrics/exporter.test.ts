import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Fabric } from '../../../src/index.js';
import { Exporter, type ExporterOptions } from '../../../src/metrics/exporter.js';
import type { MetricRecord } from '../../../src/metrics/record.js';
import { failureOf, openFabric, range, until } from '../../support/fabric.js';

const never = 3_600_000;

function testFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cfc-export-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'metrics.jsonl');
}

async function startExporter(
  fabric: Fabric,
  file: string,
  options: Partial<ExporterOptions> = {},
): Promise<Exporter> {
  const quiet = { intervalMs: never, eventsMs: never };
  const exporter = new Exporter(fabric, { file, ...quiet, ...options });
  await exporter.start();
  onTestFinished(() => exporter.stop());
  return exporter;
}

/** Every line of a file and of those that were put away; fails where one is not whole. */
function recordsOf(...files: string[]): MetricRecord[] {
  return files.flatMap((file) => {
    const bytes = readFileSync(file);
    const text = (file.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString();
    expect(text === '' || text.endsWith('\n')).toBe(true);
    return text
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as MetricRecord);
  });
}

const all = (file: string) =>
  readdirSync(join(file, '..'))
    .filter((name) => name.startsWith('metrics.jsonl') && !name.includes('.state'))
    .map((name) => join(file, '..', name));

function sum(records: readonly MetricRecord[], metric: string): number {
  return records.filter((one) => one.metric === metric).reduce((a, { value }) => a + value, 0);
}

/** A fabric in which `count()` counts. */
async function countingFabric() {
  const fabric = await openFabric();
  const alice = await fabric.join('alice');
  const counter = alice.counter('things');
  return { fabric, alice, count: (amount = 1) => counter.add(amount) };
}

describe('An exporter', () => {
  test('of a fabric that was closed before it says so once, and ends in good order', async () => {
    const { fabric } = await countingFabric();
    const problems: (string | undefined)[] = [];
    const exporter = await startExporter(fabric, testFile(), {
      eventsMs: 5,
      onProblem: (problem) => problems.push(problem?.code),
    });
    await fabric.close();
    await until(() => problems.length > 0);
    await exporter.flush();
    await exporter.stop();

    expect(problems).toEqual(['ERR_CFC_MAILBOX_CLOSED']);
  });

  test('writes records whose sums are what was counted', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    count(3);
    const exporter = await startExporter(fabric, file);
    count(4);
    await exporter.flush();
    count(5);
    await exporter.stop();

    const records = recordsOf(file);
    expect(sum(records, 'things')).toBe(12);
    expect(records.filter(({ metric }) => metric === 'things')).toHaveLength(3);
    expect(exporter.lines).toBe(records.length);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  test('writes by itself, every interval, and events as they happen', async () => {
    const { fabric, alice, count } = await countingFabric();
    const file = testFile();
    await startExporter(fabric, file, { intervalMs: 50, eventsMs: 10 });
    count(2);
    await until(() => sum(recordsOf(file), 'things') === 2);

    const late = testFile();
    await startExporter(fabric, late, { intervalMs: never, eventsMs: 10 });
    await alice.publish('cfc.events', { at: Date.now(), event: 'exited', agent: 'x' });
    await until(() => sum(recordsOf(late), 'agent.event') === 1);
  });

  test('goes on from where an earlier one was killed', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    count(1);
    await startExporter(fabric, file); // never stopped: it dies here
    count(2);
    await startExporter(fabric, file);
    count(4);
    await (await startExporter(fabric, file)).stop();

    expect(sum(recordsOf(file), 'things')).toBe(7);
  });

  test('killed at any byte of a batch, leaves nothing out and tells nothing twice', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    count(1);
    const first = await startExporter(fabric, file);
    const before = statSync(file).size;
    count(10);
    await first.flush();
    const whole = readFileSync(file);
    const state = readFileSync(`${file}.state`);
    expect(whole.length - before).toBeGreaterThan(200);

    // As it stands when the exporter dies with so many bytes of its second batch in the file.
    for (let size = before; size <= whole.length; size += 1) {
      truncateSync(file, size);
      writeFileSync(`${file}.state`, state);
      await (await startExporter(fabric, file)).stop();
      const records = recordsOf(file);
      expect(sum(records, 'things')).toBe(11);
      expect(readFileSync(file).subarray(0, whole.length).equals(whole)).toBe(true);
      writeFileSync(file, whole);
    }
  });

  test('cuts off a torn last line that is none of its own', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    const line = '{"timestamp":"2026-01-02T03:04:05.678Z","metric":"old","value":1}\n';
    for (let size = 0; size < line.length; size += 7) {
      writeFileSync(file, line + line.slice(0, size));
      rmSync(`${file}.state`, { force: true });
      await (await startExporter(fabric, file)).stop();
      expect(sum(recordsOf(file), 'old')).toBe(1);
    }
    count(0);
  });

  test('puts files away by their size, keeps so many, and packs all but the newest', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    const exporter = await startExporter(fabric, file, { maxBytes: 900, keep: 3, gzip: true });
    for (const i of range(30)) {
      count(i);
      await exporter.flush();
    }
    await exporter.stop();

    const names = readdirSync(join(file, '..')).toSorted();
    expect(names).toEqual([
      'metrics.jsonl',
      'metrics.jsonl.1',
      'metrics.jsonl.2.gz',
      'metrics.jsonl.3.gz',
      'metrics.jsonl.state',
    ]);
    for (const path of all(file)) expect(recordsOf(path).length).toBeGreaterThan(0);
    expect(statSync(file).size).toBeLessThanOrEqual(900);
  });

  test('loses no line while files are put away, by itself or by another', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    const exporter = await startExporter(fabric, file, { maxBytes: 2000, keep: 100 });
    for (const i of range(60)) {
      count(1);
      await exporter.flush();
      if (i % 7 === 0) renameSync(file, `${file}-${i}`);
    }
    await exporter.stop();

    expect(sum(recordsOf(...all(file)), 'things')).toBe(60);
  });

  test('ends a batch in the file that was renamed while it was dead', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    count(1);
    const first = await startExporter(fabric, file);
    const { size } = statSync(file);
    count(2);
    await first.flush();
    truncateSync(file, size + 10);
    renameSync(file, `${file}.1`);
    await (await startExporter(fabric, file)).stop();

    expect(sum(recordsOf(file, `${file}.1`), 'things')).toBe(3);
  });

  test('removes what was put away too long ago', async () => {
    const { fabric } = await countingFabric();
    const file = testFile();
    for (const n of [1, 2]) writeFileSync(`${file}.${n}`, '');
    writeFileSync(`${file}.notes`, '');
    const long = Date.now() / 1000 - 100;
    utimesSync(`${file}.2`, long, long);
    await (await startExporter(fabric, file, { retentionMs: 50_000 })).stop();

    expect(existsSync(`${file}.1`)).toBe(true);
    expect(existsSync(`${file}.2`)).toBe(false);
    expect(existsSync(`${file}.notes`)).toBe(true);
  });

  test('that finds every write refused says so, loses gauges only, and counts them', async () => {
    const { fabric, count } = await countingFabric();
    const problems: (string | undefined)[] = [];
    const onProblem = (problem: Error | undefined) =>
      problems.push((problem?.cause as NodeJS.ErrnoException | undefined)?.code);
    count(5);
    const exporter = await startExporter(fabric, '/dev/full', { onProblem });
    await exporter.flush();
    await exporter.flush();

    expect(problems).toEqual(['ENOSPC']);
    expect(exporter.problem?.code).toBe('ERR_CFC_EXPORT_IO');
    expect(exporter.lines).toBe(0);
    expect(exporter.lost).toBeGreaterThan(0);
    expect(existsSync('/dev/full.state')).toBe(false);
  });

  test('goes on by itself once it may write again, and says what is lost', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    const problems: boolean[] = [];
    const onProblem = (problem: Error | undefined) => problems.push(problem !== undefined);
    const exporter = await startExporter(fabric, file, { onProblem });
    // Whoever makes a folder of it stands in for a file system that went away.
    rmSync(`${file}.state`);
    rmSync(file);
    const { mkdirSync, rmdirSync } = await import('node:fs');
    mkdirSync(file);
    count(3);
    await exporter.flush();
    const { lost } = exporter;
    rmdirSync(file);
    count(4);
    await exporter.flush();

    expect(problems).toEqual([true, false]);
    const records = recordsOf(file);
    expect(sum(records, 'things')).toBe(7);
    expect(lost).toBeGreaterThan(0);
    expect(sum(records, 'metrics.lost')).toBe(lost);
  });

  test('of a fabric that was made anew begins from nothing', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    count(5);
    await (await startExporter(fabric, file)).stop();
    const other = await countingFabric();
    other.count(2);
    await (await startExporter(other.fabric, file)).stop();

    expect(sum(recordsOf(file), 'things')).toBe(7);
  });

  test('takes a state that nobody can read for none', async () => {
    const { fabric, count } = await countingFabric();
    for (const junk of ['', 'x\ny\n', '{"v":1,"bytes":3}\n{}\nab', '{"v":2,"bytes":0}\n{}\n']) {
      const file = testFile();
      writeFileSync(`${file}.state`, junk);
      count(1);
      await (await startExporter(fabric, file)).stop();
      expect(sum(recordsOf(file), 'things')).toBeGreaterThan(0);
    }
  });

  test('fails to start where the file cannot be made, and for options out of range', async () => {
    const { fabric } = await countingFabric();
    const nowhere = new Exporter(fabric, { file: '/nowhere/metrics.jsonl' });

    expect((await failureOf(nowhere.start())).code).toBe('ERR_CFC_EXPORT_IO');
    const bad = await failureOf(() => new Exporter(fabric, { file: 'x', intervalMs: 0 }));
    expect(bad.code).toBe('ERR_CFC_USAGE');
  });

  test('appends to what is there', async () => {
    const { fabric, count } = await countingFabric();
    const file = testFile();
    appendFileSync(file, '{"timestamp":"2026-01-02T03:04:05.678Z","metric":"old","value":1}\n');
    count(1);
    await (await startExporter(fabric, file)).stop();

    expect(recordsOf(file)[0]?.metric).toBe('old');
  });
});
