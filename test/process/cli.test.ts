import { describe, expect, test } from 'vitest';
import { type CliOptions, cli, startCli } from '../support/cli.js';
import { openFabric, testDirectory, until } from '../support/fabric.js';

/** A fabric `test`, and the options that lead `cfc` there. */
async function withFabric() {
  const dir = testDirectory();
  const fabric = await openFabric({ dir });
  const options: CliOptions = { dir };
  return { fabric, options };
}

describe('cfc send', () => {
  test('prints the id, and as JSON the receipt; the agent gets text as text', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    const plain = await cli(['send', 'bob', 'hello'], options);
    const json = await cli(['send', 'bob', 'hello', '--json', '--type', 'greeting'], options);

    const first = await bob.receive();
    const second = await bob.receive();
    expect(plain).toMatchObject({ code: 0, stdout: `${first?.id}\n`, stderr: '' });
    expect(JSON.parse(json.stdout)).toEqual({ v: 1, id: second?.id, to: 'bob', state: 'accepted' });
    expect(first?.text()).toBe('hello');
    expect(first?.kind).toBe('text');
    expect(first?.from).toMatch(/^cli-\d+$/);
    expect(second?.type).toBe('greeting');
  });

  test('reads the body from stdin with -, bytes as they are', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    await cli(['send', 'bob', '-'], { ...options, input: 'from a file\n' });
    await cli(['send', 'bob', '-'], { ...options, input: new Uint8Array([0, 255, 7]) });

    expect((await bob.receive())?.text()).toBe('from a file\n');
    const bytes = await bob.receive();
    expect(bytes?.kind).toBe('bytes');
    expect([...(bytes?.body ?? [])]).toEqual([0, 255, 7]);
  });

  test('sends a message a line with --ndjson, each a JSON value', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    const { code, stdout } = await cli(['send', 'bob', '--ndjson'], {
      ...options,
      input: '{"n":1}\n\n"two"\n',
    });

    expect(code).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(2);
    expect((await bob.receive())?.json()).toEqual({ n: 1 });
    expect((await bob.receive())?.text()).toBe('two');
  });

  test('waits for the ack when asked to', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    const sending = cli(['send', 'bob', 'hello', '--wait', 'acked', '--json'], options);
    const message = await bob.receive();
    message?.ack();
    const { code, stdout } = await sending;

    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ id: message?.id, state: 'acked' });
  });

  test('sends under a name with --from', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    await cli(['send', 'bob', 'hello', '--from', 'alice'], options);

    expect((await bob.receive())?.from).toBe('alice');
  });
});

describe('cfc recv', () => {
  test('prints the body and acks it', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const receiving = cli(['recv', '--agent', 'bob'], options);
    await until(() => fabric.snapshot().some(({ name }) => name === 'bob'));
    const { state } = await alice.send('bob', 'hello', { wait: 'acked' });

    expect(state).toBe('acked');
    expect(await receiving).toMatchObject({ code: 0, stdout: 'hello\n', stderr: '' });
  });

  test('prints JSON in the shape that is relied upon', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const receiving = cli(['recv', '--agent', 'bob', '--json', '--count', '3'], options);
    await until(() => fabric.snapshot().some(({ name }) => name === 'bob'));
    const { id } = await alice.send('bob', 'hello', { type: 'greeting' });
    await alice.send('bob', { n: 1 });
    await alice.send('bob', new Uint8Array([0, 255]));
    const { stdout } = await receiving;

    const [text, json, bytes] = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(text).toEqual({
      v: 1,
      id,
      from: 'alice',
      to: 'bob',
      type: 'greeting',
      sequence: 1,
      sentAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      redelivered: false,
      attempt: 0,
      body: 'hello',
    });
    expect(json).toMatchObject({ sequence: 2, body: { n: 1 } });
    expect(bytes).toMatchObject({ sequence: 3, bodyBase64: 'AP8=' });
    expect(bytes).not.toHaveProperty('body');
  });

  test('goes on with --follow until Ctrl-C, and what comes later waits', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const receiving = startCli(['recv', '--agent', 'bob', '--follow'], options);
    await until(() => fabric.snapshot().some(({ name }) => name === 'bob'));
    await alice.send('bob', 'one');
    await alice.send('bob', 'two');
    await until(() => receiving.lines.length === 2);
    receiving.process.kill('SIGINT');

    expect((await receiving.exited).code).toBe(130);
    expect(receiving.lines.map(({ body }) => body)).toEqual(['one', 'two']);
  });

  test('exits 4 when nothing came in time', async () => {
    const { options } = await withFabric();
    const { code, stdout, stderr } = await cli(
      ['recv', '--agent', 'bob', '--timeout', '50ms'],
      options,
    );

    expect({ code, stdout }).toEqual({ code: 4, stdout: '' });
    expect(stderr).toContain('no message came in time');
  });

  test('leaves a message queued that it could not write', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const receiving = startCli(['recv', '--agent', 'bob', '--follow'], options);
    await until(() => fabric.snapshot().some(({ name }) => name === 'bob'));
    receiving.process.stdout?.destroy();
    await alice.send('bob', 'x'.repeat(1 << 20));
    expect((await receiving.exited).stderr).toBe('');

    const later = await cli(['recv', '--agent', 'bob', '--timeout', '5s', '--json'], options);
    expect(JSON.parse(later.stdout)).toMatchObject({ from: 'alice', redelivered: true });
  });
});

describe('a leased message', () => {
  async function withHeld() {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const bob = await fabric.join('bob');
    const { id } = await alice.send('bob', 'work');
    await bob.leave();
    const { stdout } = await cli(['recv', '--agent', 'bob', '--lease', '--json'], options);
    expect(JSON.parse(stdout)).toMatchObject({ id, body: 'work' });
    return { options, id };
  }

  test('stays with its agent until ack', async () => {
    const { options, id } = await withHeld();
    const again = await cli(['recv', '--agent', 'bob', '--timeout', '0'], options);
    const peeked = await cli(['peek', '--agent', 'bob', '--json'], options);
    const acked = await cli(['ack', id, '--agent', 'bob', '--json'], options);
    const twice = await cli(['ack', id, '--agent', 'bob'], options);

    expect(again.code).toBe(4);
    expect(JSON.parse(peeked.stdout)).toMatchObject({
      v: 1,
      agent: 'bob',
      messages: [{ id, body: 'work', leased: true }],
    });
    expect(acked.code).toBe(0);
    expect(JSON.parse(acked.stdout)).toEqual({ v: 1, id, agent: 'bob', state: 'acked' });
    expect(twice).toMatchObject({
      code: 4,
      stderr: expect.stringContaining(`holds no message ${id}`),
    });
  });

  test('comes again after nack, flagged', async () => {
    const { options, id } = await withHeld();
    await cli(['nack', id, '--agent', 'bob'], options);
    const { stdout } = await cli(['recv', '--agent', 'bob', '--timeout', '5s', '--json'], options);

    expect(JSON.parse(stdout)).toMatchObject({ id, redelivered: true, attempt: 1 });
  });

  test('can be replied to, which does not ack it', async () => {
    const { fabric, options } = await withFabric();
    const alice = await fabric.join('alice');
    const bob = await fabric.join('bob');
    const asking = alice.ask('bob', '2 + 2', { timeoutMs: 60_000 });
    await bob.leave();
    const { stdout } = await cli(['recv', '--agent', 'bob', '--lease', '--json'], options);
    const { id } = JSON.parse(stdout);
    const { code } = await cli(['reply', id, '4', '--agent', 'bob'], options);

    const answer = await asking;
    expect(code).toBe(0);
    expect(answer.text()).toBe('4');
    expect(answer.correlationId).toBe(id);
    expect((await cli(['ack', id, '--agent', 'bob'], options)).code).toBe(0);
  });
});

describe('cfc ask', () => {
  test('prints the reply', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob');
    const asking = cli(['ask', 'bob', '2 + 2'], options);
    const question = await bob.receive();
    expect(question?.expectsReply).toBe(true);
    await question?.reply({ sum: 4 });
    question?.ack();

    expect(await asking).toMatchObject({ code: 0, stdout: '{"sum":4}\n', stderr: '' });
  });

  test('exits 4 when the time is up', async () => {
    const { fabric, options } = await withFabric();
    await fabric.join('bob');

    expect((await cli(['ask', 'bob', 'anybody?', '--timeout', '50ms'], options)).code).toBe(4);
  });
});

describe('cfc ps', () => {
  test('lists agents in the shape that is relied upon', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob', { role: 'worker', team: 'A', parent: 'coord-A' });
    await fabric.join('alice');
    await bob.send('alice', 'hello');
    const { code, stdout } = await cli(['ps', '--json'], options);

    expect(code).toBe(0);
    const report = JSON.parse(stdout);
    expect(report).toMatchObject({ v: 1, fabric: 'test' });
    expect(report.agents.map(({ name }: { name: string }) => name)).toEqual(['alice', 'bob']);
    expect(report.agents[0]).toMatchObject({ depth: 1, leased: 0 });
    expect(report.agents[1]).toMatchObject({
      name: 'bob',
      role: 'worker',
      team: 'A',
      parent: 'coord-A',
      state: 'working',
      liveness: 'alive',
      health: 'healthy',
      pid: process.pid,
      depth: 0,
      capacity: expect.any(Number),
      leased: 0,
      restarts: 0,
      exitCode: null,
      lastProgressAt: expect.stringMatching(/^\d{4}-/),
    });
  });
});

describe('cfc', () => {
  test('exits 3 where there is no such fabric or agent, with a line and a hint', async () => {
    const { options } = await withFabric();
    const fabric = await cli(['ps', '--fabric', 'nowhere'], options);
    const agent = await cli(['send', 'nobody', 'hello'], options);

    expect(fabric.code).toBe(3);
    expect(fabric.stderr).toMatch(
      /^cfc: no such fabric: .*nowhere.*\(ERR_CFC_NO_FABRIC\)\n {5}\S.*\n$/,
    );
    expect(agent.code).toBe(3);
    expect(agent.stderr).toContain('ERR_CFC_NO_AGENT');
  });

  test('exits 5 where a mailbox stays full', async () => {
    const { fabric, options } = await withFabric();
    const bob = await fabric.join('bob', { mailboxCells: 8 });
    while (bob.trySend('bob', 'x'));

    expect((await cli(['send', 'bob', 'one more', '--timeout', '50ms'], options)).code).toBe(5);
  });

  test('exits 2 for what it does not understand, and says what may be meant', async () => {
    const { options } = await withFabric();
    const verb = await cli(['sned', 'bob', 'hello'], options);
    const option = await cli(['send', 'bob', 'hello', '--typ', 'x'], options);
    const value = await cli(['recv', '--timeout', 'soon'], options);

    expect(verb).toMatchObject({ code: 2, stderr: expect.stringContaining('Did you mean send?') });
    expect(option).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('Did you mean --type?'),
    });
    expect(value.code).toBe(2);
  });

  test('shows a stack only with CFC_DEBUG', async () => {
    const { options } = await withFabric();
    const words = ['ps', '--fabric', 'nowhere'];

    expect((await cli(words, options)).stderr).not.toContain('    at ');
    expect((await cli(words, { ...options, env: { CFC_DEBUG: '1' } })).stderr).toContain('    at ');
  });

  test('prints its version, and help with the exit codes, on stdout', async () => {
    const { options } = await withFabric();
    const version = await cli(['--version'], options);
    const help = await cli(['recv', '--help'], options);

    expect(version).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('130  interrupted') });
  });

  test('uses the fabric of --fabric before that of CFC_FABRIC', async () => {
    const { options } = await withFabric();
    const env = { CFC_FABRIC: 'nowhere' };

    expect((await cli(['ps'], { ...options, env })).code).toBe(3);
    expect((await cli(['ps', '--fabric', 'test'], { ...options, env })).code).toBe(0);
  });
});
