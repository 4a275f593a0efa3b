import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { Region, type RegionCapacity } from '../../src/core/index.js';
import { type CfcError, Fabric, type OpenOptions } from '../../src/index.js';

/** Small files, so that a test pays for what it uses. */
export const smallCapacity = {
  maxAgents: 64,
  maxParticipants: 64,
  mailboxCells: 64,
  mailSegmentBytes: 1 << 18,
  slabSegmentBytes: 1 << 19,
  slabMaxBytes: 64 << 20,
  senderSlabBytes: 48 << 20,
  histograms: 8,
} satisfies RegionCapacity;

/** A directory for fabrics of this test alone, in shared memory; removed when the test is done. */
export function testDirectory(): string {
  const dir = join('/dev/shm', `cfc-test-${process.pid}-${randomUUID()}`);
  mkdirSync(dir, { mode: 0o700 });
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A fabric of this test alone; closed when the test is done. */
export async function openFabric({
  dir = testDirectory(),
  capacity,
  ...options
}: OpenOptions = {}): Promise<Fabric> {
  const fabric = await Fabric.open('test', {
    create: true,
    dir,
    capacity: { ...smallCapacity, ...capacity },
    ...options,
  });
  onTestFinished(() => fabric.close());
  return fabric;
}

/** A region of this test alone; closed when the test is done. */
export function openRegion(capacity: RegionCapacity = {}): Region {
  const region = Region.open('test', {
    mode: 'create',
    base: testDirectory(),
    capacity: { ...smallCapacity, ...capacity },
  });
  onTestFinished(() => region.close());
  return region;
}

/** What a promise or a function fails with; fails itself if it does not fail. */
export async function failureOf(what: Promise<unknown> | (() => unknown)): Promise<CfcError> {
  try {
    await (typeof what === 'function' ? what() : what);
  } catch (error) {
    return error as CfcError;
  }
  throw new Error('it did not fail');
}

export const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** Waits until `condition` holds. A hang is ended by the time limit of the test. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** Numbers from 0 to `count` - 1. */
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
