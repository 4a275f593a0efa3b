import { beforeEach, describe, expect, test } from 'vitest';
import { type Elsewhere, startChild } from '../support/child.js';
import { asStranger, needs, onTmpfs, openToOthers, stranger } from '../support/environment.js';
import { evidenceOf } from '../support/evidence.js';
import { testDirectory } from '../support/fabric.js';

/** A user that is neither root nor the stranger. */
const someUser = 1000;

interface Attempt {
  what: string;
  result: string;
}

/**
 * By the stranger: tries to read, write, replace and lock what is in `base/test`, and to reach it
 * through the process that has it open. Prints what came of each attempt.
 */
const intrude = `
  const fs = require('node:fs');
  const { execFileSync } = require('node:child_process');
  const [base, pid] = process.argv.slice(1);
  const attempts = [];
  const attempt = (what, how) => {
    try {
      attempts.push({ what, result: 'did it: ' + how() });
    } catch (error) {
      attempts.push({ what, result: error.code ?? error.message });
    }
  };
  const test = base + '/test';
  attempt('list the base', () => fs.readdirSync(base));
  attempt('list the fabric', () => fs.readdirSync(test));
  for (const file of ['control', 'metrics', 'mail.000', 'slab.000', 'lease.01', 'bell.00001']) {
    const path = test + '/' + file;
    attempt('read ' + file, () => fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK));
    attempt('write ' + file, () => fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK));
    attempt('truncate ' + file, () => fs.truncateSync(path, 0));
    attempt('remove ' + file, () => fs.unlinkSync(path));
    attempt('link ' + file, () => fs.linkSync(path, '/dev/shm/link-of-' + file));
    attempt('look at ' + file, () => fs.statSync(path).size);
  }
  attempt('a file in the fabric', () => fs.writeFileSync(test + '/mail.001', 'x'));
  attempt('a directory in the base', () => fs.mkdirSync(base + '/other'));
  attempt('a symbolic link in the base', () => fs.symlinkSync('/tmp', base + '/other'));
  attempt('a FIFO in the fabric', () => execFileSync('mkfifo', [test + '/bell.00002'], { stdio: 'pipe' }));
  attempt('rename the fabric', () => fs.renameSync(test, base + '/gone'));
  attempt('rename the base', () => fs.renameSync(base, '/dev/shm/gone'));
  attempt('remove the base', () => fs.rmdirSync(base));
  attempt('open the base to all', () => fs.chmodSync(base, 0o777));
  attempt('open the base of the fabric to all', () => fs.chmodSync(test, 0o777));
  attempt('own the base', () => fs.chownSync(base, process.getuid(), process.getgid()));
  attempt('kill who has it open', () => process.kill(Number(pid), 'SIGKILL'));
  attempt('stop who has it open', () => process.kill(Number(pid), 'SIGSTOP'));
  attempt('its memory', () => fs.openSync('/proc/' + pid + '/mem', 'r+'));
  attempt('its descriptors', () => fs.readdirSync('/proc/' + pid + '/fd'));
  attempt('its mappings', () => fs.readdirSync('/proc/' + pid + '/map_files'));
  console.log(JSON.stringify(attempts));
`;

/** By the stranger, before anybody else: something of its own where the fabrics of `uid` belong. */
const squats: Record<string, string> = {
  'a directory of its own': 'mkdir -m 700 $0',
  'a directory for all': 'mkdir -m 777 $0 && chmod 777 $0',
  'a directory with a fabric in it':
    'mkdir -m 755 $0 && mkdir -m 755 $0/test && touch $0/test/control',
  'a symbolic link to a directory': 'mkdir -m 777 /dev/shm/trap; ln -s /dev/shm/trap $0',
  'a symbolic link to nothing': 'ln -s /dev/shm/nothing $0',
  'a plain file': 'echo x > $0',
  'a hard link': 'echo x > /dev/shm/mine; ln /dev/shm/mine $0',
  'a FIFO': 'mkfifo -m 666 $0',
};

/** Opens fabrics as `uid` where a stranger was first, then elsewhere. */
const beSquatted: Elsewhere<{
  uid: number;
  stranger: string[];
  squats: Record<string, string>;
}> = ({ say, args }) => {
  const { spawnSync } = process.getBuiltinModule('node:child_process');
  const fs = process.getBuiltinModule('node:fs');
  const base = `/dev/shm/cfc-${args.uid}`;
  const source = `async ({ cfc, say }) => {
    const told = await cfc.Fabric.open('test', { create: true, profile: 'small' }).then(
      () => ({ code: 'made' }),
      ({ code, details, hint, cause }) => ({ code, ...details, hint, errno: cause?.errno }),
    );
    process.env.CFC_DIR = '/dev/shm/elsewhere-' + process.pid;
    const fabric = await cfc.Fabric.open('test', { create: true, profile: 'small' });
    const agent = await fabric.join('agent');
    await agent.send('agent', 'works');
    const works = (await agent.receive())?.text();
    await fabric.close();
    await cfc.Fabric.destroy('test');
    say({ ...told, works });
  }`;
  const run = (words: string[], env: NodeJS.ProcessEnv = process.env) =>
    spawnSync(words[0] as string, words.slice(1), { encoding: 'utf8', env, timeout: 20_000 });
  const listing = () => run(['find', '/dev/shm', '-printf', '%p %u %m %y %s\n']).stdout;
  for (const [name, script] of Object.entries(args.squats)) {
    const squatted = run([...args.stranger, 'sh', '-c', script, base]);
    const before = listing();
    const user = ['setpriv', `--reuid=${args.uid}`, `--regid=${args.uid}`, '--clear-groups'];
    const { stdout, stderr, signal } = run(
      [...(args.uid === 0 ? [] : user), process.execPath, process.argv[1] as string],
      {
        ...process.env,
        CFC_TEST_CHILD: JSON.stringify({ source, args: {}, dir: '' }),
      },
    );
    say({
      name,
      squatted: squatted.status,
      told: stdout === '' ? { stderr, signal } : JSON.parse(stdout),
      changed: listing() !== before,
    });
    for (const file of fs.readdirSync('/dev/shm')) {
      fs.rmSync(`/dev/shm/${file}`, { recursive: true, force: true });
    }
  }
};

describe('Another user', () => {
  beforeEach((context) =>
    needs(context, [...asStranger(), 'true'], [...onTmpfs('/dev/shm', 'size=1m'), 'true']),
  );

  test.each([0, someUser])(
    'can neither read, write, replace nor wedge what user %i runs',
    async (uid) => {
      const evidence = evidenceOf('F12');
      const child = startChild<{ uid: number; stranger: string[]; intrude: string }>(
        async ({ say, args }) => {
          const { spawn, spawnSync } = process.getBuiltinModule('node:child_process');
          const source = `async ({ cfc, say }) => {
            process.umask(0);
            const fabric = await cfc.Fabric.open('test', { create: true, profile: 'small' });
            const agent = await fabric.join('agent');
            await agent.send('agent', 'x'.repeat(5000));
            say(fabric.info().path);
            process.once('SIGUSR2', async () => {
              const message = await agent.receive();
              message?.ack();
              await agent.send('agent', 'after');
              const after = await agent.receive();
              after?.ack();
              fabric.check();
              say({ length: message?.text().length, after: after?.text(), census: fabric.census() });
              await fabric.close();
            });
            await new Promise((resolve) => setTimeout(resolve, 60_000));
          }`;
          const user = ['setpriv', `--reuid=${args.uid}`, `--regid=${args.uid}`, '--clear-groups'];
          const words = [
            ...(args.uid === 0 ? [] : user),
            process.execPath,
            process.argv[1] as string,
          ];
          const victim = spawn(words[0] as string, words.slice(1), {
            stdio: ['ignore', 'pipe', 'inherit'],
            env: { ...process.env, CFC_TEST_CHILD: JSON.stringify({ source, args: {}, dir: '' }) },
          });
          const heard = () =>
            new Promise<unknown>((resolve) => {
              victim.stdout.once('data', (data: Buffer) => resolve(JSON.parse(`${data}`)));
            });
          const path = (await heard()) as string;
          const intruder = [...args.stranger, process.execPath, '-e', args.intrude];
          const { stdout, stderr } = spawnSync(
            intruder[0] as string,
            [...intruder.slice(1), path.replace(/\/test$/, ''), `${victim.pid}`],
            { encoding: 'utf8' },
          );
          say({ path, attempts: stdout === '' ? stderr : JSON.parse(stdout) });
          const finished = heard();
          victim.kill('SIGUSR2');
          say(await finished);
          victim.kill('SIGKILL');
        },
        {
          dir: testDirectory(),
          args: { uid, stranger: asStranger(), intrude },
          env: { CFC_DIR: '' },
          wrapper: [...onTmpfs('/dev/shm', 'size=32m,mode=1777'), ...openToOthers()],
        },
      );

      const { path, attempts } = await child.heard<{ path: string; attempts: Attempt[] }>();
      expect(path, child.stderr).toBe(`/dev/shm/cfc-${uid}/test`);
      expect(attempts.length).toBeGreaterThan(45);
      for (const { what, result } of attempts) {
        evidence.injected += 1;
        expect(result, what).toMatch(/^(EACCES|EPERM|Command failed: mkfifo[\s\S]*denied\n?)$/);
        evidence.hit += 1;
      }
      expect(await child.heard()).toMatchObject({
        length: 5000,
        after: 'after',
        census: { acked: 2, queued: 0 },
      });
    },
  );

  test.each([0, someUser])(
    'that made the directory of user %i first is named, with a way round it, and gets nothing',
    async (uid) => {
      const evidence = evidenceOf('F12');
      const child = startChild(beSquatted, {
        dir: testDirectory(),
        args: { uid, stranger: asStranger(), squats },
        env: { CFC_DIR: '' },
        wrapper: [...onTmpfs('/dev/shm', 'size=32m,mode=1777'), ...openToOthers()],
      });

      for (const name of Object.keys(squats)) {
        const told = await child.heard<Record<string, unknown>>();
        evidence.injected += 1;
        const directory = name.startsWith('a directory');
        expect(told, child.stderr).toMatchObject({
          name,
          squatted: 0,
          changed: false,
          told: {
            code: directory ? 'ERR_CFC_FOREIGN_OWNER' : 'ERR_CFC_NOT_REGULAR',
            path: `/dev/shm/cfc-${uid}`,
            hint: expect.stringContaining('CFC_DIR'),
            works: 'works',
            ...(directory ? { ownerUid: stranger } : {}),
          },
        });
        evidence.hit += 1;
      }
      expect(await child.exited, child.stderr).toEqual({ code: 0, signal: null });
    },
  );
});
