import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { alertsVerb } from './alerts.js';
import { askVerb } from './ask.js';
import { benchVerb } from './bench.js';
import { configVerb } from './config.js';
import { pauseVerb, resumeVerb, stopVerb } from './control.js';
import { coreVerb } from './core.js';
import { createVerb, destroyVerb } from './create.js';
import { deadVerb } from './dead.js';
import { demoVerb } from './demo.js';
import { downVerb } from './down.js';
import { emitVerb } from './emit.js';
import { clearVerb, countVerb, traceVerb } from './mailbox.js';
import { mapVerb } from './map.js';
import { metricsVerb } from './metrics.js';
import { exitCodeHelp } from './outcome.js';
import { peekVerb } from './peek.js';
import { postmortemVerb } from './postmortem.js';
import { psVerb } from './ps.js';
import { pubVerb } from './pub.js';
import { recvVerb } from './recv.js';
import { runVerb } from './run.js';
import { sendVerb } from './send.js';
import { warnOfSlips } from './settings.js';
import { ackVerb, nackVerb, replyVerb } from './settle.js';
import { soakVerb } from './soak.js';
import { healthVerb, statusVerb, waitVerb } from './status.js';
import { subVerb } from './sub.js';
import { topVerb } from './top.js';
import { topoVerb } from './topo.js';
import { upVerb } from './up.js';

/** Every verb of `cfc`. */
export function makeProgram(): Command {
  const program = new Command('cfc')
    .description('Messages, teams and work for command-line agents, in shared memory.')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'show this')
    .helpCommand('help [verb]', 'show the help of a verb')
    .addHelpText(
      'after',
      `${exitCodeHelp}\n\nFirst steps:\n  cfc demo\n  find . -name '*.md' | cfc map --workers 10 -- wc -l`,
    );
  const verbs = [
    mapVerb(),
    runVerb(),
    pauseVerb(),
    resumeVerb(),
    stopVerb(),
    demoVerb(),
    upVerb(),
    downVerb(),
    createVerb(),
    destroyVerb(),
    psVerb(),
    sendVerb(),
    recvVerb(),
    askVerb(),
    replyVerb(),
    ackVerb(),
    nackVerb(),
    peekVerb(),
    countVerb(),
    clearVerb(),
    deadVerb(),
    traceVerb(),
    statusVerb(),
    healthVerb(),
    waitVerb(),
    topoVerb(),
    pubVerb(),
    subVerb(),
    emitVerb(),
    metricsVerb(),
    benchVerb(),
    alertsVerb(),
    topVerb(),
    soakVerb(),
    postmortemVerb(),
    coreVerb(),
    configVerb(),
  ];
  for (const verb of [program, ...verbs, ...verbs.flatMap(({ commands }) => commands)]) {
    verb.exitOverride().configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'cfc: ')),
    });
  }
  program.enablePositionalOptions();
  for (const verb of verbs) program.addCommand(verb);
  // Help and the schema work where the configuration doesn't.
  program.hook('preAction', (_, verb) => {
    if (!verb.opts<{ schema?: boolean }>().schema) warnOfSlips();
  });
  return program;
}

function packageVersion(): string {
  const path = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
