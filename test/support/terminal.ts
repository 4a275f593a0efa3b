import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { root } from './child.js';

const program = join(root, 'dist', 'cli', 'main.js');

export interface TerminalOptions {
  dir: string;
  /** Written to stdin by `printf`, through a pipe. */
  input?: string;
  env?: Record<string, string>;
  cwd?: string;
}

/** Runs `cfc` on a terminal of its own: stdout and stderr together, as a person sees them. */
export async function onTerminal(
  words: readonly string[],
  { dir, input = '', env = {}, cwd = root }: TerminalOptions,
): Promise<{ code: number; shown: string }> {
  const quoted = [process.execPath, program, ...words].map(
    (word) => `'${word.replaceAll("'", "'\\''")}'`,
  );
  const command = input === '' ? quoted.join(' ') : `printf '${input}' | ${quoted.join(' ')}`;
  const child = spawn('script', ['--quiet', '--return', '--command', command, '/dev/null'], {
    cwd,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      ...process.env,
      CFC_DIR: dir,
      CFC_FABRIC: 'test',
      TERM: 'xterm',
      NO_COLOR: '',
      ...env,
    },
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  let shown = '';
  child.stdout.on('data', (chunk) => {
    shown += chunk;
  });
  const [code] = await once(child, 'close');
  return { code: code as number, shown: shown.replaceAll('\r\n', '\n') };
}
