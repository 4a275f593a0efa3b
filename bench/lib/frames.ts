/** Messages over a stream: a length in four bytes, then the body. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0);

  /** Calls `take` with each whole body; a view that is valid during the call. */
  push(chunk: Buffer, take: (body: Buffer) => void): void {
    let data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    while (data.length >= 4) {
      const length = data.readUInt32LE(0);
      if (data.length < 4 + length) break;
      take(data.subarray(4, 4 + length));
      data = data.subarray(4 + length);
    }
    this.#rest = data;
  }
}

/** @returns a frame around a body of `bytes`, and the body within it */
export function frameOf(bytes: number): { frame: Buffer; body: Uint8Array } {
  const frame = Buffer.alloc(4 + bytes, 7);
  frame.writeUInt32LE(bytes, 0);
  return { frame, body: new Uint8Array(frame.buffer, frame.byteOffset + 4, bytes) };
}
