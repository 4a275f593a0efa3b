import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { AlertHistory } from './history.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Where the alerts of a fabric keep what outlives their watch. */
export class AlertFiles {
  readonly directory: string;

  constructor(directory: string) {
    this.directory = resolve(directory);
  }

  /**
   * `CFC_STATE_DIR`, else `$XDG_STATE_HOME/cfc`, else `~/.local/state/cfc`; below it a directory for
   * each fabric. Fabrics of another `CFC_DIR` have one of their own.
   */
  static of(fabric: string, env: Environment = process.env): AlertFiles {
    const xdg = env.XDG_STATE_HOME;
    const state =
      env.CFC_STATE_DIR || (xdg ? join(xdg, 'cfc') : join(homedir(), '.local/state/cfc'));
    const base = env.CFC_DIR;
    const suffix = base
      ? `@${createHash('sha256').update(resolve(base)).digest('hex').slice(0, 8)}`
      : '';
    return new AlertFiles(join(state, 'alerts', `${fabric}${suffix}`));
  }

  /** Another file that alerts are appended to, with the same retention. */
  static openLog(path: string): AlertHistory {
    return new AlertHistory(resolve(path));
  }

  get state(): string {
    return join(this.directory, 'state.json');
  }

  get history(): string {
    return join(this.directory, 'alerts.jsonl');
  }

  get heartbeat(): string {
    return join(this.directory, 'heartbeat.json');
  }

  get lock(): string {
    return join(this.directory, 'lock');
  }

  get silences(): string {
    return join(this.directory, 'silences');
  }

  /** @param name of a sink, such as `webhook` */
  queue(name: string, target: string): string {
    const print = createHash('sha256').update(target).digest('hex').slice(0, 8);
    return join(this.directory, `queue-${name}-${print}.json`);
  }
}
