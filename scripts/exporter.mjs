// Kills an exporter, renames its files and fills its disk, more often than on every change:
// test/process/exporter.test.ts with other numbers.
//
//   npm run exporter [-- --kills 200 --renames 30 --rename-ms 2000]

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root } from './lib.mjs';
import { optionsOf } from './options.mjs';

const { values } = optionsOf(import.meta.url, {
  options: {
    kills: { type: 'string', default: '200' },
    renames: { type: 'string', default: '30' },
    'rename-ms': { type: 'string', default: '2000' },
  },
});
const { status } = spawnSync(
  join(root, 'node_modules', '.bin', 'vitest'),
  ['run', 'test/process/exporter.test.ts', '--testTimeout', '3600000'],
  {
    cwd: root,
    stdio: 'inherit',
    env: {
      ...process.env,
      CFC_EXPORTER_KILLS: values.kills,
      CFC_EXPORTER_RENAMES: values.renames,
      CFC_EXPORTER_RENAME_MS: values['rename-ms'],
    },
  },
);
process.exitCode = status ?? 1;
