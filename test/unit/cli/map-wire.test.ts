import { expect, test } from 'vitest';
import { decodeReady, decodeResult, encodeTask } from '../../../src/cli/map-wire.js';

function result(flags: number): Uint8Array {
  const header = Buffer.alloc(40);
  header.writeUInt32LE(7, 0);
  header.writeInt32LE(143, 4);
  header.writeBigUInt64LE(12_345n, 8);
  header.writeUInt32LE(2, 16);
  header.writeUInt32LE(flags, 20);
  header.writeUInt32LE(8, 24);
  header.writeUInt32LE(3, 28);
  header.writeUInt32LE(2, 32);
  return new Uint8Array([...header, ...Buffer.from('worker-1outer')]);
}

test('a result is read as native/cli/wire.h lays it out', () => {
  expect(decodeResult(result(0))).toEqual({
    index: 7,
    exitCode: 143,
    durationMs: 12.345,
    attempts: 2,
    worker: 'worker-1',
    stdout: new Uint8Array(Buffer.from('out')),
    stderr: new Uint8Array(Buffer.from('er')),
    truncated: false,
    lost: false,
    notStarted: false,
  });
});

test('its flags tell what was cut, given up or not started', () => {
  expect(decodeResult(result(1))?.truncated).toBe(true);
  expect(decodeResult(result(2))?.truncated).toBe(true);
  expect(decodeResult(result(4))?.lost).toBe(true);
  expect(decodeResult(result(8))?.notStarted).toBe(true);
});

test('bytes that are no result are refused', () => {
  const whole = result(0);
  for (let length = 0; length < whole.length; length += 1) {
    expect(decodeResult(whole.subarray(0, length))).toBeUndefined();
  }
});

test('a task is its index and its bytes', () => {
  expect([...encodeTask(258, Buffer.from('ab'))]).toEqual([2, 1, 0, 0, 97, 98]);
});

test('decodeReady reads how many workers there are, and how many are up', () => {
  expect(decodeReady(Buffer.from([5, 0, 0, 0, 3, 0, 0, 0]))).toEqual({ workers: 5, up: 3 });
  expect(decodeReady(Buffer.from([5]))).toEqual({ workers: 0, up: 0 });
});
