import { spawnSync } from 'node:child_process';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { cli, startCli } from '../support/cli.js';
import { openFabric, sleep, testDirectory, until } from '../support/fabric.js';
import {
  debianProgram,
  freePort,
  receiver,
  startServer,
  temporaryDirectory,
} from '../support/prometheus.js';

/** `cfc metrics serve` over a fabric in which something happened. */
async function serving(words: string[] = []) {
  const dir = testDirectory();
  const state = temporaryDirectory();
  const fabric = await openFabric({ dir });
  const bob = await fabric.join('bob', { role: 'worker', team: 'A' });
  const alice = await fabric.join('alice');
  await alice.sendBatch('bob', ['one', 'two', 'three']);
  (await bob.receive({ timeoutMs: 5000 }))?.ack();
  bob.counter('files.read').add(7);
  const env = { CFC_STATE_DIR: state };
  const server = startCli(['metrics', 'serve', '--port', '0', ...words], { dir, env });
  await until(() => server.stderr.includes('\n') || server.process.exitCode !== null);
  const url = /serving (\S+)/.exec(server.stderr)?.[1] ?? server.stderr;
  return { dir, env, server, url, tokenFile: join(state, 'metrics.token') };
}

const bearer = (file: string) => ({ authorization: `Bearer ${readFileSync(file, 'utf8').trim()}` });

/** A GET whose headers fetch would not let through. */
function get(url: string, headers: Record<string, string>, method = 'GET'): Promise<number> {
  return new Promise((resolve, reject) => {
    request(url, { headers, method }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}

test('promtool finds nothing wrong with the exposition', async () => {
  const { url, tokenFile } = await serving();
  const text = await (await fetch(url, { headers: bearer(tokenFile) })).text();

  expect(text).toContain('cfc_coordination_queue_depth{fabric="test"} 2\n');
  expect(text).toMatch(/cfc_files_read_total\{fabric="test",agent="bob",.*\} 7\n/);
  const { status, stdout, stderr } = spawnSync(debianProgram('promtool'), ['check', 'metrics'], {
    input: text,
    encoding: 'utf8',
  });
  expect(stdout + stderr).toBe('');
  expect(status).toBe(0);
});

test('Prometheus scrapes it, with the token from the file', async () => {
  const { url, tokenFile } = await serving();
  const data = temporaryDirectory();
  const port = await freePort();
  const config = join(data, 'prometheus.yml');
  const scrape = {
    job_name: 'cfc',
    scrape_interval: '1s',
    scrape_timeout: '1s',
    authorization: { credentials_file: tokenFile },
    static_configs: [{ targets: [new URL(url).host] }],
  };
  // JSON is YAML.
  writeFileSync(config, JSON.stringify({ scrape_configs: [scrape] }));
  const base = `http://127.0.0.1:${port}`;
  await startServer(
    debianProgram('prometheus'),
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(data, 'tsdb')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    `${base}/-/ready`,
  );
  const query = async (text: string): Promise<string[]> => {
    const answer = await fetch(`${base}/api/v1/query?query=${encodeURIComponent(text)}`);
    const { data: found } = (await answer.json()) as {
      data: { result: { value: [number, string] }[] };
    };
    return found.result.map(({ value }) => value[1]);
  };

  while ((await query('cfc_coordination_queue_depth')).length === 0) await sleep(100);
  expect(await query('cfc_coordination_queue_depth')).toEqual(['2']);
  expect(await query('cfc_coordination_message_sent_total{agent="alice"}')).toEqual(['3']);
  expect(await query('up{job="cfc"}')).toEqual(['1']);
});

test('who has no token, another Host, an Origin or another wish is refused', async () => {
  const { url, tokenFile } = await serving();
  const { port } = new URL(url);
  const token = bearer(tokenFile);

  expect(statSync(tokenFile).mode & 0o777).toBe(0o600);
  expect(await get(url, {})).toBe(401);
  expect(await get(url, { authorization: 'Bearer wrong' })).toBe(401);
  expect(await get(url, { ...token, host: `evil.example:${port}` })).toBe(403);
  expect(await get(url, { ...token, host: '127.0.0.1' })).toBe(403);
  expect(await get(url, { ...token, origin: 'http://evil.example' })).toBe(403);
  expect(await get(url, token, 'POST')).toBe(405);
  expect(await get(url.replace('/metrics', '/'), token)).toBe(404);
  expect(await get(url, { ...token, host: `localhost:${port}` })).toBe(200);
  const answer = await fetch(url, {
    headers: { ...token, accept: 'application/openmetrics-text' },
  });
  expect(answer.headers.get('content-security-policy')).toBe("default-src 'none'");
  expect(answer.headers.get('content-type')).toContain('openmetrics-text; version=1.0.0');
  expect((await answer.text()).endsWith('# EOF\n')).toBe(true);
});

test('a token that others may read is refused; none at all has to be typed', async () => {
  const { dir, env, url, tokenFile } = await serving(['--no-token']);
  expect(await get(url, {})).toBe(200);
  writeFileSync(tokenFile, 'x'.repeat(40));
  chmodSync(tokenFile, 0o644);
  const refused = await cli(['metrics', 'serve', '--port', '0'], { dir, env });

  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('ERR_CFC_FOREIGN_OWNER');
});

test('OTLP is pushed to a receiver, and SIGTERM ends it in good order', async () => {
  const { url, posted } = await receiver();
  const { server } = await serving(['--otlp', url, '--otlp-interval', '100ms']);
  await until(() => posted.length >= 2);
  server.process.kill('SIGTERM');

  expect((await server.exited).code).toBe(0);
  expect(posted[0]?.url).toBe('/v1/metrics');
  const metrics = posted[1]?.body.resourceMetrics[0].scopeMetrics[0].metrics as { name: string }[];
  expect(metrics.find(({ name }) => name === 'cfc_files_read')).toMatchObject({
    sum: { isMonotonic: true, dataPoints: [{ asDouble: 7 }] },
  });
});

test('SIGTERM ends it in the middle of a push too, however long the interval is', async () => {
  let push: () => void = () => {};
  const pushed = new Promise<void>((resolve) => {
    push = resolve;
  });
  const answers: ServerResponse[] = [];
  const slow = createServer((_, response) => {
    answers.push(response);
    push();
  });
  await new Promise<void>((resolve) => {
    slow.listen(0, '127.0.0.1', resolve);
  });
  onTestFinished(() => {
    slow.closeAllConnections();
    slow.close();
  });
  const { port } = slow.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}`;
  const { server } = await serving(['--otlp', url, '--otlp-interval', '1h']);
  await pushed;
  server.process.kill('SIGTERM');
  await sleep(200); // for the signal to be there before the answer
  for (const response of answers) response.end('{}');

  expect((await server.exited).code).toBe(0);
});
