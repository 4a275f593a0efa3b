import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect, onTestFinished, test } from 'vitest';
import { memoryBelow } from '../../../../src/agents/supervisor/tree-memory.js';
import { until } from '../../../support/fabric.js';

test('Memory below a process is that of all its descendants, and none where it is gone', async () => {
  const before = memoryBelow(process.pid);
  const child = spawn('sh', ['-c', 'sleep 1000 & wait'], { detached: true, stdio: 'ignore' });
  const pid = child.pid as number;
  const ended = once(child, 'exit');
  onTestFinished(async () => {
    process.kill(-pid, 'SIGKILL');
    await ended;
  });
  await until(() => memoryBelow(pid) > 0);

  expect(memoryBelow(process.pid)).toBeGreaterThan(before);
  expect(memoryBelow(process.pid)).toBeGreaterThan(memoryBelow(pid));
  expect(memoryBelow(2 ** 22 + 1)).toBe(0);
});

test('What a thread of a process started is below that process too', async () => {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const child = require('node:child_process').spawn('sleep', ['1000'], { stdio: 'ignore' });
     parentPort.postMessage(child.pid);`,
    { eval: true },
  );
  const [pid] = (await once(worker, 'message')) as [number];
  onTestFinished(async () => {
    process.kill(pid, 'SIGKILL');
    await worker.terminate();
  });

  expect(memoryBelow(process.pid)).toBeGreaterThan(0);
});
