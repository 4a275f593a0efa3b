// What the processes of `cfc bench` do alike. They talk to the one that started them by Node's IPC:
// `ready`, then one result; nothing that is measured goes that way.

export function ready(): void {
  process.send?.('ready');
}

export async function finish(result: unknown): Promise<void> {
  await new Promise<void>((resolve) => process.send?.(result, () => resolve()));
  process.disconnect?.();
}

/** Microseconds since 1970: processes on one machine agree on it well enough for a run. */
export function nowUs(): number {
  return (performance.timeOrigin + performance.now()) * 1000;
}

/** What a receiver found. */
export interface Received {
  /** Distinct numbers. */
  received: number;
  outOfOrder: number;
  endedAtUs: number;
}

/** Counts numbers that should come once each, in order. */
export class Numbers {
  readonly #seen: Uint8Array;
  #last = -1;
  received = 0;
  outOfOrder = 0;

  constructor(count: number) {
    this.#seen = new Uint8Array(count);
  }

  take(number: number): void {
    if (this.#seen[number] === 0) this.received += 1;
    this.#seen[number] = 1;
    if (number <= this.#last) this.outOfOrder += 1;
    else this.#last = number;
  }

  result(endedAtUs: number): Received {
    return { received: this.received, outOfOrder: this.outOfOrder, endedAtUs };
  }
}

/** A body of `bytes` that carries its number in the first four. */
export function numbered(bytes: number): { body: Uint8Array; set(number: number): void } {
  const body = new Uint8Array(bytes).fill(7);
  const view = new DataView(body.buffer);
  return { body, set: (number) => view.setUint32(0, number, true) };
}

export function numberOf(body: Uint8Array): number {
  return new DataView(body.buffer, body.byteOffset, 4).getUint32(0, true);
}
