// What the processes of `cfc bench` do alike. They talk to the one that started them by Node's IPC:
// `ready`, then one result; nothing that is measured goes that way.

export function ready(): void {
  process.send?.('ready');
}

export async function finish(result: unknown): Promise<void> {
  await new Promise<void>((resolve) => process.send?.(result, () => resolve()));
  process.disconnect?.();
}

/** A run has so many messages, or as many as go in this time. */
export const mostSeconds = 2;

/** Microseconds on a clock that all processes of the machine share. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

export interface Sent {
  sent: number;
  beganAtUs: number;
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

const lastBit = 0x8000_0000;

/** A body of `bytes` that carries its number in the first four, and whether it is the last one. */
export function numbered(bytes: number): {
  body: Uint8Array;
  set(number: number, last?: boolean): void;
} {
  const body = new Uint8Array(bytes).fill(7);
  const view = new DataView(body.buffer);
  return {
    body,
    set: (number, last = false) => view.setUint32(0, last ? number + lastBit : number, true),
  };
}

export function numberOf(body: Uint8Array): { number: number; last: boolean } {
  const word = new DataView(body.buffer, body.byteOffset, 4).getUint32(0, true);
  return { number: word % lastBit, last: word >= lastBit };
}
