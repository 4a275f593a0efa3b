import { eventsTopic, type Fabric } from '../../index.js';
import type { Mood, TopEvent } from './frame.js';

const moodOf: Readonly<Record<string, Mood>> = {
  ready: 'good',
  adopted: 'good',
  recovered: 'good',
  'start-failed': 'bad',
  'crash-loop': 'bad',
  escalated: 'bad',
  'no-progress': 'bad',
  'memory-exceeded': 'bad',
};

/** What supervisors publish about their agents, each once. */
export class PublishedEvents {
  #next: { position: number; aborted: number } | undefined;

  /** @returns those since the last call; at the first one what the topic still has */
  read(fabric: Fabric): TopEvent[] {
    const { messages, next, lost } = fabric.readTopic(eventsTopic, this.#next);
    this.#next = next;
    const events = messages.flatMap(({ body }) => eventOf(body) ?? []);
    if (lost === 0) return events;
    const what = `${lost} events were overwritten before they were read`;
    return [{ at: new Date(), agent: '-', what, mood: 'plain' }, ...events];
  }
}

function eventOf(body: string): TopEvent | undefined {
  try {
    const { at, event, agent, ...facts } = JSON.parse(body) as Record<string, unknown>;
    const when = new Date(at as string);
    if (typeof event !== 'string' || typeof agent !== 'string') return undefined;
    if (Number.isNaN(when.getTime())) return undefined;
    const { exitCode, reason, successor, delayMs } = facts;
    const what = [
      event,
      ...(typeof exitCode === 'number' ? [`with ${exitCode}`] : []),
      ...(typeof successor === 'string' ? [`to ${successor}`] : []),
      ...(typeof delayMs === 'number' ? [`again in ${delayMs} ms`] : []),
      ...(typeof reason === 'string' ? [`(${reason})`] : []),
    ];
    const failed = event === 'exited' && exitCode !== 0;
    return { at: when, agent, what: what.join(' '), mood: failed ? 'bad' : moodFor(event) };
  } catch {
    return undefined;
  }
}

const moodFor = (event: string): Mood =>
  Object.hasOwn(moodOf, event) ? (moodOf[event] ?? 'plain') : 'plain';
