import { readdirSync, readFileSync } from 'node:fs';

/**
 * The shims of a fabric that run, by pid: also those that have not joined it yet, of which the
 * directory knows nothing. Those in PID namespaces that we do not see are not among them.
 *
 * @param dir the folder of its fabrics, as the shims were given it
 */
export function shimsOf(fabric: string, dir: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && isShimOf(pid, fabric, dir));
}

/** By its arguments, as `shimArguments` makes them. */
export function isShimOf(pid: number, fabric: string, dir: string): boolean {
  const words = argumentsOf(pid);
  if (words[1] !== 'shim') return false;
  const following = (option: string) => words[words.indexOf(option) + 1];
  return following('--fabric') === fabric && following('--dir') === dir;
}

function argumentsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // it has ended
  }
}
