import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { TestContext } from 'vitest';
import { root } from './child.js';

const isRoot = process.getuid?.() === 0;
/** A user that owns nothing. */
export const stranger = 65534;

/** Why this machine does not run `command`; undefined where it does. */
function refusalOf(command: readonly string[]): string | undefined {
  const [program, ...args] = command;
  const { status, error, stderr } = spawnSync(program as string, args, { encoding: 'utf8' });
  if (status === 0) return undefined;
  return `${command.join(' ')}: ${error?.message ?? stderr.trim()}`;
}

/**
 * Ends the test, as skipped and with the reason, where the machine does not allow what it needs. As
 * root on a plain Debian machine nothing is skipped.
 */
export function needs(context: TestContext, ...commands: (readonly string[])[]): void {
  for (const command of commands) {
    const refusal = refusalOf(command);
    if (refusal !== undefined) {
      console.warn(`not checked here: ${context.task.name}: ${refusal}`);
      context.skip(refusal);
    }
  }
}

/** `unshare` with these namespaces; a user namespace first, for whoever is not root. */
export function unshare(...options: readonly string[]): string[] {
  return ['unshare', ...(isRoot ? [] : ['--map-root-user']), ...options];
}

/** Runs what follows with a tmpfs of its own at `dir`. */
export function onTmpfs(dir: string, options: string): string[] {
  const script = `mount -t tmpfs -o ${options} cfc-test "$0" && exec "$@"`;
  return [...unshare('--mount'), 'sh', '-c', script, dir];
}

/**
 * Runs what follows, which is in a mount namespace of its own, where other users reach this
 * repository and Node although both may lie in somebody's home: root's is closed to others, and the
 * strangers failed for that in a clone below it.
 */
export function openToOthers(): string[] {
  const paths = [root, dirname(dirname(process.execPath))];
  const closed = new Set(paths.flatMap((path) => closedAbove(path) ?? []));
  if (closed.size === 0) return [];
  const script = `
    aside=$(mktemp -d) && mkdir "$aside/0" "$aside/1"
    mount --bind "$0" "$aside/0" && mount --bind "$1" "$aside/1" || exit
    for folder in ${[...closed].map((_, i) => `"$${i + 2}"`).join(' ')}; do
      mount -t tmpfs -o mode=755 cfc-test "$folder" || exit
    done
    mkdir -p "$0" "$1" && mount --bind "$aside/0" "$0" && mount --bind "$aside/1" "$1" || exit
    umount "$aside/0" "$aside/1" && rm -r "$aside" && cd "$0" || exit
    shift ${closed.size + 1}; exec "$@"`;
  return ['sh', '-c', script, ...paths, ...closed];
}

/** The topmost folder above `path` that other users can't go through. */
function closedAbove(path: string): string | undefined {
  const above = dirname(path);
  if (above === path) return undefined;
  return closedAbove(above) ?? (statSync(above).mode & 1 ? undefined : above);
}

/** Runs what follows in a PID namespace of its own, as its first process; it goes with that. */
export function inPidNamespace(): string[] {
  return unshare('--pid', '--fork', '--kill-child', '--mount-proc');
}

/** Runs what follows as another user. */
export function asStranger(): string[] {
  return [
    'setpriv',
    `--reuid=${stranger}`,
    `--regid=${stranger}`,
    '--clear-groups',
    '--inh-caps=-all',
  ];
}

/**
 * Compiles a small program (or, with `shared`, a library to preload) from native/test, unless that
 * was done since it last changed.
 */
export function compiled(name: string, { shared = false } = {}): string {
  const folder = join(root, 'native', 'build', 'tools');
  const source = join(root, 'native', 'test', `${name}.cc`);
  const target = join(folder, shared ? `${name}.so` : name);
  if (existsSync(target) && statSync(target).mtimeMs > statSync(source).mtimeMs) return target;
  mkdirSync(folder, { recursive: true });
  const fresh = `${target}.${process.pid}`;
  const kind = shared ? ['-shared', '-fPIC'] : [];
  try {
    execFileSync('g++', ['-std=c++20', '-O1', '-Wall', ...kind, '-o', fresh, source, '-ldl']);
    renameSync(fresh, target);
  } finally {
    rmSync(fresh, { force: true });
  }
  return target;
}
