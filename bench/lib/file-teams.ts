import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { Run } from './case.js';
import { withDirectory } from './fabric-runs.js';
import type { Team } from './native-agents.js';

// The workloads of bench/fabric-cases.ts over files: who is asked, by whom, and what is counted are
// the same.

const script = fileURLToPath(new URL('../baseline/file-ipc.sh', import.meta.url));
const scriptCap = '100';

/** Milliseconds from the first send to the last answer, in bash: each worker is a process. */
export function fileTeamsInBash({ coordinators, workers }: Team): Promise<Run> {
  const size = coordinators > 0 ? workers / coordinators : workers;
  const words = coordinators > 0 ? ['bench_hybrid', coordinators, size] : ['bench_flat', workers];
  return withDirectory(async (dir) => {
    const child = spawn('bash', [script, ...words.map(String)], {
      stdio: ['ignore', 'pipe', 'ignore'], // says what it loses: files that are gone already
      env: { ...process.env, BASE: dir, CAP: scriptCap },
    });
    const exited = once(child, 'exit');
    const lines = (await text(child.stdout)).trim().split('\n');
    const [code] = await exited;
    if (code !== 0) throw new Error(`bash ended with ${code}`);
    const [began = 0, ended = 0] = [lines.shift(), lines.pop()].map(Number);
    const ids = new Set(lines.flatMap((line) => line.split(',')).filter(Boolean));
    return {
      samples: [(ended - began) * 1000],
      sent: workers,
      lost: workers - ids.size,
      outOfOrder: 0,
    };
  });
}

interface Files {
  init(agent: string): void;
  send(from: string, to: string, type: string, payload: string): string;
  receive(agent: string): { msg_id: string; from: string; payload: unknown }[];
  clear(agent: string): void;
}

/**
 * The same by variant D. All agents are turns of one process: what starting, waking and polling
 * cost is left out, and only the files are measured.
 */
export async function fileTeamsInOneProcess(team: Team): Promise<Run> {
  const module = (await import(
    new URL('cli/bench/file-ipc.js', import.meta.resolve('cfc')).href
  )) as {
    FileIpc: new (base: string, variant: unknown) => Files;
    fileIpcVariants: { D: unknown };
  };
  return withDirectory((dir) => {
    const files = new module.FileIpc(dir, module.fileIpcVariants.D);
    const teams = teamsOf(team);
    files.init('master');
    for (const { leader, members } of teams)
      for (const name of [leader, ...members]) files.init(name);
    const beganAt = performance.now();
    const seen = new Set<number>();
    for (const { leader, members } of teams) {
      if (leader !== 'master') files.send('master', leader, 'task', '{"team":"X"}');
      const ids = askTeam(files, leader, members);
      if (leader === 'master') for (const id of ids) seen.add(id);
      else files.send(leader, 'master', 'response', JSON.stringify({ status: 'ok', ids }));
    }
    for (const { payload } of take(files, 'master')) {
      for (const id of (payload as { ids: number[] }).ids) seen.add(id);
    }
    const ms = performance.now() - beganAt;
    const lost = team.workers - seen.size;
    return Promise.resolve({ samples: [ms], sent: team.workers, lost, outOfOrder: 0 });
  });
}

function teamsOf({ coordinators, workers }: Team): { leader: string; members: string[] }[] {
  if (coordinators === 0) return [{ leader: 'master', members: namesOf('worker', workers) }];
  return Array.from({ length: coordinators }, (_, i) => ({
    leader: `coord-${i}`,
    members: namesOf(`worker-${i}`, workers / coordinators),
  }));
}

const namesOf = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, i) => `${prefix}-${i}`);

let next = 0;

function askTeam(files: Files, leader: string, members: readonly string[]): number[] {
  for (const name of members) {
    next += 1;
    files.send(leader, name, 'task', `{"id":${next}}`);
  }
  for (const name of members) {
    for (const { from, payload } of take(files, name)) {
      const { id } = payload as { id: number };
      files.send(name, from, 'response', `{"status":"ok","ids":[${id}]}`);
    }
  }
  const answers = take(files, leader).map(({ payload }) => payload as { ids?: number[] });
  return answers.flatMap(({ ids = [] }) => ids);
}

function take(files: Files, agent: string) {
  const messages = files.receive(agent);
  files.clear(agent);
  return messages;
}
