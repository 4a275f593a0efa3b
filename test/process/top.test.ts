import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Fabric } from '../../src/index.js';
import { root, startChild } from '../support/child.js';
import { cli } from '../support/cli.js';
import { needs } from '../support/environment.js';
import { openFabric, sleep, testDirectory, until } from '../support/fabric.js';

const program = join(root, 'dist', 'cli', 'main.js');

/** `cfc top` in tmux, on a screen of 80 x 24, and a shell below it that says how it ended. */
function startTop(dir: string, words = '', size: readonly [number, number] = [80, 24]) {
  const socket = join(dir, 'tmux');
  const tmux = (...args: string[]) =>
    execFileSync('tmux', ['-S', socket, '-f', '/dev/null', ...args], { encoding: 'utf8' });
  const shell = `PS1= CFC_DIR=${dir} CFC_FABRIC=test NO_COLOR=1 exec sh`;
  tmux('new-session', '-d', '-x', String(size[0]), '-y', String(size[1]), '-c', root, shell);
  onTestFinished(() => {
    execFileSync('tmux', ['-S', socket, 'kill-server'], { stdio: 'ignore' });
  });
  const keys = (...names: string[]) => void tmux('send-keys', ...names);
  const command = `${process.execPath} ${program} top --interval 100ms ${words}`;
  keys(`${command}; stty -a | grep -o -- '-\\?icanon'; echo "ended $?"`, 'Enter');
  const screen = async (pattern: RegExp) => {
    for (;;) {
      const shown = tmux('capture-pane', '-p');
      if (pattern.test(shown)) return shown;
      await sleep(50);
    }
  };
  const info = (format: string) => tmux('display-message', '-p', format).trim();
  return { tmux, keys, screen, info };
}

/** The process of `top` in the terminal. */
function pidIn(dir: string): number {
  for (const pid of execFileSync('ps', ['-eo', 'pid='], { encoding: 'utf8' }).split('\n')) {
    try {
      const words = readFileSync(`/proc/${pid.trim()}/cmdline`, 'utf8').split('\0');
      const environment = readFileSync(`/proc/${pid.trim()}/environ`, 'utf8').split('\0');
      if (words[2] === 'top' && environment.includes(`CFC_DIR=${dir}`)) return Number(pid);
    } catch {
      // It has ended.
    }
  }
  throw new Error('no top is running');
}

describe('cfc top in a terminal', () => {
  test('shows agents, one of them, a smaller and a larger screen, and that a fabric went', async (context) => {
    needs(context, ['tmux', '-V']);
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const bob = await fabric.join('bob', { team: 'red' });
    await fabric.join('carol', { team: 'blue' });
    await bob.send('bob', 'one \u001b[31mred\u001b[0m \u202eword', { type: 'task' });
    const { keys, screen, tmux, info } = startTop(dir);
    const first = await screen(/> bob .*1\/80/);
    expect(info('#{alternate_on}')).toBe('1');
    expect(first.split('\n').slice(0, 24)).toHaveLength(24);
    keys('Enter');
    expect(await screen(/MAILBOX/)).toContain('one red word');
    keys('q');
    await screen(/ended 0/);
    expect(info('#{alternate_on} #{cursor_flag}')).toBe('0 1');

    keys('clear', 'Enter');
    keys(`${process.execPath} ${program} top --interval 100ms`, 'Enter');
    await screen(/> bob/);
    tmux('resize-window', '-x', '160', '-y', '40');
    expect(await screen(/PARENT.*PID/)).toMatch(/\? help/);
    tmux('resize-window', '-x', '50', '-y', '12');
    await until(() => !/PARENT|PID/.test(tmux('capture-pane', '-p')));
    expect(await screen(/NAME/)).toMatch(/bob/);
    await fabric.close();
    await Fabric.destroy('test', { dir });
    await screen(/the fabric is gone/);
    await openFabric({ dir });
    await screen(/nobody is here/);
    keys('q');
  });

  test.each([
    ['Ctrl-C', 130, (keys: (...names: string[]) => void) => keys('C-c')],
    ['SIGTERM', 143, (_keys: unknown, dir: string) => void process.kill(pidIn(dir), 'SIGTERM')],
    ['SIGHUP', 129, (_keys: unknown, dir: string) => void process.kill(pidIn(dir), 'SIGHUP')],
  ])('puts the terminal back after %s', async (_name, code, end) => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    await fabric.join('bob');
    const { keys, screen, info } = startTop(dir, '; echo "code $?"');
    await screen(/> bob/);
    end(keys, dir);
    const after = await screen(/ended 0/);

    expect(after).toContain(`code ${code}`);
    expect(after).toMatch(/^icanon$/m);
    expect(info('#{alternate_on} #{cursor_flag}')).toBe('0 1');
  });

  test('puts the terminal back when it fails', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    await fabric.join('bob');
    const failing = `data:text/javascript,setTimeout(() => { throw new Error('on purpose') }, 3000)`;
    const { keys, screen, info } = startTop(dir, '; :');
    await screen(/> bob/);
    keys('q');
    await screen(/ended 0/);
    keys('clear', 'Enter');
    keys(`${process.execPath} --import "${failing}" ${program} top; echo "code $?"`, 'Enter');
    await screen(/> bob/);
    const after = await screen(/code 1/);

    expect(after).toContain('on purpose');
    expect(info('#{alternate_on} #{cursor_flag}')).toBe('0 1');
  });
});

describe('cfc top without a terminal', () => {
  test('says that it needs one', async () => {
    const dir = testDirectory();
    await openFabric({ dir });
    const { code, stdout, stderr } = await cli(['top'], { dir });

    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('--once');
  });

  test('says that there is no fabric', async () => {
    expect((await cli(['top', '--once'], { dir: testDirectory() })).code).toBe(3);
  });

  test('prints one screen, or one document with everybody', async () => {
    const dir = testDirectory();
    const fabric = await openFabric({ dir });
    const bob = await fabric.join('bob', { role: 'worker', team: 'red' });
    await fabric.join('carol');
    await bob.send('bob', 1);
    const event = { at: '2030-01-01T00:00:00.000Z', event: 'exited', agent: 'dave', exitCode: 3 };
    await bob.publish('cfc.events', event);
    const words = ['top', '--interval', '100ms'];
    const env = { COLUMNS: '100', LINES: '20' };
    const screen = await cli([...words, '--once'], { dir, env });
    const json = await cli([...words, '--json', '--search', 'team=red'], { dir });

    expect(screen).toMatchObject({ code: 0, stderr: '' });
    expect(screen.stdout).toMatch(/^cfc top {2}test/);
    expect(screen.stdout.split('\n').length).toBeLessThanOrEqual(20);
    expect(screen.stdout).not.toContain('\u001b');
    expect(JSON.parse(json.stdout)).toMatchObject({
      v: 1,
      fabric: 'test',
      messages: { queued: 1, acked: 0 },
      agents: [{ name: 'bob', team: 'red', depth: 1, perSecond: { sent: 0 } }],
      alerts: [],
      watch: { state: 'never' },
      unwell: [],
      events: [{ at: event.at, agent: 'dave', what: 'exited with 3' }],
    });
  });
});

describe('Watching', () => {
  test('costs a waiting agent not one system call', async (context) => {
    needs(context, ['strace', '-V']);
    const dir = testDirectory();
    await openFabric({ dir });
    const log = join(dir, 'calls');
    const child = startChild(
      async ({ open, say }) => {
        // V8 collects where it finds a process idle, at a time of its own.
        process.getBuiltinModule('node:v8').setFlagsFromString('--no-memory-reducer');
        const me = await (await open()).join('idle');
        say('ready');
        await me.receive();
      },
      // Its own thread: Node's helpers do what they like, when they like.
      { dir, wrapper: ['strace', '-o', log] },
    );
    expect(await child.heard()).toBe('ready');
    const calls = () => readFileSync(log, 'utf8').split('\n').slice(0, -1);
    // Each time the backstop wakes it, it does the same; a cycle ends when it polls again.
    const cyclesOf = (lines: readonly string[]) => {
      const text = lines.map((line) => /^(?:<\.\.\. )?(\w+)/.exec(line)?.[1] ?? line).join(' ');
      return text.split('epoll_pwait').map((cycle) => cycle.trim());
    };
    await sleep(6000); // what starting left to do, and one backstop
    const from = calls().length;
    await sleep(11_000);
    const alone = calls().slice(from);
    const top = spawn(
      'script',
      ['-qec', `${process.execPath} ${program} top --interval 100ms`, '/dev/null'],
      {
        stdio: ['pipe', 'ignore', 'ignore'],
        env: { ...process.env, CFC_DIR: dir, CFC_FABRIC: 'test' },
      },
    );
    const gone = once(top, 'exit');
    const until11 = calls().length;
    await sleep(11_000);
    const watched = calls().slice(until11);
    top.kill();
    await gone;

    expect(alone.length).toBeGreaterThan(0);
    // Eleven seconds hold two backstops or three, cut at any place.
    const known = new Set(cyclesOf(alone));
    // Nothing but wakes of other threads of Node: one of its own turns, as many as are left to it below.
    const isOfNode = (cycle: string) => /^(futex ?)+$/.test(cycle);
    for (const cycle of cyclesOf(watched).slice(1, -1)) {
      if (!isOfNode(cycle)) expect(known).toContain(cycle);
    }
    expect(cyclesOf(watched).length).toBeLessThanOrEqual(cyclesOf(alone).length + 2);
  });
});
