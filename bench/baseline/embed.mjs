// Writes file-ipc.sh into src/cli/bench as text: npm ships compiled TypeScript, and `cfc bench`
// runs the script wherever the package is installed. A test holds the two against each other.
import { readFileSync, writeFileSync } from 'node:fs';

const script = readFileSync(new URL('file-ipc.sh', import.meta.url), 'utf8');
const target = new URL('../../src/cli/bench/file-ipc-script.ts', import.meta.url);
const text = script.replace(/[\\`]|\$\{/g, '\\$&');
writeFileSync(
  target,
  `// Made from bench/baseline/file-ipc.sh by bench/baseline/embed.mjs: edit it there.\nexport const fileIpcScript = \`${text}\`;\n`,
);
