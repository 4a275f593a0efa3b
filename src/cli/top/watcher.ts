import {
  type AgentSnapshot,
  type AgentTable,
  AlertFiles,
  CfcError,
  Fabric,
  type PeekedMessage,
  readFiringAlerts,
  readHeartbeat,
} from '../../index.js';
import type { Details, WaitingMessage } from './details.js';
import { type Look, ratedMetrics } from './frame.js';
import { PublishedEvents } from './published.js';

const peeked = 40;
/** To ask who has a message looks at every mailbox. */
const mostTraced = 4;
const bodyShown = 400;
/** To ask the kernel who is stopped takes as long as all else; of more than so many it isn't asked. */
const mostProbed = 2000;

/** Looks at a fabric by name, also when it goes away and comes back. Takes no part in it. */
export class Watcher {
  readonly #name: string;
  #fabric: Fabric | undefined;
  #table: AgentTable | undefined;
  #published = new PublishedEvents();
  #probe = true;

  constructor(name: string) {
    this.#name = name;
  }

  /** @throws {CfcError} what open throws; `ERR_CFC_FABRIC_REMOVED`, `ERR_CFC_REGION_CORRUPT` */
  async look(): Promise<Look> {
    this.#fabric ??= await Fabric.open(this.#name);
    const fabric = this.#fabric;
    try {
      fabric.check();
      const { path, sharedBytes } = fabric.info();
      const table = fabric.table({ probe: this.#probe });
      const agents = Array.from({ length: table.length }, (_, row) => table.at(row, ratedMetrics));
      this.#table = table;
      this.#probe = table.length <= mostProbed;
      const published = this.#published.read(fabric);
      return {
        ...{ fabric: fabric.name, path, sharedBytes, agents, census: fabric.census() },
        ...{ alerts: this.#alerts(), published },
      };
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  // Of a watch that ended in good order nobody knows whether it would still fire.
  #alerts(): Look['alerts'] {
    const files = AlertFiles.of(this.#name);
    const watch = readHeartbeat(files.heartbeat, Date.now());
    const told = watch.state === 'running' || watch.state === 'dead';
    return { watch, firing: told ? readFiringAlerts(files.state) : [] };
  }

  /** @returns undefined where nobody has that name */
  details(name: string): Details | undefined {
    const fabric = this.#fabric;
    if (fabric === undefined) return undefined;
    try {
      let traced = 0;
      const messages = fabric.peek(name, peeked).map(({ message, leased }): WaitingMessage => {
        const { id, from, type, sentAt } = message;
        const trace = leased && traced < mostTraced ? fabric.trace(id) : undefined;
        if (leased) traced += 1;
        const holder = trace?.pid === undefined ? '' : ` by ${trace.pid}`;
        const state = leased ? `leased${holder}` : 'queued';
        return { id, from, type, state, sentAtMs: sentAt, body: beginningOf(message) };
      });
      return {
        ...{ messages, counters: this.#countersOf(name) },
        ...{ lines: fabric.lastLines(name), changes: fabric.history(name) },
      };
    } catch (error) {
      if (error instanceof CfcError) return undefined;
      throw error;
    }
  }

  #countersOf(name: string): AgentSnapshot['counters'] {
    const table = this.#table;
    if (table === undefined) return {};
    for (let row = 0; row < table.length; row += 1) {
      if (table.name(row) === name) return table.at(row).counters;
    }
    return {};
  }

  async close(): Promise<void> {
    const fabric = this.#fabric;
    this.#fabric = undefined;
    this.#table = undefined;
    this.#published = new PublishedEvents();
    await fabric?.close();
  }
}

function beginningOf({ kind, body }: PeekedMessage['message']): string {
  if (kind === 'bytes') return `${body.length} bytes`;
  return new TextDecoder().decode(body.subarray(0, bodyShown));
}
