// Much of one thing, counted to the last: native/test/load.cc, built and run.
//
//   npm run ledger [-- --messages 1e8]
//   npm run liveness [-- --checks 1e6 --oversubscription 8]
//
// Prints one JSON line with injected / hit / violations, as the program does, and ends as it does.

import { spawnSync } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './lib.mjs';

const [what = '', ...rest] = process.argv.slice(2);
run(join(root, 'scripts', 'test-native.sh'), ['gcc', '--build', 'load'], {
  stdio: ['ignore', 'ignore', 'inherit'],
});
const program = join(root, 'native', 'build', 'gcc', 'load');
const { status, stdout } = spawnSync(program, [what, ...rest], {
  stdio: ['ignore', 'pipe', 'inherit'],
  encoding: 'utf8',
});
process.stdout.write(stdout);
if (process.env.CFC_EVIDENCE && stdout !== '') {
  const { injected, hit, violations } = JSON.parse(stdout);
  const line = { fault: what, test: `npm run ${what}`, injected, hit, violations };
  appendFileSync(process.env.CFC_EVIDENCE, `${JSON.stringify(line)}\n`);
}
process.exitCode = status ?? 1;
