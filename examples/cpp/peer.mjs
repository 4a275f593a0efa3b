// The Node side of the C++ example: sends lines, expects them back in capitals, in order.
//
//   node peer.mjs PROGRAM
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Fabric } from 'cfc';

const lines = Array.from({ length: 1000 }, (_, i) => `line ${i} ${'x'.repeat((i * 37) % 2000)}`);
const dir = mkdtempSync('/dev/shm/cfc-example-');
const fabric = await Fabric.open('example', { create: true, dir });
const program = spawn(process.argv[2], ['example', dir], { stdio: 'inherit' });
try {
  const ended = once(program, 'exit');
  const me = await fabric.join('peer');
  while (!fabric.snapshot().some(({ name }) => name === 'upper')) {
    if (program.exitCode !== null) throw new Error(`the program ended with ${program.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }

  const sending = (async () => {
    for (const line of lines) await me.send('upper', line);
    await me.send('upper', 'bye', { type: 'stop' });
  })();
  for (const line of [...lines, 'bye']) {
    const message = await me.receive({ timeoutMs: 30_000 });
    if (message?.text() !== line.toUpperCase()) throw new Error(`got ${message?.text()}`);
    message.ack();
  }
  await sending;

  const [code] = await ended;
  if (code !== 0) throw new Error(`the program ended with ${code}`);
  const { acked, queued } = fabric.census();
  console.log(`${lines.length + 1} lines there and back: ${acked} acked, ${queued} queued`);
  if (acked !== 2 * (lines.length + 1) || queued !== 0) process.exitCode = 1;
} finally {
  program.kill('SIGKILL');
  await fabric.close();
  rmSync(dir, { recursive: true, force: true });
}
