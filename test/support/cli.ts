import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { root } from './child.js';
import { sleep } from './fabric.js';

const program = join(root, 'dist', 'cli', 'main.js');

export interface CliOptions {
  dir: string;
  /** Written to stdin, which is then closed; left out, stdin stays open and silent. */
  input?: string | Uint8Array;
  env?: Record<string, string>;
  cwd?: string;
  /** A command that runs it: `prlimit --nofile=512`. */
  wrapper?: readonly string[];
}

export interface CliResult {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** `cfc` as it was built, in a process of its own; killed when the test is done. */
export class Cli {
  readonly process: ChildProcess;
  readonly exited: Promise<CliResult>;
  stdout = '';
  stderr = '';

  constructor(
    words: readonly string[],
    { dir, input, env = {}, cwd = root, wrapper = [] }: CliOptions,
  ) {
    const [command, ...rest] = [...wrapper, process.execPath, program, ...words];
    const child = spawn(command as string, rest, {
      cwd,
      stdio: 'pipe',
      env: {
        ...process.env,
        NODE_OPTIONS: '',
        CFC_DIR: dir,
        CFC_FABRIC: 'test',
        CFC_AGENT: undefined,
        ...env,
      },
    });
    this.process = child;
    child.stdin.on('error', () => {}); // it may end before it has read everything
    if (input !== undefined) child.stdin.end(input);
    child.stdout.on('data', (chunk) => {
      this.stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      this.stderr += chunk;
    });
    this.exited = once(child, 'close').then(([code, signal]) => {
      return { code, signal, stdout: this.stdout, stderr: this.stderr };
    });
    onTestFinished(async () => {
      child.kill('SIGKILL');
      await this.exited;
    });
  }

  get pid(): number {
    return this.process.pid as number;
  }

  /** Lines of JSON on stdout so far. */
  get lines(): Record<string, unknown>[] {
    return jsonLines(this.stdout);
  }
}

export function startCli(words: readonly string[], options: CliOptions): Cli {
  return new Cli(words, options);
}

/** Runs `cfc` to its end. Without `input` its stdin is empty. */
export function cli(words: readonly string[], options: CliOptions): Promise<CliResult> {
  return new Cli(words, { input: '', ...options }).exited;
}

/** Whole lines only. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

export interface Seen {
  pid: number;
  words: string[];
  /** It was forked and has not become a program of its own yet: the words are its parent's. */
  forked: boolean;
}

const forkedNotExecuted = 0x40; // PF_FORKNOEXEC of the kernel

function isForked(pid: string): boolean {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const flags = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[6];
  return (Number(flags) & forkedNotExecuted) !== 0;
}

/** Every process whose environment names `dir`: what a `cfc` of this test started, however deep. */
export function processesOf(dir: string): Seen[] {
  const seen: Seen[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const environment = readFileSync(`/proc/${entry}/environ`, 'latin1');
      if (!environment.split('\0').includes(`CFC_DIR=${dir}`)) continue;
      const forked = isForked(entry); // before its words: they may become its own meanwhile
      const words = readFileSync(`/proc/${entry}/cmdline`, 'latin1').split('\0').slice(0, -1);
      if (words.length > 0) seen.push({ pid: Number(entry), words, forked });
    } catch {
      // It ended meanwhile, or is not ours.
    }
  }
  return seen;
}

/**
 * The processes of a map job that play `role`. Not their children that are about to become the
 * command and still look like them: who is killed from this list a moment later may be the command
 * by then, and that it was killed is its true answer.
 */
export function nativesOf(dir: string, role: 'keeper' | 'coordinator' | 'worker'): number[] {
  return looksLike(dir, role)
    .filter(({ forked }) => !forked)
    .map(({ pid }) => pid);
}

/** Those children alone. */
export function forkedBy(dir: string, role: 'keeper' | 'coordinator' | 'worker'): number[] {
  return looksLike(dir, role)
    .filter(({ forked }) => forked)
    .map(({ pid }) => pid);
}

function looksLike(dir: string, role: string): Seen[] {
  return processesOf(dir)
    .filter(({ words }) => words[0] === 'cfc-native' || words[0]?.endsWith('/cfc-native'))
    .filter(({ words }) => words[1] === role);
}

function filesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

/**
 * Waits until no process and no file of a job is left. A process that stays, or a file, ends in the
 * time limit of the test.
 */
export async function untilNothingIsLeft(dir: string): Promise<void> {
  for (;;) {
    if (processesOf(dir).length === 0 && filesIn(dir).length === 0) return;
    await sleep(20);
  }
}

/** What is there right now. */
export function leftOf(dir: string): { processes: Seen[]; files: string[] } {
  return { processes: processesOf(dir), files: filesIn(dir) };
}

export const nothing = { processes: [], files: [] };
