import { CfcError } from '../errors.js';
import { SendBit } from './native.js';

export type Body = Uint8Array | string;

/** A body that goes to many: turned into bytes once. */
export class EncodedBody {
  readonly data: Uint8Array;
  readonly bits: number;

  private constructor(data: Uint8Array, bits: number) {
    this.data = data;
    this.bits = bits;
  }

  static of(body: unknown): EncodedBody {
    const { data, bits } = encode(body);
    return new EncodedBody(typeof data === 'string' ? Buffer.from(data) : data, bits);
  }
}

/** A body as the addon takes it, and the bits that say what it was. */
export function encode(body: unknown): { data: Body; bits: number } {
  if (typeof body === 'string') return { data: body, bits: SendBit.text };
  if (body instanceof Uint8Array) return { data: body, bits: 0 };
  if (body instanceof EncodedBody) return body;
  const data = JSON.stringify(body);
  if (data === undefined) {
    throw new CfcError('ERR_CFC_USAGE', { body: typeof body, allowed: 'Uint8Array, string, JSON' });
  }
  return { data, bits: SendBit.json };
}

export function encodeInto(kinds: Uint8Array, index: number, body: unknown): Body {
  const { data, bits } = encode(body);
  kinds[index] = bits;
  return data;
}

/** A batch of small bodies in one piece of memory: one crossing, and no native call per body. */
export class PackedBodies {
  static readonly #most = 64 * 1024;
  readonly bytes = Buffer.allocUnsafeSlow(PackedBodies.#most);
  lengths = new Uint32Array(64);
  kinds = new Uint8Array(64);
  /** How many were accepted, then their numbers. */
  numbers = new Float64Array(65);

  reserve(count: number): void {
    if (count <= this.kinds.length) return;
    this.lengths = new Uint32Array(count);
    this.kinds = new Uint8Array(count);
    this.numbers = new Float64Array(count + 1);
  }

  /** @returns false where they do not fit */
  pack(bodies: readonly unknown[]): boolean {
    let offset = 0;
    for (let i = 0; i < bodies.length; i += 1) {
      const { data, bits } = encode(bodies[i]);
      let length = data.length;
      if (typeof data === 'string') {
        if (offset + 3 * length > PackedBodies.#most) return false;
        length = this.bytes.write(data, offset);
      } else {
        if (offset + length > PackedBodies.#most) return false;
        this.bytes.set(data, offset);
      }
      this.lengths[i] = length;
      this.kinds[i] = bits;
      offset = (offset + length + 7) & ~7;
    }
    return true;
  }
}
