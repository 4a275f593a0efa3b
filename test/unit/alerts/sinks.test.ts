import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { ActiveAlert } from '../../../src/alerts/instance.js';
import type { Notification } from '../../../src/alerts/notifier.js';
import { Redactor } from '../../../src/alerts/redact.js';
import { AlertmanagerSink, watchdogAlert } from '../../../src/alerts/sinks/alertmanager.js';
import { CommandSink } from '../../../src/alerts/sinks/command.js';
import { WebhookSink } from '../../../src/alerts/sinks/webhook.js';
import { evidenceOf } from '../../support/evidence.js';
import { sleep, until } from '../../support/fabric.js';
import { start } from './support.js';

interface Heard {
  url: string;
  headers: IncomingMessage['headers'];
  body: unknown;
}

/** A server that answers as it is told; closed when the test is done. */
async function server(answer: (request: Heard, response: ServerResponse) => void, port = 0) {
  const heard: Heard[] = [];
  const http = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const one = { url: request.url ?? '', headers: request.headers, body: JSON.parse(text) };
      heard.push(one);
      answer(one, response);
    });
  });
  await new Promise<void>((resolve) => {
    http.listen(port, '127.0.0.1', resolve);
  });
  const close = () => {
    http.closeAllConnections();
    http.close();
  };
  onTestFinished(close);
  const at = (http.address() as AddressInfo).port;
  return { heard, port: at, url: `http://127.0.0.1:${at}/hook/path-secret`, close };
}

const status = (code: number) => (_: Heard, response: ServerResponse) => {
  response.statusCode = code;
  response.end();
};

function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cfc-alerts-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

const alert = (name: string, agent: string, changes: Partial<ActiveAlert> = {}): ActiveAlert => ({
  alert: name,
  state: 'firing',
  severity: 'warning',
  labels: { agent },
  value: 11.5,
  threshold: 10,
  message: `${agent} is loaded`,
  activeAtMs: start,
  startsAtMs: start,
  fingerprint: `${name}-${agent}`,
  ...changes,
});

let count = 0;
function notification(...names: string[]): Notification {
  count += 1;
  return {
    id: `n-${count}`,
    atMs: Date.now(),
    groups: names.map((name) => ({
      alert: name,
      state: 'firing' as const,
      severity: 'warning' as const,
      count: 1,
      message: 'it is loaded',
      alerts: [alert(name, 'a')],
    })),
  };
}

const alertsOf = ({ body }: Heard) =>
  (body as { alerts: { alert: string }[] }).alerts.map((one) => one.alert);

function webhook(url: string, changes: Partial<ConstructorParameters<typeof WebhookSink>[0]> = {}) {
  const lines: string[] = [];
  const sink = new WebhookSink({
    url,
    path: join(temporary(), 'queue.json'),
    redactor: new Redactor({}),
    tell: (line) => lines.push(line),
    backoffMs: 10,
    maxBackoffMs: 40,
    ...changes,
  });
  onTestFinished(() => sink.close(0));
  return { sink, lines };
}

describe('a webhook', () => {
  test('is sent each notification, with a key and a token', async () => {
    const { heard, url } = await server(status(204));
    const { sink } = webhook(url, { token: 'let-me-in' });
    sink.notify(notification('load_high'));
    await until(() => sink.status().delivered === 1);

    expect(heard).toHaveLength(1);
    expect(heard[0]?.headers.authorization).toBe('Bearer let-me-in');
    expect(heard[0]?.headers['idempotency-key']).toMatch(/^n-/);
    expect(heard[0]?.body).toMatchObject({
      v: 1,
      alerts: [
        {
          alert: 'load_high',
          message: 'it is loaded',
          severity: 'warning',
          metadata: {
            state: 'firing',
            count: 1,
            instances: [{ labels: { agent: 'a' }, value: 11.5, threshold: 10 }],
          },
        },
      ],
    });
  });

  test('that is down hears everything once it is back, under the same key each time', async () => {
    const evidence = evidenceOf('F25');
    const first = await server(status(500));
    const { sink, lines } = webhook(first.url);
    const one = notification('load_high');
    sink.notify(one);
    await until(() => first.heard.length >= 3);
    first.close();
    const failedBefore = sink.status().failed;
    await until(() => sink.status().failed > failedBefore);
    const back = await server(status(200), first.port);
    await until(() => sink.status().delivered === 1);

    const keys = [...first.heard, ...back.heard].map(({ headers }) => headers['idempotency-key']);
    expect(new Set(keys)).toEqual(new Set([one.id]));
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain('path-secret');
    expect(sink.status()).toMatchObject({ waiting: 0, dropped: 0, lastError: undefined });
    evidence.met(first.heard.length);
  });

  test('that does not answer is given up after its time, and tried again', async () => {
    const evidence = evidenceOf('F25');
    const { heard, url } = await server((_, response) => {
      if (heard.length > 1) response.end();
    });
    const { sink } = webhook(url, { timeoutMs: 50 });
    sink.notify(notification('load_high'));
    await until(() => sink.status().delivered === 1);

    expect(sink.status().failed).toBeGreaterThanOrEqual(1);
    evidence.met(sink.status().failed);
  });

  test('that asks for patience gets it', async () => {
    const times: number[] = [];
    const { url } = await server((_, response) => {
      times.push(performance.now());
      response.statusCode = times.length === 1 ? 429 : 200;
      response.setHeader('retry-after', '0.3');
      response.end();
    });
    const { sink } = webhook(url, { maxBackoffMs: 1000 });
    sink.notify(notification('load_high'));
    await until(() => sink.status().delivered === 1);

    expect((times[1] as number) - (times[0] as number)).toBeGreaterThanOrEqual(290);
  });

  test('that refuses a body is not asked again', async () => {
    const { heard, url } = await server((request, response) => {
      response.statusCode = alertsOf(request).includes('bad') ? 422 : 200;
      response.end();
    });
    const { sink, lines } = webhook(url);
    sink.notify(notification('bad'));
    sink.notify(notification('good'));
    await until(() => sink.status().delivered === 1);

    expect(heard).toHaveLength(2);
    expect(sink.status().dropped).toBe(1);
    expect(lines.join()).toContain('422');
  });

  test('is not followed elsewhere', async () => {
    const elsewhere = await server(status(200));
    const { url } = await server((_, response) => {
      response.statusCode = 307;
      response.setHeader('location', elsewhere.url);
      response.end();
    });
    const { sink } = webhook(url, { token: 'let-me-in' });
    sink.notify(notification('load_high'));
    await until(() => sink.status().failed >= 2);

    expect(elsewhere.heard).toEqual([]);
  });

  test('waits ever longer between tries, at random, up to a limit', async () => {
    const times: number[] = [];
    const { url } = await server((_, response) => {
      times.push(performance.now());
      response.statusCode = 503;
      response.end();
    });
    const { sink } = webhook(url, { backoffMs: 40, maxBackoffMs: 160 });
    sink.notify(notification('load_high'));
    await until(() => times.length === 6);

    const waits = times.slice(1).map((at, i) => at - (times[i] as number));
    const least = [20, 40, 80, 80, 80];
    waits.forEach((wait, i) => {
      expect(wait).toBeGreaterThanOrEqual((least[i] as number) - 2);
    });
  });

  test('that was down hears one notification after a restart, with every group in it', async () => {
    const evidence = evidenceOf('F25');
    const down = await server(status(500));
    const path = join(temporary(), 'queue.json');
    const before = webhook(down.url, { path, backoffMs: 60_000, maxBackoffMs: 60_000 });
    const names = Array.from({ length: 50 }, (_, i) => `alert_${i}`);
    for (const name of names) before.sink.notify(notification(name));
    await until(() => before.sink.status().failed === 1);
    expect(before.sink.status().waiting).toBeLessThanOrEqual(20);
    await before.sink.close(0);
    expect(statSync(path).mode & 0o777).toBe(0o600);

    const up = await server(status(200));
    const after = webhook(up.url, { path });
    await until(() => after.sink.status().delivered === 1);
    await sleep(50);

    expect(up.heard).toHaveLength(1);
    expect(alertsOf(up.heard[0] as Heard).toSorted()).toEqual(names.toSorted());
    expect(JSON.parse(readFileSync(path, 'utf8')).waiting).toEqual([]);
    evidence.met();
  });

  test('whose file of waiting notifications is damaged begins anew, and says so', async () => {
    const { heard, url } = await server(status(200));
    const path = join(temporary(), 'queue.json');
    writeFileSync(path, '{"v":1,"wai');
    const { sink, lines } = webhook(url, { path });
    sink.notify(notification('load_high'));
    await until(() => heard.length === 1);

    expect(lines[0]).toContain('damaged');
  });
});

describe('a command', () => {
  function command(words: string[], changes = {}) {
    const lines: string[] = [];
    const sink = new CommandSink({
      command: words,
      path: join(temporary(), 'queue.json'),
      redactor: new Redactor({}),
      tell: (line) => lines.push(line),
      backoffMs: 10,
      maxBackoffMs: 20,
      ...changes,
    });
    onTestFinished(() => sink.close(0));
    return { sink, lines };
  }

  test('reads the notification on stdin, and no shell reads its arguments', async () => {
    const out = join(temporary(), 'out; $HOME');
    const { sink } = command(['tee', out]);
    sink.notify(notification('load_high', 'load_low'));
    await until(() => sink.status().delivered === 1);

    const read = JSON.parse(readFileSync(out, 'utf8'));
    expect(read.alerts.map((one: { alert: string }) => one.alert)).toEqual([
      'load_high',
      'load_low',
    ]);
  });

  test('that fails is started again', async () => {
    const marker = join(temporary(), 'marker');
    const { sink, lines } = command([
      'sh',
      '-c',
      `test -e ${marker} || { touch ${marker}; exit 3; }`,
    ]);
    sink.notify(notification('load_high'));
    await until(() => sink.status().delivered === 1);

    expect(sink.status().failed).toBe(1);
    expect(lines[0]).toContain('ended with 3');
  });

  test('that hangs is killed, with what it started', async () => {
    const dir = temporary();
    const script = `sleep 1000 & echo $! > ${dir}/pid; wait`;
    const { sink } = command(['sh', '-c', script], { timeoutMs: 2000 });
    sink.notify(notification('load_high'));
    await until(() => sink.status().failed >= 1);
    await sink.close(0);

    const pid = Number(readFileSync(join(dir, 'pid'), 'utf8'));
    await until(() => {
      try {
        return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
      } catch {
        return true;
      }
    });
  });

  test('that is not there is a failure like another', async () => {
    const { sink, lines } = command(['/nowhere/to/be/found']);
    sink.notify(notification('load_high'));
    await until(() => sink.status().failed >= 1);

    expect(lines[0]).toContain('ENOENT');
  });
});

describe('an Alertmanager', () => {
  function manager(url: string, changes = {}) {
    const sink = new AlertmanagerSink({
      url,
      path: join(temporary(), 'alertmanager.json'),
      redactor: new Redactor({}),
      tell: () => {},
      intervalMs: 1000,
      ...changes,
    });
    onTestFinished(() => sink.close(0));
    return sink;
  }

  const posted = ({ body }: Heard) =>
    (body as { labels: Record<string, string>; endsAt: string }[]).filter(
      ({ labels }) => labels.alertname !== watchdogAlert,
    );

  test('is told what fires, with an end to come, and what resolved, with its end', async () => {
    const { heard, port } = await server(status(200));
    const sink = manager(`http://127.0.0.1:${port}`);
    sink.sync([alert('load_high', 'a')]);
    await until(() => heard.length === 1);
    sink.sync([alert('load_high', 'a', { state: 'resolved', endsAtMs: start + 1000 })]);
    await until(() => heard.length === 2);
    sink.sync([alert('load_high', 'a', { state: 'resolved', endsAtMs: start + 1000 })]);
    await until(() => heard.length === 3);

    expect(heard.map(({ url }) => url)).toEqual(Array(3).fill('/api/v2/alerts'));
    const [firing, resolved, after] = heard.map(posted);
    expect(firing?.[0]?.labels).toEqual({
      alertname: 'load_high',
      severity: 'warning',
      agent: 'a',
    });
    expect(Date.parse(firing?.[0]?.endsAt ?? '')).toBeGreaterThan(Date.now());
    expect(resolved?.[0]?.endsAt).toBe(new Date(start + 1000).toISOString());
    expect(after).toEqual([]);
  });

  test('is told of a resolution that came while it, or the watch, was down', async () => {
    const first = await server(status(200));
    const path = join(temporary(), 'alertmanager.json');
    const before = manager(`http://127.0.0.1:${first.port}`, { path });
    before.sync([alert('load_high', 'a')]);
    await until(() => before.status().delivered === 1);
    first.close();
    before.sync([]);
    await until(() => before.status().failed === 1);
    await before.close(0);

    const back = await server(status(200), first.port);
    const after = manager(`http://127.0.0.1:${first.port}`, { path });
    after.sync([]);
    await until(() => back.heard.length === 1);

    const [resolved] = posted(back.heard[0] as Heard);
    expect(resolved?.labels.alertname).toBe('load_high');
    expect(Date.parse(resolved?.endsAt ?? '')).toBeLessThanOrEqual(Date.now());
  });

  test('that is slow gets the newest state, not every state', async () => {
    let release: (() => void) | undefined;
    const { heard, port } = await server((_, response) => {
      if (heard.length > 1) response.end();
      else release = () => response.end();
    });
    const sink = manager(`http://127.0.0.1:${port}`);
    for (let i = 0; i < 100; i += 1) sink.sync([alert('load_high', `a${i}`)]);
    await until(() => release !== undefined);
    release?.();
    await until(() => sink.status().delivered === 2);

    expect(heard).toHaveLength(2);
    expect(posted(heard[1] as Heard).map(({ labels }) => labels.agent)).toContain('a99');
  });

  test('hears nothing of what is muted, and always of the watchdog', async () => {
    const { heard, port } = await server(status(200));
    const sink = manager(`http://127.0.0.1:${port}`).withLabels({ fabric: 'first' });
    sink.sync([alert('load_high', 'a', { mutedBy: 'silence s' })]);
    await until(() => heard.length === 1);

    expect(heard[0]?.body).toMatchObject([
      { labels: { alertname: watchdogAlert, fabric: 'first', severity: 'info' } },
    ]);
  });

  test('gets many alerts in pieces', async () => {
    const { heard, port } = await server(status(200));
    const sink = manager(`http://127.0.0.1:${port}`);
    sink.sync(Array.from({ length: 2500 }, (_, i) => alert('load_high', `a${i}`)));
    await until(() => sink.status().delivered === 1);

    expect(heard.map(({ body }) => (body as unknown[]).length)).toEqual([1000, 1000, 501]);
  });
});

describe('secrets', () => {
  const redactor = new Redactor({ API_TOKEN: 'swordfish-1', HOME: '/root', DB_PASSWORD: 'x' });

  test('are taken out of texts and labels before any sink', async () => {
    const { heard, url } = await server(status(200));
    const { sink } = webhook(url, { redactor });
    const secret = alert('load_high', 'a', {
      labels: { agent: 'a', apiKey: 'abc', note: 'it is swordfish-1' },
      message: 'postgres://me:hunter2@db/x failed, token=abcdef, swordfish-1',
    });
    const one = notification('load_high');
    (one.groups[0] as { alerts: ActiveAlert[] }).alerts = [secret];
    sink.notify(one);
    await until(() => heard.length === 1);

    const text = JSON.stringify(heard[0]?.body);
    for (const word of ['swordfish', 'hunter2', 'abcdef', '"abc"'])
      expect(text).not.toContain(word);
    expect(text).toContain('postgres://[redacted]@db/x');
  });

  test('are told by the names of variables, in any spelling', () => {
    for (const name of [
      'TOKEN',
      'githubToken',
      'DB_PASSWORD',
      'api-key',
      'AWS_SECRET_ACCESS_KEY',
    ]) {
      expect(redactor.labels({ [name]: 'v' })).toEqual({ [name]: '[redacted]' });
    }
    for (const name of ['agent', 'tokens_used', 'author', 'monkey']) {
      expect(redactor.labels({ [name]: 'v' })).toEqual({ [name]: 'v' });
    }
  });
});
