import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { startAgents } from '../../src/index.js';
import type { MetricRecord } from '../../src/metrics/index.js';
import { openFabric, sleep, testDirectory, until } from '../support/fabric.js';

// What a command under a shim takes is told of its tree, not of the shim.

const mebibyte = 2 ** 20;
const grownBytes = 96 * mebibyte;
const opened = 40;

// Grows and works when it is told to, by a file.
const growing = `
  const fs = require('node:fs');
  const kept = [];
  setInterval(() => {
    if (kept.length > 0 || !fs.existsSync(process.argv[1])) return;
    kept.push(Buffer.alloc(${grownBytes}, 1));
    for (let i = 0; i < ${opened}; i += 1) kept.push(fs.openSync('/dev/null'));
    setInterval(() => {
      const until = performance.now() + 50;
      while (performance.now() < until);
    }, 50);
  }, 20);
  fs.writeFileSync(process.argv[1] + '.ready', '');
`;

test('memory, descriptors and load of a shimmed command are those of all its processes', async () => {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const grow = join(dir, 'grow');
  const [agent] = startAgents(fabric, [
    {
      name: 'grower',
      // A grandchild of the shim grows: the shell stays what was started.
      command: ['bash', '-c', '"$0" -e "$1" "$2"; true', process.execPath, growing, grow],
    },
  ]);
  if (agent === undefined) throw new Error('nothing was started');
  const commandPid = await agent.started;
  onTestFinished(async () => {
    fabric.control('grower', 'stop', { kill: true });
    await until(() => fabric.snapshot().every(({ liveness }) => liveness === 'left'));
  });

  const sampler = fabric.sampler();
  let last = new Map<string, MetricRecord>();
  const look = () => {
    const records = sampler.sample().filter(({ tags }) => tags.agent === 'grower');
    last = new Map(records.map((record) => [record.metric, record]));
    return (metric: string) => last.get(metric)?.value ?? 0;
  };
  await until(() => existsSync(`${grow}.ready`));
  const before = look();
  const [memoryBefore, openBefore] = [before('system.memory_mb'), before('system.open_fds')];

  writeFileSync(grow, '');
  await until(() => look()('system.memory_mb') - memoryBefore > (0.9 * grownBytes) / 1e6);
  await until(() => look()('system.open_fds') - openBefore >= opened);
  do await sleep(200);
  while (!(look()('system.load_per_cpu') > 0.05));

  const tags = last.get('system.memory_mb')?.tags ?? {};
  expect(Number(tags.pid)).toBe(commandPid);
  const startedAgoMs = Date.now() - Number(tags.started);
  expect(startedAgoMs).toBeGreaterThan(0);
  expect(startedAgoMs).toBeLessThan(240_000);
});
