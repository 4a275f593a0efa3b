import { StringDecoder } from 'node:string_decoder';

/** Makes lines of what comes in pieces. */
export class LineReader {
  readonly #decoder = new StringDecoder('utf8');
  readonly #take: (line: string) => void;
  #rest = '';

  constructor(take: (line: string) => void) {
    this.#take = take;
  }

  take(bytes: Buffer): void {
    const lines = (this.#rest + this.#decoder.write(bytes)).split('\n');
    this.#rest = lines.pop() as string;
    for (const line of lines) this.#take(line);
  }
}
