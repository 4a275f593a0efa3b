// An exporter whose disk fails: each call gives EIO, until the disk is put in its place again.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startChild } from '../support/child.js';
import { needs, unshare } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { openFabric, testDirectory } from '../support/fabric.js';

/** Runs what follows with an ext4 at `folder`/mounted, and `folder`/disk to name it by. */
function onDisk(folder: string): string[] {
  const script = `
    cd "$0" && truncate -s 8M image && mkfs.ext4 -q -F image && mkdir mounted &&
    mount -o loop image mounted && ln -s mounted disk && cd "$OLDPWD" && exec "$@"`;
  return [...unshare('--mount'), 'sh', '-c', script, folder];
}

test('agents go on under a disk that fails, and the exporter does when it works again', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'cfc-exporter-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const tried = mkdtempSync(join(folder, 'tried-'));
  needs(context, ['python3', '-V'], [...onDisk(tried), 'true']);
  const evidence = evidenceOf('F13');
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const counter = (await fabric.join('busy')).counter('things.one');
  const exporter = startChild(
    async ({ metrics, open, say, args, sleep }) => {
      const fs = process.getBuiltinModule('node:fs');
      const { execFileSync, spawnSync } = process.getBuiltinModule('node:child_process');
      const file = `${args}/disk/m.jsonl`;
      const told: string[] = [];
      const codeOf = (cause: unknown) => (cause as { code?: string } | undefined)?.code ?? 'works';
      const exporter = new metrics.Exporter(await open(), {
        file,
        intervalMs: 5,
        onProblem: (problem) => told.push(codeOf(problem?.cause)),
      });
      await exporter.start();
      while (exporter.lines === 0) await sleep(5);
      // EXT4_IOC_SHUTDOWN, with what is in memory written down.
      const shutDown = [
        'import fcntl, os, struct, sys',
        'fd = os.open(sys.argv[1], os.O_RDONLY)',
        'fcntl.ioctl(fd, 0x8004587d, struct.pack("I", 0))',
      ].join('\n');
      execFileSync('python3', ['-c', shutDown, `${args}/mounted`]);
      while (told.length < 1) await sleep(5);
      const linesBefore = exporter.lines;
      await sleep(60);
      say({ wroteMeanwhile: exporter.lines - linesBefore, lost: exporter.lost });
      // Nothing writes below the place where the disk belongs.
      fs.unlinkSync(`${args}/disk`);
      while (spawnSync('umount', [`${args}/mounted`]).status !== 0) await sleep(20);
      execFileSync('mount', ['-o', 'loop', `${args}/image`, `${args}/mounted`]);
      fs.symlinkSync('mounted', `${args}/disk`);
      while (told.length < 2) await sleep(5);
      const alive = setInterval(() => {}, 1000); // an exporter alone keeps no process running
      const asked = new Promise((resolve) => process.once('SIGTERM', resolve));
      say('works');
      await asked;
      clearInterval(alive);
      await exporter.stop();
      const lines = fs.readFileSync(file, 'utf8').split('\n');
      const whole = lines.pop() === '';
      const records = lines.map((line) => JSON.parse(line) as { metric: string; value: number });
      const sum = (name: string) =>
        records.filter(({ metric }) => metric === name).reduce((all, { value }) => all + value, 0);
      const { lost } = exporter;
      say({ told, whole, lost, toldLost: sum('metrics.lost'), one: sum('things.one') });
    },
    { dir, args: folder, wrapper: onDisk(folder) },
  );
  let counted = 0;
  const working = setInterval(() => {
    counter.add(1);
    counted += 1;
  }, 1);
  onTestFinished(() => clearInterval(working));

  const failed = await exporter.heard<{ wroteMeanwhile: number; lost: number }>();
  const countedWhileFailed = counted;
  expect(await exporter.heard()).toBe('works');
  clearInterval(working);
  exporter.process.kill('SIGTERM');
  const { lost, ...end } = await exporter.heard<{ lost: number }>();

  expect(failed.wroteMeanwhile).toBe(0);
  expect(failed.lost).toBeGreaterThan(0);
  expect(counted).toBeGreaterThan(countedWhileFailed);
  expect(end).toEqual({ told: ['EIO', 'works'], whole: true, toldLost: lost, one: counted });
  evidence.met();
});
