import { writeSync } from 'node:fs';
import { emitKeypressEvents } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';
import { type Line, paint, widthOfLine } from './line.js';
import type { Key } from './view.js';

// The other screen, no cursor, no wrapping at the right edge; and back.
const enter = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[H\u001b[2J';
const leave = '\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l';

/**
 * A terminal taken over as a whole. However the process ends, but for SIGKILL, the terminal is then
 * as it was: `close` is called when it exits.
 *
 * Ownership: of the terminal's mode, from `open` to `close`.
 */
export class TerminalScreen {
  readonly #input: ReadStream;
  readonly #output: WriteStream;
  readonly #colour: boolean;
  #drawn: string[] = [];
  #isOpen = false;

  constructor(input: ReadStream, output: WriteStream, colour: boolean) {
    this.#input = input;
    this.#output = output;
    this.#colour = colour;
  }

  get columns(): number {
    return Math.max(1, this.#output.columns);
  }

  get rows(): number {
    return Math.max(1, this.#output.rows);
  }

  /** @param resized the size has changed: everything is to be drawn again */
  open(pressed: (key: Key) => void, resized: () => void): void {
    process.once('exit', this.close);
    emitKeypressEvents(this.#input);
    this.#input.on(
      'keypress',
      (text: string | undefined, key: { name?: string; ctrl?: boolean }) => {
        pressed({ name: key.name ?? '', text: text ?? '', ctrl: key.ctrl === true });
      },
    );
    this.#output.on('resize', () => {
      this.#drawn = [];
      resized();
    });
    // Whoever stopped us, and whatever the shell did to the terminal meanwhile.
    process.on('SIGCONT', () => {
      if (!this.#isOpen) this.#enter();
      resized();
    });
    this.#enter();
    this.#input.resume();
  }

  readonly close = (): void => {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      this.#input.setRawMode(false);
    } catch {
      // The terminal has gone.
    }
    write(leave);
  };

  /** To the shell, until it says go on. */
  suspend(): void {
    this.close();
    process.kill(process.pid, 'SIGTSTP');
  }

  /** Draws the lines that differ from those drawn before. */
  draw(lines: readonly Line[]): void {
    // A terminal that cannot follow gets the next picture instead of every one.
    if (!this.#isOpen || this.#output.writableNeedDrain) return;
    const { columns } = this;
    // Of a full line nothing is to be erased: the cursor stands on its last character.
    const fresh = lines.map((line) => {
      const erase = widthOfLine(line) < columns ? '\u001b[K' : '';
      return paint(line, columns, this.#colour) + erase;
    });
    let out = '';
    fresh.forEach((line, i) => {
      if (line !== this.#drawn[i]) out += `\u001b[${i + 1};1H${line}`;
    });
    if (fresh.length < this.#drawn.length) out += `\u001b[${fresh.length + 1};1H\u001b[J`;
    this.#drawn = fresh;
    if (out !== '') this.#output.write(out);
  }

  #enter(): void {
    this.#isOpen = true;
    this.#drawn = [];
    this.#input.setRawMode(true);
    write(enter);
  }
}

// At once: what is queued in a stream is lost when the process exits.
function write(text: string): void {
  try {
    writeSync(1, text);
  } catch {
    // The terminal has gone.
  }
}
