/** What every peer process does alike. */
export function ready(): void {
  process.send?.('ready');
}

export async function finish(result: unknown): Promise<void> {
  await new Promise<void>((resolve) => process.send?.(result, () => resolve()));
  process.disconnect?.();
}

/** Microseconds on a clock that all processes of the machine share. */
export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

/** What a sender of a one-way bench tells. */
export interface Sent {
  beganAtUs: number;
}

/** What its receiver tells. */
export interface Received {
  received: number;
  endedAtUs: number;
}

export function argument(index: number): string {
  const value = process.argv[2 + index];
  if (value === undefined) throw new Error(`argument ${index} is missing`);
  return value;
}

/** A body of `bytes` that carries its number in the first four. */
export function numbered(bytes: number): { body: Uint8Array; set(number: number): void } {
  const body = new Uint8Array(bytes).fill(7);
  const view = new DataView(body.buffer);
  return { body, set: (number) => view.setUint32(0, number, true) };
}

export function numberOf(body: Uint8Array): number {
  return (
    ((body[0] as number) |
      ((body[1] as number) << 8) |
      ((body[2] as number) << 16) |
      ((body[3] as number) << 24)) >>>
    0
  );
}

/** Counts what arrived, and fails at the first that is out of order. */
export class Order {
  received = 0;

  take(number: number): void {
    if (number !== this.received) throw new Error(`got ${number} instead of ${this.received}`);
    this.received += 1;
  }
}
