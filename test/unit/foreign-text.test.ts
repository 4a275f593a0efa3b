// What people and other programs write, at random: command lines, topologies, JSON lines, text for
// a terminal. CFC_FUZZ_RUNS=1000000 npx vitest run test/unit/foreign-text.test.ts does more of it.
import { Readable } from 'node:stream';
import { CommanderError } from 'commander';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseJsonLine, readLines } from '../../src/cli/input.js';
import { exitCodes, Outcome } from '../../src/cli/outcome.js';
import { makeProgram } from '../../src/cli/program.js';
import { stripText } from '../../src/cli/text.js';
import { CfcError } from '../../src/errors.js';
import { Topology } from '../../src/topology/topology.js';

const numRuns = Number(process.env.CFC_FUZZ_RUNS ?? 2000);
const timeoutMs = 30_000 + numRuns * 5;

/** Thrown in place of what a verb would do: this command line was understood. */
class Understood extends Error {}

describe('A command line', () => {
  const program = makeProgram();
  const verbs = program.commands.map((verb) => verb.name());
  const flags = program.commands.flatMap((verb) => verb.options.map(({ long }) => long ?? '--'));
  for (const verb of [program, ...program.commands]) {
    verb.configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} });
  }
  program.hook('preAction', () => {
    throw new Understood();
  });
  const word = fc.oneof(
    fc.constantFrom(...verbs, ...new Set(flags), '--', '-', '5s', '-1', '1e9', 'team:A', ''),
    fc.string({ maxLength: 12 }),
  );

  test(
    'is understood, or refused as a usage error, whatever it is',
    async () => {
      let understood = 0;
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...verbs, 'bogus'),
          fc.array(word, { maxLength: 6 }),
          async (verb, words) => {
            try {
              await program.parseAsync([verb, ...words], { from: 'user' });
            } catch (error) {
              if (error instanceof Understood) understood += 1;
              else if (error instanceof Outcome) expect(error.exitCode).toBe(exitCodes.usage);
              else if (error instanceof CfcError) expect(error.code).toBe('ERR_CFC_USAGE');
              else expect(error).toBeInstanceOf(CommanderError);
            }
          },
        ),
        { numRuns },
      );
      expect(understood).toBeGreaterThan(numRuns / 100);
    },
    timeoutMs,
  );
});

describe('A topology file', () => {
  const sound = [
    'shape: hybrid',
    'coordinators: 2',
    'workersPerCoordinator: 3',
    'worker:',
    '  command: [wc, -l]',
    '  restart: on-failure',
  ];
  const line = fc.oneof(
    fc.constantFrom(...sound, 'agents:', '  - name: a', '    command: [x]', 'shape: flat', '&a *a'),
    fc.string({ maxLength: 20 }),
  );

  test(
    'is taken, or refused with the line of each mistake, whatever it is',
    () => {
      let refused = 0;
      fc.assert(
        fc.property(fc.array(line, { maxLength: 10 }), (lines) => {
          try {
            Topology.parse(lines.join('\n'));
          } catch (error) {
            expect(error).toBeInstanceOf(CfcError);
            expect((error as CfcError).code).toBe('ERR_CFC_TOPOLOGY_INVALID');
            expect((error as CfcError).details.problems).not.toHaveLength(0);
            refused += 1;
          }
        }),
        { numRuns },
      );
      expect(refused).toBeGreaterThan(numRuns / 10);
    },
    timeoutMs,
  );
});

describe('Lines of JSON', () => {
  test(
    'are split where they end, however the pieces fall, and refused by their number',
    async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.oneof(fc.json(), fc.string()), { maxLength: 6 }),
          fc.integer({ min: 1, max: 9 }),
          async (texts, piece) => {
            const lines = texts.map((text) => text.replaceAll('\n', ' '));
            const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
            const pieces = Array.from({ length: Math.ceil(bytes.length / piece) }, (_, i) =>
              bytes.subarray(i * piece, (i + 1) * piece),
            );
            const read: Buffer[] = [];
            for await (const one of readLines(Readable.from(pieces))) read.push(one);
            expect(read.map(String)).toEqual(lines.map((text) => Buffer.from(text).toString()));
            for (const [i, one] of read.entries()) {
              try {
                parseJsonLine(one, i + 1);
              } catch (error) {
                expect(error).toBeInstanceOf(Outcome);
                expect(String(error)).toContain(`line ${i + 1} `);
              }
            }
          },
        ),
        { numRuns },
      );
    },
    timeoutMs,
  );
});

describe('Text for a terminal', () => {
  const piece = fc.oneof(
    fc.constantFrom('\u001b', '\u001b[', '\u001b]', '\u009b', '\u009d', '\u0007', '\\', '\u202e'),
    fc.string({ unit: 'binary', maxLength: 5 }),
  );

  test(
    'holds no control character and no override afterwards, and stays as it is a second time',
    () => {
      fc.assert(
        fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
          const text = stripText(pieces.join(''));
          expect([...text].filter(isDangerous)).toEqual([]);
          expect(stripText(text)).toBe(text);
        }),
        { numRuns },
      );
    },
    timeoutMs,
  );
});

/** Control characters but tab and newline, bidi overrides and isolates. */
function isDangerous(character: string): boolean {
  const code = character.codePointAt(0) as number;
  return (
    (code < 32 && code !== 9 && code !== 10) ||
    (code >= 0x7f && code <= 0x9f) ||
    (code >= 0x202a && code <= 0x202e) ||
    (code >= 0x2066 && code <= 0x2069)
  );
}
