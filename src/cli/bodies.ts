import { parseJsonLine, readBody, readLines } from './input.js';
import { exitCodes, Outcome } from './outcome.js';

/** The bodies of a verb that sends: its argument, stdin whole, or with `ndjson` stdin by lines. */
export async function* readBodies(
  body: string | undefined,
  ndjson: boolean | undefined,
): AsyncGenerator<unknown> {
  if (!ndjson) {
    yield body === undefined || body === '-' ? await readBody() : body;
    return;
  }
  let number = 0;
  for await (const line of readLines(process.stdin)) {
    number += 1;
    if (line.length > 0) yield parseJsonLine(line, number);
  }
}

/**
 * @param example what to write instead
 * @throws {Outcome} usage
 */
export function refuseMissingBody(
  body: string | undefined,
  ndjson: boolean | undefined,
  example: string,
): void {
  if (ndjson) {
    if (body === undefined || body === '-') return;
    throw new Outcome(exitCodes.usage, '--ndjson reads its messages from stdin, and takes no body');
  }
  if (body === undefined && process.stdin.isTTY) {
    throw new Outcome(exitCodes.usage, 'there is no body', `${example}, or - to read stdin`);
  }
}
