import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Region } from '../../../src/core/index.js';
import { failureOf, openRegion, smallCapacity, testDirectory } from '../../support/fabric.js';

/** A region that lies in a directory of the test, closed. @returns where */
function madeRegion(): { base: string; path: string; control: string } {
  const base = testDirectory();
  Region.open('test', { base, mode: 'create', capacity: smallCapacity }).close();
  const path = join(base, 'test');
  return { base, path, control: join(path, 'control') };
}

const openIt = (base: string) => () => Region.open('test', { base });

describe('Region.open', () => {
  test('creates, opens, and says what is missing or in the way', async () => {
    const base = testDirectory();

    expect(await failureOf(openIt(base))).toMatchObject({
      code: 'ERR_CFC_NO_FABRIC',
      details: { fabric: 'test' },
    });
    const first = Region.open('test', { base, mode: 'create', capacity: smallCapacity });
    onTestFinished(() => first.close());
    expect(await failureOf(() => Region.open('test', { base, mode: 'create' }))).toMatchObject({
      code: 'ERR_CFC_REGION_EXISTS',
    });
    const second = Region.open('test', { base, mode: 'openOrCreate' });
    onTestFinished(() => second.close());

    expect(second.info()).toMatchObject({ name: 'test', path: join(base, 'test'), maxAgents: 64 });
  });

  test('makes directories 0700 and files 0600, whatever the umask', () => {
    const before = process.umask(0);
    onTestFinished(() => {
      process.umask(before);
    });
    for (const umask of [0, 0o777]) {
      const base = join(testDirectory(), 'made');
      const path = join(base, 'test');
      process.umask(umask);
      Region.open('test', { base, mode: 'create', capacity: smallCapacity }).close();
      process.umask(before);
      expect(statSync(base).mode & 0o777).toBe(0o700);
      expect(statSync(path).mode & 0o777).toBe(0o700);
      for (const name of readdirSync(path)) {
        expect(statSync(join(path, name)).mode & 0o777, name).toBe(0o600);
      }
    }
  });

  test('makes the directory above it, but none above that', async () => {
    const base = join(testDirectory(), 'made');

    Region.open('test', { base, mode: 'create', capacity: smallCapacity }).close();
    expect(statSync(base).mode & 0o777).toBe(0o700);

    const missing = join(base, 'no', 'such');
    const error = await failureOf(() => Region.open('test', { base: missing, mode: 'create' }));
    expect(error).toMatchObject({ code: 'ERR_CFC_SYSTEM', cause: { syscall: 'mkdir' } });
  });

  test('refuses names that are paths', async () => {
    const base = testDirectory();
    for (const name of ['', '.', '..', 'a/b', '-a', 'a.b', 'ä', 'x'.repeat(65), 'a\0b']) {
      const error = await failureOf(() => Region.open(name, { base, mode: 'openOrCreate' }));
      expect(error.code, JSON.stringify(name)).toBe('ERR_CFC_USAGE');
    }
    expect(readdirSync(base)).toEqual([]);
  });

  test('refuses capacities out of range', async () => {
    const base = testDirectory();
    for (const capacity of [
      { maxAgents: 0 },
      { maxAgents: -1 },
      { maxAgents: 1e12 },
      { mailboxCells: Number.NaN },
      { mailSegmentBytes: 1 },
      { slabSegmentBytes: 2 ** 60 },
      { maxParticipants: 1e9 },
    ]) {
      const error = await failureOf(() => Region.open('test', { base, mode: 'create', capacity }));
      expect(error.code, JSON.stringify(capacity)).toBe('ERR_CFC_USAGE');
    }
    expect(readdirSync(base)).toEqual([]);
  });

  test('leaves nothing half made behind, and clears what others left', () => {
    const base = testDirectory();
    mkdirSync(join(base, '.new-1-0000000000000000'), { mode: 0o700 });
    writeFileSync(join(base, '.new-1-0000000000000000', 'control'), 'half');

    Region.open('test', { base, mode: 'create', capacity: smallCapacity }).close();

    expect(readdirSync(base)).toEqual(['test']);
  });
});

describe('Region.open refuses', () => {
  test('a directory of another user, and names whose it is', async () => {
    // Root makes one of another user; anyone else finds one of root's.
    const root = process.getuid?.() === 0;
    const base = root ? testDirectory() : '/usr';
    if (root) chownSync(base, 65534, 65534);

    for (const mode of ['open', 'create', 'openOrCreate'] as const) {
      const error = await failureOf(() => Region.open('test', { base, mode }));
      expect(error).toMatchObject({
        code: 'ERR_CFC_FOREIGN_OWNER',
        details: { path: base, ownerUid: root ? 65534 : 0 },
      });
      expect(error.hint).toContain('CFC_DIR');
    }
  });

  test('a directory that lets others in', async () => {
    const base = testDirectory();
    chmodSync(base, 0o755);

    expect(
      await failureOf(() => Region.open('test', { base, mode: 'openOrCreate' })),
    ).toMatchObject({ code: 'ERR_CFC_FOREIGN_OWNER' });
  });

  test('a fabric or a file that lets others in', async () => {
    const { base, path, control } = madeRegion();

    chmodSync(control, 0o604);
    expect(await failureOf(openIt(base))).toMatchObject({ code: 'ERR_CFC_FOREIGN_OWNER' });
    chmodSync(control, 0o600);
    chmodSync(path, 0o710);
    expect(await failureOf(openIt(base))).toMatchObject({ code: 'ERR_CFC_FOREIGN_OWNER' });
  });

  test('a symbolic link in the place of the directory, of the fabric, of a file', async () => {
    const { base, path, control } = madeRegion();
    const other = testDirectory();

    symlinkSync(base, join(other, 'base'));
    expect(await failureOf(openIt(join(other, 'base')))).toMatchObject({
      code: 'ERR_CFC_NOT_REGULAR',
    });
    symlinkSync(path, join(other, 'test'));
    for (const mode of ['open', 'create', 'openOrCreate'] as const) {
      expect(await failureOf(() => Region.open('test', { base: other, mode }))).toMatchObject({
        code: 'ERR_CFC_NOT_REGULAR',
      });
    }
    renameSync(control, join(other, 'control'));
    symlinkSync(join(other, 'control'), control);
    expect(await failureOf(openIt(base))).toMatchObject({ code: 'ERR_CFC_NOT_REGULAR' });
  });

  test('a link that leads nowhere, without making what it points to', async () => {
    const [base, other] = [testDirectory(), testDirectory()];
    symlinkSync(join(other, 'made'), join(base, 'test'));

    expect(
      await failureOf(() => Region.open('test', { base, mode: 'openOrCreate' })),
    ).toMatchObject({ code: 'ERR_CFC_NOT_REGULAR' });
    expect(existsSync(join(other, 'made'))).toBe(false);
  });

  test('a plain file in the place of the fabric, a directory in the place of a file', async () => {
    const base = testDirectory();
    writeFileSync(join(base, 'test'), '', { mode: 0o600 });
    expect(
      await failureOf(() => Region.open('test', { base, mode: 'openOrCreate' })),
    ).toMatchObject({ code: 'ERR_CFC_NOT_REGULAR' });

    const made = madeRegion();
    unlinkSync(made.control);
    mkdirSync(made.control, { mode: 0o700 });
    expect(await failureOf(openIt(made.base))).toMatchObject({ code: 'ERR_CFC_NOT_REGULAR' });
  });

  test('a FIFO in the place of a file, without waiting for its other end', async () => {
    const { base, control } = madeRegion();
    unlinkSync(control);
    execFileSync('mkfifo', ['-m', '600', control]);

    expect(await failureOf(openIt(base))).toMatchObject({ code: 'ERR_CFC_NOT_REGULAR' });
  });

  test('a file with another hard link', async () => {
    const { base, control } = madeRegion();
    linkSync(control, join(base, 'another'));

    expect(await failureOf(openIt(base))).toMatchObject({ code: 'ERR_CFC_FOREIGN_OWNER' });
  });

  test('a fabric with a file missing as damaged', async () => {
    for (const name of ['metrics', 'control']) {
      for (const mode of ['open', 'openOrCreate'] as const) {
        const { base, path } = madeRegion();
        unlinkSync(join(path, name));
        expect(await failureOf(() => Region.open('test', { base, mode })), name).toMatchObject({
          code: 'ERR_CFC_REGION_CORRUPT',
          details: { path: join(path, name) },
        });
      }
    }
  });

  test('a truncated or grown file as damaged', async () => {
    for (const bytes of [0, 1, 100, 4096, 8192, 1 << 22]) {
      const { base, control } = madeRegion();
      truncateSync(control, bytes);
      const error = await failureOf(openIt(base));
      expect(error, `${bytes} bytes`).toMatchObject({
        code: 'ERR_CFC_REGION_CORRUPT',
        details: { path: control },
      });
    }
  });

  test('a file of another layout version as such', async () => {
    const { base, control } = madeRegion();
    const bytes = readFileSync(control);
    const major = bytes.readUInt16LE(12); // docs/memory.md draws where
    bytes.writeUInt16LE(major + 1, 12);
    writeFileSync(control, bytes);

    const error = await failureOf(openIt(base));

    expect(error.code).toBe('ERR_CFC_REGION_LAYOUT');
    expect(error.details.detail).toContain(`${major + 1}.`);
  });

  test('a file of something else, of zeros, of another fabric', async () => {
    const one = madeRegion();
    const bytes = readFileSync(one.control);
    writeFileSync(one.control, Buffer.alloc(bytes.length, 'junk '));
    expect(await failureOf(openIt(one.base))).toMatchObject({ code: 'ERR_CFC_REGION_CORRUPT' });
    writeFileSync(one.control, Buffer.alloc(bytes.length));
    expect(await failureOf(openIt(one.base))).toMatchObject({ code: 'ERR_CFC_REGION_CORRUPT' });

    const two = madeRegion();
    const three = madeRegion();
    copyFileSync(join(two.path, 'metrics'), join(three.path, 'metrics'));
    expect(await failureOf(openIt(three.base))).toMatchObject({ code: 'ERR_CFC_REGION_CORRUPT' });
    copyFileSync(join(two.path, 'metrics'), join(two.path, 'control'));
    expect(await failureOf(openIt(two.base))).toMatchObject({ code: 'ERR_CFC_REGION_CORRUPT' });
  });

  test('every flip of one bit of a header', () => {
    const { base, control } = madeRegion();
    const bytes = readFileSync(control);
    const codes = new Map<string, number>();

    for (let bit = 0; bit < 128 * 8; bit += 1) {
      const flipped = Buffer.from(bytes.subarray(0, 128));
      flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
      writeFileSync(control, Buffer.concat([flipped, bytes.subarray(128)]));
      let code = 'opened';
      try {
        Region.open('test', { base }).close();
      } catch (error) {
        code = (error as { code?: string }).code ?? String(error);
      }
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }

    expect([...codes.keys()].sort()).toEqual(['ERR_CFC_REGION_CORRUPT', 'ERR_CFC_REGION_LAYOUT']);
  });
});

describe('Region.destroy', () => {
  test('removes every file, and says when there is nothing', async () => {
    const { base } = madeRegion();

    Region.destroy('test', { base });

    expect(existsSync(base)).toBe(false); // it was the last one there
    expect(await failureOf(() => Region.destroy('test', { base }))).toMatchObject({
      code: 'ERR_CFC_NO_FABRIC',
    });
  });

  test('leaves who has it open going, and telling that it was removed', async () => {
    const base = testDirectory();
    const region = Region.open('test', { base, mode: 'create', capacity: smallCapacity });
    onTestFinished(() => region.close());
    const [a, b] = [region.join('a'), region.join('b')];
    region.check();

    Region.destroy('test', { base });

    expect(await failureOf(() => region.check())).toMatchObject({
      code: 'ERR_CFC_FABRIC_REMOVED',
    });
    a.trySend('b', 'still');
    expect(b.take(1)[0]?.text()).toBe('still');
  });

  test('follows no link', async () => {
    const { path } = madeRegion();
    const other = testDirectory();
    symlinkSync(path, join(other, 'test'));

    expect(await failureOf(() => Region.destroy('test', { base: other }))).toMatchObject({
      code: 'ERR_CFC_NOT_REGULAR',
    });
    expect(existsSync(join(path, 'control'))).toBe(true);
  });
});

describe('Region.join', () => {
  test('refuses a name that lives, and says when there is no room for more', async () => {
    const region = openRegion({ maxAgents: 3 });
    region.join('a');

    expect(await failureOf(() => region.join('a'))).toMatchObject({
      code: 'ERR_CFC_LEASE_HELD',
      details: { agent: 'a' },
    });
    for (const name of ['', 'a b', '../a', 'x'.repeat(65)]) {
      expect(await failureOf(() => region.join(name))).toMatchObject({ code: 'ERR_CFC_USAGE' });
    }
    expect(await failureOf(() => region.join('b', { role: 'two words' }))).toMatchObject({
      code: 'ERR_CFC_USAGE',
    });
    const error = await failureOf(() => {
      for (let i = 0; i < 1000; i += 1) region.join(`n${i}`);
    });
    expect(error.code).toBe('ERR_CFC_AGENTS_FULL');
  });

  test('refuses mailboxes that are too large', async () => {
    const region = openRegion();

    expect(await failureOf(() => region.join('a', { mailboxCells: 2 ** 31 }))).toMatchObject({
      code: 'ERR_CFC_USAGE',
    });
    expect(region.census()).toMatchObject({ namesLive: 0, namesClaimed: 0, mailboxesClaimed: 0 });
  });

  test('gives names, mailboxes and counters back, again and again', () => {
    const region = openRegion({ maxAgents: 4 });
    for (let i = 0; i < 500; i += 1) {
      const agent = region.join(`agent-${i}`);
      agent.counters.counter('n').add();
      agent.leave();
    }

    expect(region.census()).toMatchObject({ namesLive: 0, mailboxesOwned: 0, slotsLive: 1 });
  });
});

describe('Region.close', () => {
  test('leaves with every mailbox, and makes the rest say so', async () => {
    const region = openRegion();
    const a = region.join('a');

    region.close();
    region.close();

    expect(a.left).toBe(true);
    expect(region.closed).toBe(true);
    for (const attempt of [
      () => region.join('b'),
      () => region.census(),
      () => region.agents(),
      () => region.sweep(),
      () => region.check(),
      () => region.info(),
      () => region.metrics(),
      () => a.take(1),
      () => a.trySend('a', 'x'),
    ]) {
      expect((await failureOf(attempt)).code).toBe('ERR_CFC_MAILBOX_CLOSED');
    }
  });

  test('frees its slot for the next', () => {
    const base = testDirectory();
    const capacity = { ...smallCapacity, maxParticipants: 4 };
    const keeper = Region.open('test', { base, mode: 'create', capacity });
    onTestFinished(() => keeper.close());
    for (let i = 0; i < 100; i += 1) {
      const region = Region.open('test', { base });
      region.join('a').leave();
      region.close();
    }

    expect(keeper.census().slotsLive).toBe(0);
  });

  test('says when there are no slots left', async () => {
    const base = testDirectory();
    const capacity = { ...smallCapacity, maxParticipants: 2 };
    Region.open('test', { base, mode: 'create', capacity }).close();
    const regions = [1, 2, 3].map(() => Region.open('test', { base }));
    onTestFinished(() => {
      for (const region of regions) region.close();
    });

    regions[0]?.join('a');
    regions[1]?.join('b');

    expect(await failureOf(() => regions[2]?.join('c'))).toMatchObject({
      code: 'ERR_CFC_PARTICIPANTS_FULL',
    });
    regions[0]?.close();
    expect(regions[2]?.join('c').name).toBe('c');
  });
});
