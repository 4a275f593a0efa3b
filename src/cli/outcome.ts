import { CfcError, type CfcErrorCode } from '../index.js';

/** What each exit code means, as every help page says. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  timedOut: 4,
  full: 5,
  refused: 6,
  noReader: 7,
  partly: 8,
  /** Of `health` alone, whose 2 says degraded. */
  healthUsage: 64,
  interrupted: 130,
} as const;

export const exitCodeHelp = `
Exit codes:
  0  done                           5  mailbox or topic full
  1  failed                         6  refused
  2  usage                          7  no live reader
  3  no such fabric or agent        8  partly delivered
  4  timed out, or nothing there  130  interrupted`;

const codeOfError: Partial<Record<CfcErrorCode, number>> = {
  ERR_CFC_USAGE: exitCodes.usage,
  ERR_CFC_CONFIG_INVALID: exitCodes.usage,
  ERR_CFC_NO_FABRIC: exitCodes.notFound,
  ERR_CFC_NO_AGENT: exitCodes.notFound,
  ERR_CFC_TIMED_OUT: exitCodes.timedOut,
  ERR_CFC_MAILBOX_FULL: exitCodes.full,
  ERR_CFC_TOPIC_FULL: exitCodes.full,
  ERR_CFC_FORBIDDEN: exitCodes.refused,
  ERR_CFC_NO_READER: exitCodes.noReader,
  ERR_CFC_PARTLY_DELIVERED: exitCodes.partly,
};

/** Ends a verb with a code and a line of its own, where no {@link CfcError} says it. */
export class Outcome extends Error {
  readonly exitCode: number;
  readonly hint: string | undefined;

  /** @param message a line for stderr; empty where nothing is to be said */
  constructor(exitCode: number, message = '', hint?: string) {
    super(message);
    this.exitCode = exitCode;
    this.hint = hint;
  }
}

export function exitCodeOf(error: unknown): number {
  if (error instanceof Outcome) return error.exitCode;
  if (error instanceof CfcError) return codeOfError[error.code] ?? exitCodes.failed;
  return exitCodes.failed;
}

/** A line that says what went wrong, and where there is one a line that says what to do. */
export function explain(error: unknown): string {
  if (error instanceof Outcome) return lines(error.message, error.hint);
  if (error instanceof CfcError) {
    return lines(`${messageOf(error)} (${error.code})`, error.hint);
  }
  return lines(error instanceof Error ? error.message : String(error));
}

// Details as `name value`, shorter to read than what inspect makes of them.
function messageOf(error: CfcError): string {
  const at = error.message.indexOf(' {');
  const message = at < 0 ? error.message : error.message.slice(0, at);
  const details = Object.entries(error.details)
    .map(([name, value]) => `${name} ${shorten(value)}`)
    .join(', ');
  return details === '' ? message : `${message}: ${details}`;
}

// Lists of a group may have ten thousand members; the data has them all.
function shorten(value: unknown): string {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value) || value.length <= 3) return JSON.stringify(value);
  const some = value.slice(0, 3).map((one) => JSON.stringify(one));
  return `[${some.join(',')},… ${value.length - 3} more]`;
}

function lines(message: string, hint?: string): string {
  if (message === '') return '';
  return `cfc: ${message}\n${hint === undefined ? '' : `     ${hint}\n`}`;
}
