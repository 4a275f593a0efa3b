import { exitCodes, Outcome } from './outcome.js';
import { decodeText } from './text.js';

/** Splits stdin at `separator` (a byte), lazily: no more is read than is asked for. */
export async function* readLines(
  input: AsyncIterable<Uint8Array>,
  separator = 10,
): AsyncGenerator<Buffer> {
  let parts: Buffer[] = [];
  for await (const piece of input) {
    let chunk = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
    for (let at = chunk.indexOf(separator); at >= 0; at = chunk.indexOf(separator)) {
      parts.push(chunk.subarray(0, at));
      yield parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
      parts = [];
      chunk = chunk.subarray(at + 1);
    }
    if (chunk.length > 0) parts.push(chunk);
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}

/** All of stdin; text where it is UTF-8. */
export async function readBody(): Promise<string | Uint8Array> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  return decodeText(bytes) ?? bytes;
}

/** @throws {Outcome} usage, where the line is no JSON */
export function parseJsonLine(line: Buffer, number: number): unknown {
  try {
    return JSON.parse(decodeText(line) ?? '');
  } catch {
    throw new Outcome(
      exitCodes.usage,
      `line ${number} of the input is no JSON`,
      'with --ndjson each line is one JSON value, in UTF-8',
    );
  }
}
