import { Command, InvalidArgumentError, Option } from 'commander';
import { specOf } from '../index.js';
import { exitCodeHelp } from './outcome.js';

/** A verb with what all verbs have in common. */
export function verb(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .addHelpText('after', exitCodeHelp)
    .helpOption('-h, --help', 'show this');
}

export const fabricOption = () =>
  new Option('--fabric <name>', 'the fabric to use')
    .env(specOf('fabric').env)
    .default(specOf('fabric').default);

export const agentOption = (what: string) =>
  new Option('--agent <name>', what).env(specOf('agent').env);

export const jsonOption = () => new Option('--json', 'print JSON, for programs');

export const timeoutOption = (what: string) =>
  new Option('--timeout <time>', what).argParser(parseDuration);

export const profileOption = (what: string) => {
  const { env, default: usual, choices = [] } = specOf('profile');
  return new Option('--profile <size>', what).env(env).choices(choices).default(usual);
};

/** `500ms`, `5s`, `2m`, `1h`; a bare number is seconds. @returns milliseconds */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/.exec(text.trim());
  if (match === null) throw new InvalidArgumentError('A time is a number with ms, s, m or h.');
  const scale = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] ?? 's'] ?? 1000;
  return Number(match[1]) * scale;
}

export const routeOption = () =>
  new Option('--route <way>', 'to which members of a group').choices([
    'all',
    'least-loaded',
    'only-if-idle',
  ]);

/** `5` answers, or a share of the members: `90%`, `0.9`. */
export function parseQuorum(text: string): number | { count: number } {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  const share = percent === undefined ? Number(text) : Number(percent) / 100;
  if (percent === undefined && /^[1-9]\d*$/.test(text)) return { count: share };
  if ((percent !== undefined || /^[01]?\.\d+$/.test(text)) && share > 0 && share <= 1) return share;
  throw new InvalidArgumentError('It is a number of answers, or a share such as 90% or 0.9.');
}

/** Names of fabrics and agents. */
export function parseName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/.test(text)) return text;
  throw new InvalidArgumentError(
    'A name is up to 64 of A-Z a-z 0-9 _ -, the first a letter or digit.',
  );
}

/** For whole numbers within limits. */
export function parseCount(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw new InvalidArgumentError(`It is a whole number from ${least} to ${most}.`);
    }
    return value;
  };
}
