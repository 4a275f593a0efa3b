import { chmodSync, chownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type ConfigProblem, exportConfig, loadConfig } from '../../../src/config/index.js';
import { failureOf, testDirectory } from '../../support/fabric.js';

/** A home with a project below it, and files in them. */
function place(files: Record<string, string>) {
  const root = testDirectory();
  const cwd = join(root, 'project', 'deep');
  mkdirSync(cwd, { recursive: true });
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text, { mode: 0o600 });
  }
  const env: Record<string, string> = { HOME: root };
  return { root, cwd, env, path: (name: string) => join(root, name) };
}

async function problemsOf(text: string): Promise<ConfigProblem[]> {
  const { cwd, env } = place({ 'project/cfc.yaml': text });
  const error = await failureOf(() => loadConfig({ env, cwd }));
  expect(error.code, error.stack).toBe('ERR_CFC_CONFIG_INVALID');
  return error.details.problems as ConfigProblem[];
}

describe('loadConfig', () => {
  test('goes by environment, cfc.yaml, user, default', () => {
    const { cwd, env, path } = place({
      'project/cfc.yaml': 'fabric: project\nprofile: small\n',
      '.config/cfc/config.yaml': 'fabric: mine\nprofile: large\nsend:\n  timeoutMs: 7\n',
    });
    const config = loadConfig({ env: { ...env, CFC_FABRIC: 'now' }, cwd });

    expect(config.values).toMatchObject({
      fabric: 'now',
      profile: 'small',
      'send.timeoutMs': 7,
      'ask.timeoutMs': 5000,
    });
    const user = path('.config/cfc/config.yaml');
    expect(config.sources).toMatchObject({
      fabric: { from: 'environment', variable: 'CFC_FABRIC' },
      profile: { from: 'file', file: path('project/cfc.yaml'), line: 2 },
      'send.timeoutMs': { from: 'file', file: user, line: 4 },
      'ask.timeoutMs': { from: 'default' },
    });
    expect(config.files).toEqual([path('project/cfc.yaml'), user]);
  });

  test('takes the nearest cfc.yaml, and XDG_CONFIG_HOME and CFC_CONFIG where they say', () => {
    const { cwd, env, path } = place({
      'cfc.yaml': 'fabric: far\n',
      'project/deep/cfc.yaml': 'fabric: near\n',
      'xdg/cfc/config.yaml': 'profile: small\n',
      'other.yaml': 'fabric: other\n',
    });
    const fabricOf = (more: Record<string, string>) =>
      loadConfig({ env: { ...env, ...more }, cwd }).values;

    expect(fabricOf({}).fabric).toBe('near');
    expect(fabricOf({ XDG_CONFIG_HOME: path('xdg') }).profile).toBe('small');
    expect(fabricOf({ CFC_CONFIG: path('other.yaml') }).fabric).toBe('other');
    expect(fabricOf({ CFC_CONFIG: '/dev/null' }).fabric).toBe('default');
  });

  test('reads a path from where its file is', () => {
    const { cwd, env, path } = place({ 'project/cfc.yaml': 'dir: run/fabrics\n' });

    expect(loadConfig({ env, cwd }).values.dir).toBe(path('project/run/fabrics'));
  });

  test.each(['', '# nothing yet\n', '{}\n'])('takes %j for nothing set', (text) => {
    const { cwd, env } = place({ 'project/cfc.yaml': text });

    expect(loadConfig({ env, cwd }).values.fabric).toBe('default');
  });

  test('says all that is wrong, with its place and what was meant', async () => {
    const problems = await problemsOf(
      'fabrik: review\nsend:\n  timeoutMs: 30s\n  timeout: 4\nprofile: smal\nmap: 3\nagent: bob\n',
    );

    expect(problems.map(({ line, column, message }) => [line, column, message])).toEqual([
      [1, 1, 'a configuration has no fabrik; did you mean fabric?'],
      [3, 14, 'send.timeoutMs is a whole number, not "30s"'],
      [4, 3, 'send has no timeout; did you mean timeoutMs?'],
      [5, 10, 'profile is one of small, default, large, not "smal"; did you mean small?'],
      [6, 6, 'map is a mapping, not 3'],
      [7, 1, 'agent is set by CFC_AGENT alone, as it is of one process'],
    ]);
  });

  test.each([
    ['a: [\n', /flow/i],
    ['fabric: a\nfabric: b\n', /unique/],
    ['- fabric\n', /a configuration is a mapping, not a list/],
    ['just words\n', /a configuration is a mapping/],
  ])('says of %j that it is no configuration', async (text, message) => {
    const [problem] = await problemsOf(text);

    expect(problem?.message).toMatch(message);
    expect(problem?.line).toBeGreaterThan(0);
  });

  test('says which file cannot be read', async () => {
    const { cwd, env, path } = place({});
    const missing = { ...env, CFC_CONFIG: 'nowhere.yaml' };
    const error = await failureOf(() => loadConfig({ env: missing, cwd }));

    expect(error.details.problems).toMatchObject([{ file: path('project/deep/nowhere.yaml') }]);
  });

  test('leaves a file alone that others may write', () => {
    const { cwd, env, path } = place({ 'project/cfc.yaml': 'fabric: theirs\n' });
    chmodSync(path('project/cfc.yaml'), 0o666);
    const config = loadConfig({ env, cwd });

    expect(config.values.fabric).toBe('default');
    expect(config.ignored).toEqual([path('project/cfc.yaml')]);
    expect(config.files).toEqual([]);
  });

  test.runIf(process.geteuid?.() === 0)('leaves a file of another user alone', () => {
    const { cwd, env, path } = place({ 'project/deep/cfc.yaml': 'fabric: theirs\n' });
    chownSync(path('project/deep/cfc.yaml'), 65_534, 65_534);

    expect(loadConfig({ env, cwd }).ignored).toEqual([path('project/deep/cfc.yaml')]);
  });

  test.runIf(process.geteuid?.() === 0)('does not look above a directory of another user', () => {
    const { cwd, env, path } = place({ 'cfc.yaml': 'fabric: above\n' });
    expect(loadConfig({ env, cwd }).values.fabric).toBe('above');
    chownSync(path('project'), 65_534, 65_534);

    expect(loadConfig({ env, cwd }).values.fabric).toBe('default');
  });

  test('follows a link to a file of ours', () => {
    const { cwd, env, path } = place({ 'real.yaml': 'fabric: linked\n' });
    symlinkSync(path('real.yaml'), path('project/cfc.yaml'));

    expect(loadConfig({ env, cwd }).values.fabric).toBe('linked');
  });

  test('finds variables that are no options, and what they may have meant', () => {
    const { cwd, env } = place({});
    const slips = {
      CFC_FABRIK: 'x',
      CFC_SEND_TIMEOUT: '3',
      CFC_TICKET: '17',
      CFC_LEASE: '5',
      ALERTNESS: 'high',
    };

    expect(loadConfig({ env: { ...env, ...slips }, cwd }).unknown).toEqual([
      { variable: 'CFC_FABRIK', near: 'CFC_FABRIC' },
      { variable: 'CFC_SEND_TIMEOUT', near: 'CFC_SEND_TIMEOUT_MS' },
      { variable: 'CFC_TICKET', near: undefined },
    ]);
  });
});

describe('exportConfig', () => {
  test('puts what files say into the environment, and nothing else', () => {
    const { cwd, env } = place({
      'project/cfc.yaml': 'fabric: a\nnoColor: true\nmap: {retries: 1}',
    });
    const into: Record<string, string | undefined> = { ...env, CFC_PROFILE: 'small' };
    exportConfig(loadConfig({ env: into, cwd }), into);

    expect(into).toEqual({
      ...env,
      CFC_PROFILE: 'small',
      CFC_FABRIC: 'a',
      NO_COLOR: '1',
      CFC_MAP_RETRIES: '1',
    });
  });
});
