// What startChild and startWorker run: a function of the test, given as text, in a process or a
// worker thread of its own. See child.ts.

import { isMainThread, parentPort, workerData } from 'node:worker_threads';
import * as cfc from 'cfc';
import * as metrics from 'cfc/metrics';

const { source, args, dir } = isMainThread ? JSON.parse(process.env.CFC_TEST_CHILD) : workerData;
const say = (value) => {
  if (isMainThread) process.stdout.write(`${JSON.stringify(value)}\n`);
  else parentPort.postMessage(value);
};

const context = {
  cfc,
  metrics,
  args,
  dir,
  say,
  open: (options = {}) => cfc.Fabric.open('test', { dir, ...options }),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

const body = new Function(`return (${source})`)();
try {
  await body(context);
} catch (error) {
  say({ failed: error.code ?? error.message, stack: error.stack });
  process.exitCode = 1;
}
