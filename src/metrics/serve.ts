import { randomBytes, timingSafeEqual } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeSync,
} from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { option } from '../config/index.js';
import { CfcError } from '../errors.js';
import { contentTypes, type ExpositionFormat } from './exposition.js';

const compress = promisify(gzip);

export interface MetricsServerOptions {
  /** What is shown. Called for each scrape. */
  render: (format: ExpositionFormat) => string;
  /** Default 127.0.0.1. */
  host?: string;
  /** Default: option `metrics.port`; 0 takes a free one. */
  port?: number;
  /** Who sends another one, or none, is refused. */
  token?: string;
  /** Names that a request may address besides those of the loopback and `host`. */
  hostNames?: readonly string[];
}

const loopback = ['127.0.0.1', 'localhost', '[::1]'];
const leastGzipBytes = 1024;

/**
 * Serves `/metrics` to Prometheus. Reads only; knows one path; answers nobody whose `Host` is not one
 * of ours, so that no web page gets here by a name that it made up.
 */
export class MetricsServer {
  readonly #server: Server;
  readonly #options: MetricsServerOptions;
  #hosts = new Set<string>();

  private constructor(options: MetricsServerOptions) {
    this.#options = options;
    this.#server = createServer(
      { requestTimeout: 10_000, headersTimeout: 5000 },
      (request, response) => {
        this.#answer(request, response).catch((error: unknown) => {
          if (!response.headersSent) response.writeHead(500, shut);
          response.end(`${(error as Error).message}\n`);
        });
      },
    );
    this.#server.maxConnections = 64;
  }

  /** @throws {CfcError} `ERR_CFC_SYSTEM` where the port cannot be had */
  static async listen(options: MetricsServerOptions): Promise<MetricsServer> {
    const { host = '127.0.0.1', port = option('metrics.port'), hostNames = [] } = options;
    const made = new MetricsServer(options);
    await new Promise<void>((resolve, reject) => {
      made.#server.once('error', (cause) => {
        reject(new CfcError('ERR_CFC_SYSTEM', { host, port }, { cause }));
      });
      made.#server.listen(port, host, resolve);
    });
    const names = [...loopback, ...hostNames, host.includes(':') ? `[${host}]` : host];
    made.#hosts = new Set(names.map((name) => `${name.toLowerCase()}:${made.port}`));
    return made;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => {
      this.#server.close(resolve);
    });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const refuse = (code: number, why: string, headers: Record<string, string> = {}) => {
      response.writeHead(code, { ...shut, ...headers });
      response.end(`${why}\n`);
    };
    if (!this.#hosts.has((request.headers.host ?? '').toLowerCase())) {
      return refuse(403, 'this Host is not served');
    }
    // Pages of browsers send it; Prometheus does not.
    if (request.headers.origin !== undefined) return refuse(403, 'no Origin is served');
    if (!this.#isAllowed(request.headers.authorization)) {
      return refuse(401, 'a bearer token is needed', { 'www-authenticate': 'Bearer' });
    }
    const path = (request.url ?? '').split('?')[0];
    if (path !== '/metrics') return refuse(404, 'there is only /metrics');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return refuse(405, 'it can only be read', { allow: 'GET, HEAD' });
    }
    const format = wantsOpenMetrics(request.headers.accept) ? 'openmetrics' : 'text';
    const plain = Buffer.from(this.#options.render(format));
    const zipped =
      plain.length >= leastGzipBytes && /\bgzip\b/.test(String(request.headers['accept-encoding']));
    const body = zipped ? await compress(plain, { level: 1 }) : plain;
    response.writeHead(200, {
      ...shut,
      'content-type': contentTypes[format],
      'content-length': String(body.length),
      vary: 'accept, accept-encoding',
      ...(zipped ? { 'content-encoding': 'gzip' } : {}),
    });
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  #isAllowed(header: string | undefined): boolean {
    const { token } = this.#options;
    if (token === undefined) return true;
    const given = Buffer.from(/^Bearer +(\S+)$/i.exec(header ?? '')?.[1] ?? '');
    const wanted = Buffer.from(token);
    return given.length === wanted.length && timingSafeEqual(given, wanted);
  }
}

const shut = {
  'content-type': 'text/plain; charset=utf-8',
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'",
  'x-content-type-options': 'nosniff',
};

// The first of the two that is named with the greater weight.
function wantsOpenMetrics(accept = ''): boolean {
  let open = 0;
  let text = 0;
  for (const part of accept.split(',')) {
    const weight = Number(/;\s*q=([\d.]+)/.exec(part)?.[1] ?? 1);
    if (/^\s*application\/openmetrics-text/.test(part)) open = Math.max(open, weight);
    else if (/^\s*(?:text\/plain|\*\/\*)/.test(part)) text = Math.max(text, weight);
  }
  return open > 0 && open >= text;
}

/**
 * The token in a file, made where there is none: mode 0600, for `credentials_file` of Prometheus.
 *
 * @throws {CfcError} `ERR_CFC_FOREIGN_OWNER` where others may read or have written it
 */
export function tokenFrom(path: string): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  try {
    const fd = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    const made = randomBytes(32).toString('base64url');
    writeSync(fd, `${made}\n`);
    closeSync(fd);
    return made;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new CfcError('ERR_CFC_SYSTEM', { path }, { cause: error });
    }
  }
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW);
  try {
    const { uid, mode } = fstatSync(fd);
    if (uid !== process.getuid?.() || (mode & 0o077) !== 0) {
      throw new CfcError('ERR_CFC_FOREIGN_OWNER', {
        path,
        ownerUid: uid,
        mode: (mode & 0o777).toString(8),
      });
    }
    const token = readFileSync(fd, 'utf8').trim();
    if (token.length >= 16) return token;
    throw new CfcError('ERR_CFC_USAGE', { path, allowed: 'a token of at least 16 characters' });
  } finally {
    closeSync(fd);
  }
}
