import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { agents, ends, own, roleOf, shims, wordsOf } from '../../../src/cli/soak/cast.js';
import { Crew, emptyCounts, type PeerWord, type Request } from '../../../src/cli/soak/crew.js';
import { LineReader } from '../../../src/cli/soak/lines.js';
import { Topology } from '../../../src/index.js';
import { testDirectory } from '../../support/fabric.js';

/** The other end: a process of a soak, as far as its master sees it. */
class Player {
  readonly asked: Request[] = [];
  readonly #socket: Socket;
  #acked: number;

  constructor(path: string, acked = 0) {
    this.#acked = acked;
    this.#socket = connect(path);
    const lines = new LineReader((line) => this.#hear(JSON.parse(line) as Request));
    this.#socket.on('data', (bytes) => lines.take(bytes));
    onTestFinished(() => this.end());
  }

  say(word: PeerWord): void {
    const text = Buffer.from(`${JSON.stringify(word)}\n`);
    // In two pieces, as a socket may give it.
    this.#socket.write(text.subarray(0, 5));
    setTimeout(() => this.#socket.write(text.subarray(5)), 2);
  }

  end(): void {
    this.#socket.destroy();
  }

  #hear(request: Request): void {
    this.asked.push(request);
    const counts = { ...emptyCounts(), acked: this.#acked };
    const facts = { anonymousBytes: 1, descriptors: 2, threads: 3, mappings: 4 };
    const sample = { heapBytes: 5, p99Us: null, life: 6, ...facts };
    if (request === 'sample') this.say({ kind: 'sample', sample, counts });
    if (request === 'stop') this.say({ kind: 'stopped', counts });
  }
}

async function openCrew() {
  const path = join(testDirectory(), 'crew');
  const crew = await Crew.open(path);
  onTestFinished(() => crew.close());
  return { crew, path };
}

describe('The crew of a soak', () => {
  test('adds up what one process after the other did in a part', async () => {
    const { crew, path } = await openCrew();
    const peer = crew.expect('a-1');
    const first = new Player(path, 3);
    first.say({ kind: 'ready', name: 'a-1', pid: 11 });
    await peer.arrival();
    expect(peer.pid).toBe(11);
    expect(await peer.sample()).toMatchObject({ heapBytes: 5, descriptors: 2 });

    peer.release();
    first.end();
    const arrival = peer.arrival();
    const second = new Player(path, 4);
    second.say({ kind: 'ready', name: 'a-1', pid: 12 });
    await arrival;
    await peer.sample();
    expect([peer.pid, peer.counts.acked]).toEqual([12, 7]);

    await peer.stop();
    expect(second.asked).toEqual(['sample', 'stop']);
  });

  test('says who ended by itself, whatever it was asked', async () => {
    const { crew, path } = await openCrew();
    const peer = crew.expect('a-1');
    const player = new Player(path);
    player.say({ kind: 'ready', name: 'a-1', pid: 11 });
    await peer.arrival();

    const waiting = peer.arrival();
    player.end();
    await expect(waiting).rejects.toThrow('a-1 ended by itself');
    await expect(peer.sample()).rejects.toThrow('a-1 ended by itself');
  });

  test('lets go of everybody when it closes', async () => {
    const { crew, path } = await openCrew();
    const peer = crew.expect('a-1');
    const socket = connect(path);
    const word: PeerWord = { kind: 'ready', name: 'a-1', pid: 11 };
    socket.write(`${JSON.stringify(word)}\n`);
    await peer.arrival();
    crew.close();
    await once(socket, 'close');
  });
});

describe('The cast of a soak', () => {
  const where = { program: '/p/peer.js', socket: '/s/crew', dir: '/s' };
  const common = {
    ...{ leakPerHour: 0.015, pauseMs: 1000, stateDir: '/s/state', exportEveryMs: 5000 },
    ...{ exportMaxBytes: 1e7, evaluateEveryMs: 30_000, pulseMs: 120_000 },
  };

  test('has a topology for each supervisor, of everybody in its fabric', () => {
    const supervised = ['supervisor-1', 'takeover-1'].flatMap((name) => {
      const options = wordsOf(name, where, common, 1000).at(-1) as string;
      const { topology } = JSON.parse(options) as { topology: string };
      return Topology.parse(topology).agents.map((agent) => agent.name);
    });

    expect(supervised.sort()).toEqual(Object.keys(agents).sort());
  });

  test('ends with everybody, each once', () => {
    const all = [...Object.keys(agents), ...Object.keys(own)].sort();

    expect(ends.flat().sort()).toEqual(all);
    expect(Object.keys(shims).sort()).toEqual(Object.keys(agents).sort());
    expect(new Set(Object.values(shims)).size).toBe(Object.keys(agents).length);
    expect(roleOf('restarted-shim-1')).toBe('restarted-shim');
  });

  test('splits the messages a second among those who send', () => {
    const perSecond = Object.keys(agents).map((name) => {
      const options = wordsOf(name, where, common, 1000).at(-1) as string;
      return (JSON.parse(options) as { perSecond: number }).perSecond;
    });

    expect(perSecond.reduce((sum, rate) => sum + rate, 0)).toBe(1050);
  });
});
