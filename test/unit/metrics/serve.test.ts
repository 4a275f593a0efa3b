import { chmodSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { gunzipSync } from 'node:zlib';
import { describe, expect, onTestFinished, test } from 'vitest';
import { MetricsServer, type MetricsServerOptions, tokenFrom } from '../../../src/metrics/serve.js';
import { failureOf, testDirectory } from '../../support/fabric.js';

async function serve(options: Partial<MetricsServerOptions> = {}): Promise<MetricsServer> {
  const render = (format: string) => `# ${format}\n`;
  const server = await MetricsServer.listen({ render, port: 0, ...options });
  onTestFinished(() => server.close());
  return server;
}

interface Answer {
  code: number | undefined;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

function ask(
  { port }: MetricsServer,
  headers: Record<string, string> = {},
  { path = '/metrics', method = 'GET' } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port, path, method, headers }, async (response) => {
      const zipped = response.headers['content-encoding'] === 'gzip';
      const chunks: Buffer[] = [];
      if (zipped) for await (const chunk of response) chunks.push(chunk as Buffer);
      const body = zipped ? `${gunzipSync(Buffer.concat(chunks))}` : await text(response);
      resolve({ code: response.statusCode, headers: response.headers, body });
    });
    asking.once('error', reject).end();
  });
}

describe('MetricsServer', () => {
  test('answers /metrics, in the form that is asked for by weight', async () => {
    const server = await serve();
    const forms: [string | undefined, string][] = [
      [undefined, 'text'],
      ['text/plain', 'text'],
      ['*/*', 'text'],
      ['application/openmetrics-text;version=1.0.0', 'openmetrics'],
      ['application/openmetrics-text;q=0.5,text/plain;q=0.9', 'text'],
      ['application/openmetrics-text;q=0.9,*/*;q=0.1', 'openmetrics'],
      ['image/png', 'text'],
    ];
    for (const [accept, format] of forms) {
      const answer = await ask(server, accept === undefined ? {} : { accept });
      expect(answer, accept).toMatchObject({ code: 200, body: `# ${format}\n` });
    }
  });

  test('answers HEAD without a body, and packs what is long', async () => {
    const server = await serve({ render: () => 'x'.repeat(5000) });

    expect(await ask(server, {}, { method: 'HEAD' })).toMatchObject({
      code: 200,
      body: '',
      headers: { 'content-length': '5000' },
    });
    const packed = await ask(server, { 'accept-encoding': 'gzip' });
    expect(packed.headers['content-encoding']).toBe('gzip');
    expect(packed.body).toBe('x'.repeat(5000));
    expect((await ask(server)).headers['content-encoding']).toBeUndefined();
  });

  test('refuses other hosts, origins, paths, methods and tokens', async () => {
    const server = await serve({ token: 'a-token-of-some-length', hostNames: ['Metrics.example'] });
    const authorization = 'Bearer a-token-of-some-length';

    expect((await ask(server, { authorization })).code).toBe(200);
    const host = `metrics.EXAMPLE:${server.port}`;
    expect((await ask(server, { authorization, host })).code).toBe(200);
    expect((await ask(server, { authorization, host: 'evil.example' })).code).toBe(403);
    expect((await ask(server, { authorization, origin: 'http://localhost' })).code).toBe(403);
    expect((await ask(server, { authorization }, { path: '/' })).code).toBe(404);
    expect((await ask(server, { authorization }, { path: '/metrics?x=1' })).code).toBe(200);
    expect(await ask(server, { authorization }, { method: 'POST' })).toMatchObject({
      code: 405,
      headers: { allow: 'GET, HEAD' },
    });
    for (const wrong of ['', 'Bearer a-token-of-some-lengtH', 'Bearer x', 'Basic abc']) {
      expect((await ask(server, { authorization: wrong })).code, wrong).toBe(401);
    }
    expect((await ask(server)).code).toBe(401);
  });

  test('says 500 where there is nothing to show, and goes on', async () => {
    let broken = true;
    const server = await serve({
      render: () => {
        if (broken) throw new Error('the fabric went');
        return 'back\n';
      },
    });

    expect(await ask(server)).toMatchObject({ code: 500, body: 'the fabric went\n' });
    broken = false;
    expect(await ask(server)).toMatchObject({ code: 200, body: 'back\n' });
  });

  test('fails with a code where its port is taken', async () => {
    const { port } = await serve();

    expect(await failureOf(MetricsServer.listen({ render: () => '', port }))).toMatchObject({
      code: 'ERR_CFC_SYSTEM',
    });
  });
});

describe('tokenFrom', () => {
  test('makes a token that only its owner reads, and reads it again', () => {
    const path = join(testDirectory(), 'below', 'token');
    const made = tokenFrom(path);

    expect(made).toMatch(/^[\w-]{43}$/);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).toBe(`${made}\n`);
    expect(tokenFrom(path)).toBe(made);
  });

  test('refuses a file that others may read, a short one, and a link', () => {
    const dir = testDirectory();
    const open = join(dir, 'open');
    writeFileSync(open, 'a token of more than sixteen characters\n');
    chmodSync(open, 0o644);
    const short = join(dir, 'short');
    writeFileSync(short, 'short\n', { mode: 0o600 });
    const link = join(dir, 'link');
    symlinkSync(short, link);

    expect(() => tokenFrom(open)).toThrow(
      expect.objectContaining({ code: 'ERR_CFC_FOREIGN_OWNER' }),
    );
    expect(() => tokenFrom(short)).toThrow(expect.objectContaining({ code: 'ERR_CFC_USAGE' }));
    expect(() => tokenFrom(link)).toThrow();
  });
});
