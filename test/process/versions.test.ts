import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { Fabric } from '../../src/index.js';
import { root } from '../support/child.js';
import { evidenceOf } from '../support/evidence.js';
import { failureOf, range, testDirectory, until } from '../support/fabric.js';

const run = promisify(execFile);
const peers = { next_minor_peer: ['kLayoutMinor', 1], next_major_peer: ['kLayoutMajor', 3] };
const folder = join(root, 'native', 'build', 'other-versions');
const program = (peer: string) => join(folder, peer, 'version_peer');

/** Builds the core once more, with another number in its layout.h, unless that was done before. */
async function build(peer: string, [constant, value]: readonly (string | number)[]) {
  const target = program(peer);
  const files = readdirSync(join(root, 'native', 'core')).map((name) => `core/${name}`);
  let fresh = existsSync(target);
  for (const file of [...files, 'test/version_peer.cc']) {
    let text = readFileSync(join(root, 'native', file), 'utf8');
    if (file === 'core/layout.h') {
      const changed = text.replace(new RegExp(`${constant} = \\d+;`), `${constant} = ${value};`);
      expect(changed).not.toBe(text);
      text = changed;
    }
    const copy = join(folder, peer, file);
    if (existsSync(copy) && readFileSync(copy, 'utf8') === text) continue;
    fresh = false;
    rmSync(target, { force: true });
    mkdirSync(dirname(copy), { recursive: true });
    writeFileSync(copy, text);
  }
  if (fresh) return;
  const sources = [...files, 'test/version_peer.cc'].filter((file) => file.endsWith('.cc'));
  const options = ['-std=c++20', '-O0', '-I.', '-pthread', '-o', 'version_peer'];
  await run('g++', [...options, ...sources], { cwd: join(folder, peer) });
}

beforeAll(async () => {
  await Promise.all(Object.entries(peers).map(([peer, change]) => build(peer, change)));
}, 300_000);

/** Starts a peer of another version; killed when the test is done. */
function startPeer(peer: string, ...words: string[]) {
  const child = spawn(program(peer), words, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const heard = async () => JSON.parse((await lines.next()).value) as Record<string, unknown>;
  return { child, exited, heard };
}

async function openVersions(dir: string, create: boolean): Promise<Fabric> {
  const fabric = await Fabric.open('versions', { dir, create, profile: 'small' });
  onTestFinished(() => fabric.close());
  return fabric;
}

describe('The next version of the same layout', () => {
  test.each([
    ['in a fabric of this version', true],
    ['in a fabric of its own', false],
  ])('%s: talks with this one, dies and is repaired by it', async (_, ours) => {
    const evidence = evidenceOf('F23');
    const dir = testDirectory();
    if (!ours) await run(program('next_minor_peer'), ['create', dir]);
    const fabric = await openVersions(dir, ours);
    const me = await fabric.join('me');
    const peer = startPeer('next_minor_peer', 'serve', dir, 'peer', '60');
    expect(await peer.heard()).toEqual({ ready: '2.1' });
    evidence.injected += 1;
    for (const i of range(60)) {
      const text = `${i} `.repeat(1 + ((i * 37) % 900));
      expect((await me.ask('peer', text)).text()).toBe(`${text}!`);
    }
    await me.send('peer', 'held');
    expect(await peer.heard()).toEqual({ holds: true });

    peer.child.kill('SIGKILL');
    await peer.exited;
    await until(() => fabric.snapshot().some(({ liveness }) => liveness === 'dead'));
    const successor = await fabric.join('peer');
    const message = await successor.receive();
    message?.ack();

    expect(message).toMatchObject({ redelivered: true, from: 'me' });
    fabric.sweep();
    expect(fabric.census()).toMatchObject({ queued: 0, leased: 0, chunksPlaced: 0, slotsLive: 1 });
    evidence.hit += 1;
  });
});

describe('Another layout', () => {
  test('refuses a fabric of this one, which stays as it was and goes on', async () => {
    const evidence = evidenceOf('F23');
    const dir = testDirectory();
    const fabric = await openVersions(dir, true);
    const me = await fabric.join('me');
    const control = join(dirname(fabric.info().path), 'versions', 'control');
    const before = readFileSync(control);
    const peer = startPeer('next_major_peer', 'serve', dir, 'peer', '1');

    expect(await peer.heard()).toEqual({
      refused: 'a file of the fabric has another layout version',
      detail: 'layout 2.0, this build reads 3.x',
    });
    expect(await peer.exited).toBe(3);
    // Behind its header the file has what a living agent of this process changes at any time.
    expect(readFileSync(control).subarray(0, 4096).equals(before.subarray(0, 4096))).toBe(true);
    expect(fabric.census()).toMatchObject({ slotsLive: 1, acked: 0, queued: 0 });
    evidence.met();
    await me.send('me', 'goes on');
    expect((await me.receive())?.text()).toBe('goes on');
  });

  test('has its fabric refused by this one, with a code', async () => {
    const evidence = evidenceOf('F23');
    const dir = testDirectory();
    await run(program('next_major_peer'), ['create', dir]);
    evidence.injected += 1;

    expect(await failureOf(Fabric.open('versions', { dir }))).toMatchObject({
      code: 'ERR_CFC_REGION_LAYOUT',
      details: { detail: 'layout 3.0, this build reads 2.x' },
    });
    const peer = startPeer('next_major_peer', 'serve', dir, 'peer', '1');
    expect(await peer.heard()).toEqual({ ready: '3.0' });
    evidence.hit += 1;
  });
});
