import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { arch, platform } from 'node:process';

// Node cannot ask the system to write everything out, so a helper does, for as long as we live: a
// byte in, sync(2), a byte out. That costs two pipe operations more than the call alone.
const program = 'while (sysread(STDIN, $_, 1)) { syscall($ARGV[0]); syswrite(STDOUT, "1", 1) }';
const syscallNumbers: Readonly<Record<string, number>> = { x64: 162, arm64: 81 };

/**
 * What `sync` does, without starting a process each time.
 *
 * @returns undefined where there is no Perl, or the machine's number for the call isn't known
 */
export function openSystemSync(): (() => void) | undefined {
  const number = syscallNumbers[arch];
  if (platform !== 'linux' || number === undefined) return undefined;
  const dir = mkdtempSync('/dev/shm/cfc-bench-sync-');
  try {
    execFileSync('perl', ['-e', '1']);
    const [ask, answer] = [`${dir}/ask`, `${dir}/answer`];
    execFileSync('mkfifo', [ask, answer]);
    // Ours open both ways, so that opening waits for nobody; the helper's one way, so that it ends
    // when we do.
    const [asking, answering] = [openSync(ask, 'r+'), openSync(answer, 'r+')];
    const [asked, answered] = [openSync(ask, 'r'), openSync(answer, 'w')];
    spawn('perl', ['-e', program, String(number)], { stdio: [asked, answered, 'ignore'] }).unref();
    closeSync(asked);
    closeSync(answered);
    const byte = Buffer.alloc(1);
    return () => {
      writeSync(asking, byte);
      readSync(answering, byte);
    };
  } catch {
    return undefined;
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
