import { createRequire } from 'node:module';
import type * as zod from 'zod';
import { mostAgents, mostCells } from './plan.js';

type Zod = typeof zod;

// Loaded when a file is read, and not by everyone who sends a message.
const require = createRequire(import.meta.url);
let made: ReturnType<typeof makeSchema> | undefined;

export const shapes = ['flat', 'hierarchical', 'hybrid', 'mesh'] as const;
export const restarts = ['always', 'on-failure', 'never'] as const;
export const readies = ['started', 'notify', 'join'] as const;
export const onMemory = ['report', 'restart', 'stop'] as const;
export const crashLoops = ['backoff', 'escalate', 'give-up'] as const;
export const strategies = ['one-for-one', 'one-for-all', 'rest-for-one'] as const;

/** What may stand in a file. Names and what belongs together are check.ts's matter. */
export function fileSchema() {
  made ??= makeSchema(require('zod') as Zod);
  return made;
}

export type TopologyFile = zod.infer<ReturnType<typeof makeSchema>>;

/** JSON Schema of the file, for editors. */
export function topologySchema(): Record<string, unknown> {
  const schema = fileSchema();
  const { toJSONSchema } = require('zod') as Zod;
  return {
    ...toJSONSchema(schema, { io: 'input' }),
    title: 'cfc topology',
    description: 'Which agents there are to be in a fabric, and who stands below whom.',
  };
}

// As the schema nests them: roles and agents hold a restart, which holds no mapping.
export function keysAt(path: readonly string[]): string[] {
  const { shape } = fileSchema();
  if (path.length === 0) return Object.keys(shape);
  if (path.at(-1) === 'restart') {
    return Object.keys(shape.worker.unwrap().shape.restart.unwrap().options[1].shape);
  }
  if (path[0] === 'roles') return Object.keys(shape.roles.unwrap().valueType.shape);
  if (path[0] === 'agents') return Object.keys(shape.agents.unwrap().element.shape);
  return Object.keys(shape.worker.unwrap().shape);
}

function makeSchema(z: Zod) {
  const count = z.int().min(1).max(mostAgents);
  const amount = z.int().min(1).max(Number.MAX_SAFE_INTEGER);
  const rate = z.int().min(1).max(1_000_000);
  const restart = z.union([
    z.enum(restarts),
    z.strictObject({
      when: z.enum(restarts).optional().describe('of which ends it is started again'),
      strategy: z.enum(strategies).optional().describe('who is started again with it'),
      maxRestarts: z.int().min(0).max(1000).optional().describe('within withinMs'),
      withinMs: z.int().min(1).max(86_400_000).optional(),
      backoffMs: z.int().min(0).max(3_600_000).optional().describe('before the first restart'),
      onCrashLoop: z.enum(crashLoops).optional().describe('what comes of a crash loop'),
    }),
  ]);
  const role = {
    command: z
      .array(z.string())
      .min(1)
      .optional()
      .describe('program and arguments; no shell reads them'),
    env: z.array(z.string()).optional().describe('names of the variables that it inherits'),
    restart: restart.optional().describe('what happens when its process ends'),
    mailboxCells: z.int().min(1).max(mostCells).optional().describe('messages it holds'),
    ready: z.enum(readies).optional().describe('what makes it ready'),
    limits: z
      .strictObject({
        memoryBytes: amount.optional().describe('resident'),
        openFiles: z.int().min(16).max(1_048_576).optional().describe('of each of its processes'),
        onMemory: z.enum(onMemory).optional().describe('what comes of one with more memory'),
        messagesPerSecond: rate.optional().describe('how fast it may send and publish'),
        burst: rate.optional().describe('how many messages at once after a pause'),
        messages: amount.optional().describe('how many it may send and publish in all'),
        bytes: amount.optional().describe('of their bodies, in all'),
      })
      .optional()
      .describe('what it may use'),
  };
  const agent = z.strictObject({
    name: z.string(),
    role: z.string().optional(),
    team: z.string().optional(),
    parent: z.string().optional().describe('the name of the agent above it'),
    ...role,
  });
  const rights = z.strictObject({
    send: z.array(z.string()).optional().describe('the roles that they may send to; * is all'),
    spawn: z.boolean().optional().describe('start agents'),
    stop: z.boolean().optional().describe('stop, pause and resume agents'),
    configure: z.boolean().optional().describe('change rights, drop messages, remove the fabric'),
  });
  return z.strictObject({
    fabric: z.string().optional().describe("the fabric's name"),
    topology: z.enum(shapes).optional().describe('the shape of what is generated'),
    workers: count.optional().describe('in all'),
    coordinators: count.optional().describe('of a hybrid'),
    workersPerCoordinator: z
      .union([count, z.array(count).min(1)])
      .optional()
      .describe('of a hybrid: how many below each coordinator, or how many at each level'),
    fanOut: z
      .array(count)
      .min(1)
      .optional()
      .describe('of a hierarchy: how many at each level below the master'),
    master: z.strictObject(role).optional(),
    coordinator: z.strictObject(role).optional(),
    worker: z.strictObject(role).optional(),
    agents: z.array(agent).optional().describe('further agents, or all of them'),
    roles: z.record(z.string(), rights).optional().describe('what the agents of a role may do'),
  });
}
