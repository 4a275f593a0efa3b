import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type Command, Option } from 'commander';
import { AlertFiles, CfcError, Fabric } from '../index.js';
import {
  Exposition,
  type ExpositionFormat,
  MetricsServer,
  otlpOf,
  pushOtlp,
  type Sampler,
  tokenFrom,
} from '../metrics/index.js';
import { readToken } from './alerts-watch.js';
import { fabricOption, parseCount, parseDuration, verb } from './options.js';
import { exitCodes, Outcome } from './outcome.js';
import { say, warn } from './terminal.js';

interface ServeFlags {
  fabric: string;
  port?: number;
  host: string;
  hostName?: string[];
  tokenFile?: string;
  token: boolean;
  labelBudget: number;
  otlp?: string;
  otlpInterval: number;
  otlpTokenFile?: string;
  listen: boolean;
}

/** Two scrapes within that time see the same sample. */
const freshMs = 500;

export function serveVerb(): Command {
  return verb('serve', 'show the metrics to Prometheus, on the loopback')
    .addOption(fabricOption())
    .addOption(
      new Option('--port <n>', 'where; 0 takes a free one (default: 9464)').argParser(
        parseCount(0, 65_535),
      ),
    )
    .addOption(new Option('--host <address>', 'on which address').default('127.0.0.1'))
    .option('--host-name <name...>', 'other names that scrapes may call it by')
    .option('--token-file <file>', 'with the bearer token; made where it is missing')
    .option('--no-token', 'serve whoever reaches the port')
    .addOption(
      new Option('--label-budget <n>', 'series that a metric may have before labels go')
        .argParser(parseCount(1, 1_000_000))
        .default(2000),
    )
    .option('--otlp <url>', 'push there too, as OTLP over HTTP in JSON')
    .addOption(
      new Option('--otlp-interval <time>', 'how often')
        .argParser(parseDuration)
        .default(15_000, '15s'),
    )
    .option('--otlp-token-file <file>', 'a bearer token for it')
    .option('--no-listen', 'only push')
    .action(serve);
}

async function serve(flags: ServeFlags): Promise<void> {
  if (!flags.listen && flags.otlp === undefined) {
    throw new Outcome(exitCodes.usage, '--no-listen leaves nothing to do without --otlp');
  }
  const shown = new ShownFabric(flags.fabric, flags.labelBudget);
  await shown.read();
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  const server = flags.listen ? await listen(flags, shown) : undefined;
  try {
    await untilStopped(flags, shown, stop.signal);
  } finally {
    await server?.close();
    await shown.close();
  }
}

async function listen(flags: ServeFlags, shown: ShownFabric): Promise<MetricsServer> {
  const { host, port, hostName: hostNames = [] } = flags;
  const path =
    flags.tokenFile ?? join(AlertFiles.of(flags.fabric).directory, '..', '..', 'metrics.token');
  const server = await MetricsServer.listen({
    host,
    port,
    hostNames,
    render: (format) => shown.text(format),
    ...(flags.token ? { token: tokenFrom(path) } : {}),
  });
  const shownHost = host.includes(':') ? `[${host}]` : host;
  // On stderr for people and programs alike: with --port 0 only this says which one it is.
  warn(`cfc: serving http://${shownHost}:${server.port}/metrics\n`);
  if (flags.token) say(`its token, for credentials_file of Prometheus, is in ${path}`);
  else say('without a token: every user of this host can read it');
  return server;
}

async function untilStopped(flags: ServeFlags, shown: ShownFabric, signal: AbortSignal) {
  const { otlp: url, otlpInterval, otlpTokenFile } = flags;
  const token = otlpTokenFile === undefined ? {} : { token: readToken(otlpTokenFile) };
  let failing = false;
  while (!signal.aborted) {
    if (url !== undefined) {
      try {
        await pushOtlp(shown.otlp(), { url, ...token });
        failing = false;
      } catch (error) {
        if (!failing) warn(`cfc: nothing is pushed: ${(error as Error).message}\n`);
        failing = true;
      }
    }
    // Rejects once it is told to stop, also where that was during the push.
    await setTimeout(url === undefined ? 1 << 30 : otlpInterval, undefined, { signal }).catch(
      () => {},
    );
  }
}

/** A fabric as Prometheus sees it. One that is gone is a failed scrape; it is looked for anew. */
class ShownFabric {
  readonly #name: string;
  readonly #budget: number;
  #fabric: Fabric | undefined;
  #sampler: Sampler | undefined;
  #exposition: Exposition;
  #sinceMs = 0;
  #readAt = -Infinity;

  constructor(name: string, budget: number) {
    this.#name = name;
    this.#budget = budget;
    this.#exposition = new Exposition({ labelBudget: budget });
  }

  async read(): Promise<void> {
    this.#fabric = await Fabric.open(this.#name);
    this.#sampler = this.#fabric.sampler();
    this.#sinceMs = this.#fabric.info().createdAt.getTime();
    this.#exposition = new Exposition({ labelBudget: this.#budget });
    this.#readAt = -Infinity;
    this.#look();
  }

  text(format: ExpositionFormat): string {
    this.#look();
    return this.#exposition.text(format);
  }

  otlp(): Record<string, unknown> {
    this.#look();
    return otlpOf(this.#exposition.families(), {
      sinceMs: this.#sinceMs,
      nowMs: Date.now(),
      resource: { 'service.name': 'cfc', 'cfc.fabric': this.#name },
    });
  }

  async close(): Promise<void> {
    await this.#fabric?.close();
  }

  #look(): void {
    if (performance.now() - this.#readAt < freshMs) return;
    try {
      this.#fabric?.check();
    } catch (error) {
      if (!(error instanceof CfcError) || error.code !== 'ERR_CFC_FABRIC_REMOVED') throw error;
      const old = this.#fabric;
      this.#fabric = undefined;
      void old?.close();
      void this.read().catch(() => {}); // the next scrape says what is wrong
      throw error;
    }
    if (this.#fabric === undefined) {
      void this.read().catch(() => {});
      throw new CfcError('ERR_CFC_NO_FABRIC', { fabric: this.#name });
    }
    this.#exposition.add(this.#sampler?.sample(Date.now()) ?? []);
    this.#readAt = performance.now();
  }
}
