// One side of a bench of file IPC, in a process of its own.
// Arguments: variant (A to D), role, base directory, count, bytes
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setImmediate } from 'node:timers/promises';
import { FileIpc, type FileMessage, fileIpcVariants } from './file-ipc.js';
import { fileIpcScript } from './file-ipc-script.js';
import { finish, mostSeconds, Numbers, nowUs, ready } from './peer-tools.js';
import { openSystemSync } from './system-sync.js';

const [variant = '', role = '', base = '', countText, bytesText] = process.argv.slice(2);
const count = Number(countText);
const bytes = Number(bytesText);
const scriptCap = 100;

/** As many bytes as asked for, with a number in it. */
function payloadOf(number: number, filler: string): string {
  return `{"n":${number},"fill":"${filler}"}`;
}
const filler = 'x'.repeat(Math.max(0, bytes - payloadOf(1000, '').length));

const numberIn = ({ payload }: FileMessage) => (payload as { n: number }).n;

// ---- B, C, D: in this process. A consumer looks again at once, which no shell could afford.

function inProcess(): Promise<unknown> | undefined {
  const facts = fileIpcVariants[variant as keyof typeof fileIpcVariants];
  const sync = variant === 'B' ? openSystemSync() : undefined;
  if (variant === 'B' && sync === undefined) throw new Error('variant B needs perl for its syncs');
  const files = new FileIpc(base, sync === undefined ? facts : { ...facts, sync });

  async function takeAll(agent: string): Promise<FileMessage[]> {
    for (;;) {
      const messages = files.receive(agent);
      files.remove(agent, messages);
      if (messages.length > 0) return messages;
      await setImmediate();
    }
  }

  const roles: Record<string, () => Promise<unknown>> = {
    send() {
      const beganAtUs = nowUs();
      const until = beganAtUs + mostSeconds * 1e6;
      let sent = 0;
      for (; sent < count - 1 && nowUs() < until; sent += 1) {
        files.send('sender', 'receiver', 'task', payloadOf(sent, filler));
      }
      files.send('sender', 'receiver', 'stop', payloadOf(sent, filler));
      return Promise.resolve({ sent: sent + 1, beganAtUs });
    },

    async receive() {
      const numbers = new Numbers(count);
      ready();
      for (let stopped = false; !stopped; ) {
        const messages = await takeAll('receiver');
        for (const message of messages) numbers.take(numberIn(message));
        stopped = messages.some(({ type }) => type === 'stop');
      }
      const endedAtUs = nowUs();
      // A directory that is written while it is read may hide a file from one look.
      for (const message of files.receive('receiver')) numbers.take(numberIn(message));
      return numbers.result(endedAtUs);
    },

    async ask() {
      const samples: number[] = [];
      const until = performance.now() + mostSeconds * 1000;
      for (let i = 0; i < count && performance.now() < until; i += 1) {
        const beganAt = performance.now();
        files.send('sender', 'receiver', 'task', payloadOf(i, filler));
        const [answer] = await takeAll('sender');
        samples.push((performance.now() - beganAt) * 1000);
        if (answer === undefined || numberIn(answer) !== i) throw new Error(`no answer to ${i}`);
      }
      files.send('sender', 'receiver', 'stop', '{}');
      return samples;
    },

    async answer() {
      ready();
      for (;;) {
        for (const { payload, type } of await takeAll('receiver')) {
          if (type === 'stop') return {};
          files.send('receiver', 'sender', 'response', JSON.stringify(payload));
        }
      }
    },
  };
  return roles[role]?.();
}

// ---- A: in a shell, which we only read

async function inBash(): Promise<unknown> {
  const child = spawn('bash', ['-c', fileIpcScript, 'file-ipc', `bench_${role}`, ...words()], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, BASE: base, CAP: String(scriptCap) },
  });
  const exited = once(child, 'exit');
  if (role === 'receive' || role === 'answer') ready();
  const output = await text(child.stdout);
  const [code] = await exited;
  if (code !== 0) throw new Error(`bash ended with ${code}`);
  return readings[role]?.(output);
}

function words(): string[] {
  return role === 'send' || role === 'ask' ? [String(count), filler] : [];
}

const readings: Record<string, (output: string) => unknown> = {
  send: (output) => ({ sent: count, beganAtUs: Number(output) * 1e6 }),
  receive(output) {
    const numbers = new Numbers(count);
    let endedAt = 0;
    for (const piece of output.split(/^(?=#)/m)) {
      const [, time, json = piece] = /^#([\d.]+)\n([\s\S]*)$/.exec(piece) ?? [];
      if (time !== undefined) endedAt = Number(time);
      if (json.trim() === '') continue;
      for (const message of JSON.parse(json) as FileMessage[]) numbers.take(numberIn(message));
    }
    return numbers.result(endedAt * 1e6);
  },
  ask: (output) =>
    output
      .trim()
      .split('\n')
      .map((line) => {
        const [began = 0, ended = 0] = line.split(' ').map(Number);
        return (ended - began) * 1e6;
      }),
  answer: () => ({}),
};

await finish(await (variant === 'A' ? inBash() : inProcess()));
