// Takes the screens of docs/top.md anew: a small fabric of real processes, `cfc top` in tmux, and
// what tmux says is on the screen. Needs tmux, and a build.
//
//   node scripts/top-screens.mjs          writes them into docs/top.md
//   node scripts/top-screens.mjs --print  prints them
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Fabric } from '../dist/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const dir = mkdtempSync('/dev/shm/cfc-screens-');
const socket = join(mkdtempSync(join(tmpdir(), 'cfc-screens-')), 'tmux');
const document = join(root, 'docs', 'top.md');
const limitMs = 30_000;

// Agents of another process, one of which dies in mid-work.
const doomed = `
  import { Fabric } from ${JSON.stringify(join(root, 'dist', 'index.js'))};
  const fabric = await Fabric.open('review', { dir: ${JSON.stringify(dir)} });
  const me = await fabric.join('blue-3', { role: 'reviewer', team: 'blue', parent: 'lead' });
  const message = await me.receive();
  me.counter('files.read', 'files').add(3);
  process.stdout.write('working');
  setInterval(() => message.leased, 1000);
`;

function tmux(...words) {
  return execFileSync('tmux', ['-S', socket, ...words], { encoding: 'utf8' });
}

/** What is on the screen, once `pattern` is. */
async function screen(pattern) {
  const until = performance.now() + limitMs;
  for (;;) {
    const shown = tmux('capture-pane', '-p').trimEnd();
    if (pattern.test(shown)) return shown;
    if (performance.now() > until) throw new Error(`no ${pattern} on the screen:\n${shown}`);
    await sleep(100);
  }
}

async function populate(fabric) {
  const lead = await fabric.join('lead', { role: 'coordinator', team: 'lead' });
  const workers = [];
  for (const team of ['red', 'blue']) {
    for (let i = 1; i <= 4; i += 1) {
      if (team === 'blue' && i === 3) continue;
      const spec = { role: 'reviewer', team, parent: 'lead', mailboxCells: 64 };
      workers.push(await fabric.join(`${team}-${i}`, spec));
    }
  }
  return { lead, workers };
}

/** Everybody works, but for the one that has stopped reading. */
function work({ lead, workers }) {
  for (let i = 0; i < 16; i += 1) lead.trySend('red-2', 'now', { priority: 'control' });
  const timer = setInterval(() => {
    for (const worker of workers) {
      lead.trySend(worker.name, { file: 'src/index.ts' }, { type: 'review' });
      if (worker.name === 'red-2') continue;
      for (let one = worker.tryReceive(); one !== undefined; one = worker.tryReceive()) one.ack();
    }
  }, 20);
  return () => clearInterval(timer);
}

async function take() {
  const screens = {};
  const fabric = await Fabric.open('review', { create: true, dir });
  const child = spawn(process.execPath, ['--input-type=module', '--eval', doomed], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const all = await populate(fabric);
    const stop = work(all);
    while (!fabric.snapshot().some(({ name }) => name === 'blue-3')) await sleep(20);
    await all.lead.send('blue-3', 'src/fabric.ts', { type: 'review' });
    await all.lead.send('blue-3', 'src/errors.ts', { type: 'review' });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    const environment = `CFC_DIR=${dir} CFC_STATE_DIR=${dir} CFC_FABRIC=review NO_COLOR=1`;
    const command = `env ${environment} node dist/cli/main.js top`;
    tmux('new-session', '-d', '-x', '80', '-y', '24', '-c', root, command);
    await screen(/9 alive/);
    child.kill('SIGKILL');
    await screen(/has died/);
    screens.agents = await screen(/red-2 .* alive +degraded +[78][0-9]/);
    tmux('send-keys', '2');
    screens.teams = await screen(/\[2 teams\]/);
    tmux('send-keys', '1', '/', 'blue-3', 'Enter', 'Enter');
    screens.agent = await screen(/MAILBOX +2 of/);
    tmux('send-keys', '?');
    screens.help = await screen(/turn the order around/);
    tmux('send-keys', 'x', 'Left', 'c', 's', 's');
    await screen(/by sent/);
    tmux('resize-window', '-x', '160', '-y', '30');
    screens.wide = await screen(/PARENT[\s\S]*PID/);
    stop();
    await fabric.close();
    await Fabric.destroy('review', { dir });
    screens.gone = await screen(/the fabric is gone/);
    tmux('send-keys', 'q');
  } finally {
    child.kill('SIGKILL');
    try {
      tmux('kill-server');
    } catch {
      // It has ended by itself.
    }
  }
  return screens;
}

try {
  const screens = await take();
  let text = readFileSync(document, 'utf8');
  for (const [name, shown] of Object.entries(screens)) {
    if (process.argv.includes('--print')) console.log(`${shown}\n`);
    const place = new RegExp(`(<!-- screen: ${name} -->\n)[\\s\\S]*?(<!-- end -->)`);
    if (!place.test(text)) throw new Error(`docs/top.md has no place for the screen ${name}`);
    text = text.replace(
      place,
      (_all, begin, end) => `${begin}\n\`\`\`text\n${shown}\n\`\`\`\n\n${end}`,
    );
  }
  if (!process.argv.includes('--print')) writeFileSync(document, text);
} finally {
  rmSync(dir, { recursive: true, force: true });
  rmSync(join(socket, '..'), { recursive: true, force: true });
}
