import { option } from '../index.js';
import { escapeJson, stripText } from './text.js';

// stdout carries data and nothing else; stderr carries what is meant for a person.

/** The reader of our output has gone. A verb lets go of what it holds and ends without a word. */
export class OutputClosed extends Error {}

let closed = false;
const onClosed: (() => void)[] = [];

/** Before anything is written. */
export function watchOutput(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE' && error.code !== 'ERR_STREAM_DESTROYED') throw error;
    closed = true;
    for (const tell of onClosed.splice(0)) tell();
  });
  // Nobody to complain to.
  process.stderr.on('error', () => {});
}

export function whenOutputCloses(tell: () => void): void {
  if (closed) tell();
  else onClosed.push(tell);
}

/**
 * Resolves once the data was handed to the system, so a slow reader slows us down.
 *
 * @throws {OutputClosed} where nobody reads any more
 */
export function writeOut(data: string | Uint8Array): Promise<void> {
  if (closed) return Promise.reject(new OutputClosed());
  return new Promise((resolve, reject) => {
    process.stdout.write(data, (error) => {
      if (error === null || error === undefined) resolve();
      else if (closed || (error as NodeJS.ErrnoException).code === 'EPIPE') {
        reject(new OutputClosed());
      } else reject(error);
    });
  });
}

/** One JSON document, as a line; harmless for a terminal. */
export function jsonLine(value: unknown): string {
  const json = JSON.stringify(value);
  return `${process.stdout.isTTY ? escapeJson(json) : json}\n`;
}

export function writeJson(value: unknown): Promise<void> {
  return writeOut(jsonLine(value));
}

/** Text of others: stripped for a terminal, untouched for a pipe or with `raw`. */
export function writeForeign(bytes: Uint8Array, { raw = false } = {}): Promise<void> {
  if (raw || !process.stdout.isTTY) return writeOut(Buffer.concat([bytes, Buffer.from('\n')]));
  return writeOut(`${stripText(new TextDecoder().decode(bytes))}\n`);
}

/** A line for a person, on stderr; nothing where stderr goes into a file or a pipe. */
export function say(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${dim(line)}\n`);
}

export function warn(text: string): void {
  process.stderr.write(text);
}

function dim(text: string): string {
  return option('noColor') || process.env.TERM === 'dumb' ? text : `\u001b[2m${text}\u001b[22m`;
}
