// An exporter on bad days: killed, on a disk that is full, with its file renamed under it.
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Child, startChild } from '../support/child.js';
import { startCli } from '../support/cli.js';
import { needs, onTmpfs, unshare } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, sleep, testDirectory, until } from '../support/fabric.js';

const kills = Number(process.env.CFC_EXPORTER_KILLS ?? 12);
const renames = Number(process.env.CFC_EXPORTER_RENAMES ?? 4);

interface Line {
  metric: string;
  value: number;
  tags: Record<string, string>;
}

function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'cfc-exporter-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** Lines of all files in a folder. Fails where one is no JSON, a torn last line apart. */
function linesIn(folder: string, { torn = false } = {}): Line[] {
  return readdirSync(folder)
    .filter((name) => !name.includes('.state'))
    .flatMap((name) => {
      const lines = readFileSync(join(folder, name), 'utf8').split('\n');
      const last = lines.pop();
      if (!torn) expect(last).toBe('');
      return lines.map((line) => JSON.parse(line) as Line);
    });
}

const sum = (lines: readonly Line[], metric: string) =>
  lines.filter((line) => line.metric === metric).reduce((total, { value }) => total + value, 0);

/** Counts and sends as fast as it goes, until it is told to stop; says what that came to. */
function startBusy(dir: string): Child {
  return startChild(
    async ({ open, say }) => {
      const fabric = await open();
      const me = await fabric.join('busy');
      const [one, two] = [me.counter('things.one'), me.counter('things.two')];
      const histogram = me.histogram('things.size');
      let stopped = false;
      process.once('SIGTERM', () => {
        stopped = true;
      });
      say('ready');
      let rounds = 0;
      let messages = 0;
      while (!stopped) {
        for (let i = 0; i < 50; i += 1) {
          one.add(1);
          two.add(2);
          histogram.record(1 + (rounds % 1000));
          rounds += 1;
        }
        if (me.trySend('busy', 'x')) messages += 1;
        me.tryReceive()?.ack();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await fabric.close(); // what it counted is still to be read
      say({ rounds, messages });
    },
    { dir },
  );
}

test('killed again and again at random bytes: every line is whole, every sum exact', async () => {
  const evidence = evidenceOf('F4');
  const dir = testDirectory();
  const folder = testFolder();
  await openFabric({ dir });
  const busy = startBusy(dir);
  expect(await busy.heard()).toBe('ready');
  const words = ['metrics', 'export', '--out', join(folder, 'm.jsonl'), '--interval', '3ms'];
  const rotating = [...words, '--max-size', '60k', '--keep', '1000'];
  let midLine = 0;
  for (let i = 0; i < kills; i += 1) {
    const exporter = startCli(rotating, { dir });
    const before = sizeOf(folder);
    await until(() => sizeOf(folder) > before + 2000);
    await sleep(Math.random() * 25);
    exporter.process.kill('SIGKILL');
    await exporter.exited;
    const torn = readFileSync(join(folder, 'm.jsonl'), 'utf8').at(-1) ?? '\n';
    linesIn(folder, { torn: true });
    evidence.injected += 1;
    if (torn !== '\n') midLine += 1;
    evidence.hit += 1;
  }
  busy.process.kill('SIGTERM');
  const { rounds, messages } = await busy.heard<{ rounds: number; messages: number }>();
  const last = startCli(rotating, { dir });
  // It lives and renames files: to read them has to wait for its end.
  const begun = sizeOf(folder);
  await until(() => sizeOf(folder) > begun);
  await sleep(50);
  last.process.kill('SIGTERM');
  expect((await last.exited).code).toBe(0);

  const lines = linesIn(folder);
  expect(sum(lines, 'things.one')).toBe(rounds);
  expect(sum(lines, 'things.two')).toBe(2 * rounds);
  expect(sum(lines, 'coordination.message_sent')).toBe(messages);
  const recorded = lines.filter(({ metric }) => metric === 'things.size');
  expect(recorded.reduce((total, { tags }) => total + Number(tags.times ?? 1), 0)).toBe(rounds);
  console.info(`${kills} kills, ${midLine} of them in the middle of a line`);
});

function sizeOf(folder: string): number {
  return readdirSync(folder).reduce((total, name) => {
    try {
      return total + statSync(join(folder, name)).size;
    } catch {
      return total; // it was renamed meanwhile
    }
  }, 0);
}

test('renamed by others again and again while it writes: no line is lost', async () => {
  const evidence = evidenceOf('F26');
  const dir = testDirectory();
  const folder = testFolder();
  await openFabric({ dir });
  const busy = startBusy(dir);
  expect(await busy.heard()).toBe('ready');
  const file = join(folder, 'm.jsonl');
  const exporter = startCli(['metrics', 'export', '--out', file, '--interval', '2ms'], { dir });
  for (let i = 0; i < renames; i += 1) {
    await until(() => sizeOf(folder) > 0 && readdirSync(folder).includes('m.jsonl'));
    await sleep(Number(process.env.CFC_EXPORTER_RENAME_MS ?? 150));
    const bytes = statSync(file).size;
    renameSync(file, `${file}-${i}`);
    evidence.injected += 1;
    if (bytes > 0) evidence.hit += 1;
  }
  busy.process.kill('SIGTERM');
  const { rounds } = await busy.heard<{ rounds: number }>();
  await sleep(50);
  exporter.process.kill('SIGTERM');
  expect((await exporter.exited).code).toBe(0);

  expect(sum(linesIn(folder), 'things.one')).toBe(rounds);
});

describe('A disk of 1 MB', () => {
  test('that is full: agents go on, the loss is told, and the exporter goes on by itself', async (context) => {
    needs(context, unshare('--mount', 'true'));
    const evidence = evidenceOf('F13');
    const dir = testDirectory();
    const folder = testFolder();
    await openFabric({ dir });
    const busy = startBusy(dir);
    expect(await busy.heard()).toBe('ready');
    // In a namespace of its own, so what is there only it can see: it fills the disk itself.
    const exporter = startChild(
      async ({ metrics, open, say, args, sleep }) => {
        const fs = process.getBuiltinModule('node:fs');
        const fabric = await open();
        const file = `${args}/m.jsonl`;
        const told: string[] = [];
        const codeOf = (cause: unknown) =>
          (cause as { code?: string } | undefined)?.code ?? 'works';
        const exporter = new metrics.Exporter(fabric, {
          file,
          intervalMs: 5,
          maxBytes: 1e8,
          onProblem: (problem) => told.push(codeOf(problem?.cause)),
        });
        await exporter.start();
        for (let round = 0; round < 2; round += 1) {
          const ballast = `${args}/ballast`;
          try {
            for (;;) fs.appendFileSync(ballast, Buffer.alloc(4096));
          } catch {
            // full
          }
          while (told.length < 2 * round + 1) await sleep(5);
          const at = exporter.lines;
          await sleep(60);
          say({ wroteMeanwhile: exporter.lines - at, lost: exporter.lost });
          fs.rmSync(ballast);
          while (told.length < 2 * round + 2) await sleep(5);
        }
        const alive = setInterval(() => {}, 1000); // an exporter alone keeps no process running
        const asked = new Promise((resolve) => process.once('SIGTERM', resolve));
        say('works');
        await asked;
        clearInterval(alive);
        await exporter.stop();
        const text = fs.readFileSync(file, 'utf8');
        const lines = text.split('\n');
        const whole = lines.pop() === '';
        const records = lines.map((line) => JSON.parse(line) as { metric: string; value: number });
        const add = (name: string) =>
          records
            .filter(({ metric }) => metric === name)
            .reduce((sum, { value }) => sum + value, 0);
        const { lost } = exporter;
        say({ told, whole, lost, toldLost: add('metrics.lost'), one: add('things.one') });
      },
      { dir, args: folder, wrapper: onTmpfs(folder, 'size=1m') },
    );
    for (let round = 0; round < 2; round += 1) {
      const full = await exporter.heard<{ wroteMeanwhile: number; lost: number }>();
      expect(full.wroteMeanwhile).toBe(0);
      expect(full.lost).toBeGreaterThan(0);
      evidence.met();
    }
    expect(await exporter.heard()).toBe('works');
    busy.process.kill('SIGTERM');
    const { rounds } = await busy.heard<{ rounds: number }>();
    exporter.process.kill('SIGTERM');

    const { lost, ...end } = await exporter.heard<{ lost: number }>();
    expect(end).toEqual({
      told: ['ENOSPC', 'works', 'ENOSPC', 'works'],
      whole: true,
      toldLost: lost,
      one: rounds,
    });
  });
});
