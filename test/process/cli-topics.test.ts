import { describe, expect, test } from 'vitest';
import type { TopicMessage } from '../../src/index.js';
import { type CliOptions, cli, startCli } from '../support/cli.js';
import { openFabric, range, testDirectory, until } from '../support/fabric.js';

/** A fabric `test`, and the options that lead `cfc` there. */
async function withFabric() {
  const dir = testDirectory();
  const fabric = await openFabric({ dir, capacity: { topicCells: 16 } });
  const options: CliOptions = { dir };
  return { fabric, options };
}

describe('cfc pub', () => {
  test('publishes text, bytes from stdin and lines of JSON, and prints ids', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    const subscription = bob.subscribe('news');
    const next = async () => (await subscription.receive()) as TopicMessage;
    const plain = await cli(['pub', 'news', 'hello', '--from', 'alice', '--type', 'note'], options);
    const first = await next();
    expect(plain).toMatchObject({ code: 0, stdout: `${first.id}\n`, stderr: '' });
    expect(first).toMatchObject({ from: 'alice', type: 'note', kind: 'text' });
    expect(first.text()).toBe('hello');

    await cli(['pub', 'news', '-'], { ...options, input: new Uint8Array([0, 255]) });
    expect([...(await next()).body]).toEqual([0, 255]);

    const many = await cli(['pub', 'news', '--ndjson', '--json'], {
      ...options,
      input: '{"n":1}\n"two"\n',
    });
    const third = await next();
    const fourth = await next();
    expect(third.json()).toEqual({ n: 1 });
    expect(fourth.text()).toBe('two');
    expect(
      many.stdout
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual([
      { v: 1, id: third.id, topic: 'news', state: 'published' },
      { v: 1, id: fourth.id, topic: 'news', state: 'published' },
    ]);
  });

  test('exits 2 for a bad name, 3 without a fabric, 5 without room', async () => {
    const { fabric, options } = await withFabric();
    expect((await cli(['pub', 'a/b', 'x'], options)).code).toBe(2);
    expect((await cli(['pub', 'a', 'x', '--ndjson'], options)).code).toBe(2);
    expect((await cli(['pub', 'a', 'x', '--fabric', 'nowhere'], options)).code).toBe(3);
    const bob = await fabric.join('bob');
    bob.subscribe('news', { patienceMs: 60_000 });
    while (bob.tryPublish('news', 1));
    const { code, stderr } = await cli(['pub', 'news', 'x', '--timeout', '50ms'], options);
    expect(code).toBe(5);
    expect(stderr).toContain('ERR_CFC_TOPIC_FULL');
  });
});

describe('cfc sub', () => {
  test('prints what is published from now on, as many as asked for', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    await alice.publish('news', 'before');
    const plain = startCli(['sub', 'news', '--count', '2'], options);
    const json = startCli(['sub', 'news', '--count', '2', '--json', '--policy', 'lossy'], options);
    await until(() => fabric.census().subscribers === 2);
    const { id } = await alice.publish('news', 'hello', { type: 'note' });
    await alice.publish('news', { n: 1 });

    expect(await plain.exited).toMatchObject({ code: 0, stdout: 'hello\n{"n":1}\n' });
    expect((await json.exited).code).toBe(0);
    expect(json.lines).toEqual([
      expect.objectContaining({
        v: 1,
        id,
        from: 'alice',
        topic: 'news',
        type: 'note',
        position: 1,
      }),
      expect.objectContaining({ sequence: 3, body: { n: 1 } }),
    ]);
    expect(json.lines[0]).toMatchObject({ body: 'hello' });
    expect(fabric.census().subscribers).toBe(0);
  });

  test('exits 4 when nothing comes in time, and leaves in good order on Ctrl-C', async () => {
    const { fabric, options } = await withFabric();
    expect((await cli(['sub', 'news', '--timeout', '20ms'], options)).code).toBe(4);
    expect((await cli(['sub', 'news', '--policy', 'some'], options)).code).toBe(2);
    const following = startCli(['sub', 'news', '--agent', 'reader'], options);
    await until(() => fabric.census().subscribers === 1);
    following.process.kill('SIGINT');
    expect((await following.exited).code).toBe(130);
    expect(fabric.census()).toMatchObject({ subscribers: 0, namesLive: 0 });
  });

  test('tells of a gap in band with --json', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const reading = startCli(['sub', 'news', '--policy', 'lossy', '--json'], options);
    await until(() => fabric.census().subscribers === 1);
    reading.process.kill('SIGSTOP');
    for (const i of range(50)) await alice.publish('news', i);
    reading.process.kill('SIGCONT');
    await until(() => reading.lines.some((line) => line.body === 49));
    reading.process.kill('SIGINT');
    await reading.exited;

    const lost = reading.lines.reduce(
      (sum, { gap }) => sum + ((gap as { count: number })?.count ?? 0),
      0,
    );
    expect(lost + reading.lines.filter((line) => line.gap === undefined).length).toBe(50);
    expect(lost).toBeGreaterThan(0);
  });
});
