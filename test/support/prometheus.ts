import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { sleep } from './fabric.js';

/** A program of Debian's packages prometheus and prometheus-alertmanager. */
export function debianProgram(name: 'prometheus' | 'promtool' | 'prometheus-alertmanager'): string {
  const path = `/usr/bin/${name}`;
  if (existsSync(path)) return path;
  throw new Error(`${name} is missing: run scripts/setup.sh --packages`);
}

export function temporaryDirectory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'cfc-prometheus-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** A port that was free just now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts a server and waits until it answers; killed when the test is done. */
export async function startServer(
  program: string,
  words: string[],
  readyUrl: string,
): Promise<void> {
  const child = spawn(program, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  onTestFinished(async () => {
    if (child.exitCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  for (;;) {
    if (child.exitCode !== null) throw new Error(`${program} ended: ${stderr}`);
    const answer = await fetch(readyUrl).catch(() => undefined);
    if (answer?.ok) return;
    await sleep(50);
  }
}

export interface Posted {
  url: string;
  headers: IncomingMessage['headers'];
  // biome-ignore lint/suspicious/noExplicitAny: whatever was posted
  body: any;
}

/** A server that takes every POST of JSON; closed when the test is done. */
export async function receiver(): Promise<{ url: string; posted: Posted[] }> {
  const posted: Posted[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      posted.push({ url: request.url ?? '', headers: request.headers, body: JSON.parse(text) });
      response.end('{}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, posted };
}
