import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, expect, test } from 'vitest';
import { errorCodes } from '../../src/errors.js';
import { catalog } from '../../src/metrics/catalog.js';
import { root } from '../support/child.js';

const read = (path: string) => readFileSync(join(root, path), 'utf8');
const core = 'native/core';
const headers = readdirSync(join(root, core)).filter((name) => name.endsWith('.h'));
const memory = read('docs/memory.md');
const documents = [
  ...readdirSync(root),
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'));

/** The files of a folder with one of these endings, of its folders too. */
function sources(folder: string, endings: readonly string[]): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => endings.some((ending) => name.endsWith(ending)))
    .map((name) => `${folder}/${name}`);
}

/** The cells of each row of a Markdown table whose first cell is one name in backticks. */
function rows(text: string): string[][] {
  return text.split('\n').flatMap((line) => {
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
    return cells[0] === '' && cells.length > 2 ? [cells.slice(1, -1)] : [];
  });
}

const unquoted = (cell: string | undefined) => /^`([^`]+)`$/.exec(cell ?? '')?.[1];

/** The part of a document under a heading, up to the next one of that depth or above. */
function section(text: string, heading: string): string {
  const depth = heading.indexOf(' ');
  const begin = text.indexOf(`\n${heading}\n`);
  expect(begin, heading).toBeGreaterThan(0);
  const rest = text.slice(begin + heading.length + 2);
  const end = new RegExp(`^#{1,${depth}} `, 'm').exec(rest)?.index;
  return rest.slice(0, end);
}

/** Whole numbers that the headers of the core name. */
function constants(): Map<string, number> {
  const found = new Map<string, number>();
  for (const header of headers) {
    for (const [, name, value] of read(`${core}/${header}`).matchAll(
      /constexpr \w+ (k\w+) = ([\d']+);/g,
    )) {
      found.set(name as string, Number((value as string).replaceAll("'", '')));
    }
  }
  return found;
}

/** `3 * kLineBytes`, with names from the headers. */
function evaluate(product: string, names: ReadonlyMap<string, number>): number {
  return product
    .split('*')
    .map((factor) => names.get(factor.trim()) ?? Number(factor))
    .reduce((a, b) => a * b);
}

describe('docs/memory.md', () => {
  test('has a row in its crash table for each fail point of the sources, and no other', () => {
    const inSources = new Set<string>();
    for (const folder of ['core', 'binding', 'cli']) {
      for (const path of sources(`native/${folder}`, ['.h', '.cc'])) {
        for (const [, point] of read(path).matchAll(/CFC_FAIL_POINT\("([^"]+)"\)/g)) {
          inSources.add(point as string);
        }
      }
    }
    const documented = rows(section(memory, '## Crash table')).flatMap(
      ([point]) => unquoted(point) ?? [],
    );

    expect(inSources.size).toBeGreaterThan(0);
    expect(documented.toSorted()).toEqual([...inSources].toSorted());
  });

  test('has the sizes that the sources assert', () => {
    const names = constants();
    const asserted = new Map<string, number>();
    for (const header of headers) {
      for (const [, type, size] of read(`${core}/${header}`).matchAll(
        /static_assert\(sizeof\((\w+)\) == ([^,]+),\s+"docs\/memory\.md draws/g,
      )) {
        asserted.set(type as string, evaluate(size as string, names));
      }
    }
    const documented = new Map(
      rows(section(memory, '### Sizes')).flatMap(([type, bytes]) => {
        const name = unquoted(type);
        return name === undefined ? [] : [[name, Number(bytes)] as const];
      }),
    );

    expect(asserted.size).toBeGreaterThan(0);
    expect(documented).toEqual(asserted);
  });

  test('says how much fits into a cell, and how many buckets a histogram has', () => {
    const inline = /static_assert\(kInlineBytes == (\d+)\)/.exec(read(`${core}/layout.h`))?.[1];
    const buckets = /kBuckets == (\d+)/.exec(read(`${core}/histogram.h`))?.[1];

    expect(memory).toContain(`A cell has ${inline} bytes of inline payload.`);
    expect(memory).toContain(`A histogram has ${buckets} buckets.`);
  });

  test('has each word of a cell at its index', () => {
    const body = /enum CellWord : uint32_t \{([^}]*)\}/.exec(read(`${core}/layout.h`))?.[1] ?? '';
    const words = [...body.matchAll(/(k\w+) = (\d+),/g)].map(([, name, index]) => [index, name]);
    const documented = rows(section(memory, '### Cell')).flatMap(([index, name]) => {
      const word = unquoted(name);
      return word === undefined ? [] : [[index, word]];
    });

    expect(words.length).toBeGreaterThan(0);
    expect(documented).toEqual(words);
  });

  test('says how many metrics cfc itself has', () => {
    const list = /#define CFC_METRIC_LIST\(X\)([\s\S]*?)\n\n/.exec(read(`${core}/metrics.h`))?.[1];
    const count = [...(list ?? '').matchAll(/X\(k/g)].length;

    expect(memory).toContain(`The first ${count} places hold the predefined metrics`);
    expect(read('docs/api.md')).toContain(`of which cfc itself has ${count}`);
  });
});

describe('docs/cli.md', () => {
  test('has a section for each verb', () => {
    const program = read('src/cli/program.ts');
    const verbs = [...program.matchAll(/(\w+)Verb\(\)/g)].map(([, name]) => name as string);
    const text = read('docs/cli.md');

    expect(verbs.length).toBeGreaterThan(0);
    for (const verb of verbs) {
      expect(new RegExp(`^## .*\`cfc ${verb}\``, 'm').test(text), verb).toBe(true);
    }
  });

  test('names every option that a verb has', () => {
    const text = read('docs/cli.md');
    for (const path of sources('src/cli', ['.ts'])) {
      for (const [, option] of read(path).matchAll(/\b[oO]ption\(\s*'(?:-\w, )?(--[a-z]+)/g)) {
        expect(text.includes(option as string), `${option} of ${path}`).toBe(true);
      }
    }
  });
});

describe('docs/metrics.md', () => {
  test('has a row for each metric of the catalog, and no other', () => {
    const documented = rows(section(read('docs/metrics.md'), '## What is measured')).flatMap(
      ([metric, ...cells]) => {
        const name = unquoted(metric);
        return name === undefined ? [] : [[name, ...cells]];
      },
    );

    expect(documented).toEqual(
      [...catalog.values()].map(({ metric, unit, kind, of, help }) => [
        metric,
        unit,
        kind,
        of,
        help,
      ]),
    );
  });
});

describe('docs/errors.md', () => {
  test('has the exit code of each error', () => {
    const outcome = read('src/cli/outcome.ts');
    const numbers = new Map(
      [...outcome.matchAll(/^ {2}(\w+): (\d+),$/gm)].map(([, name, code]) => [name, code]),
    );
    const exits = new Map(
      [...outcome.matchAll(/^ {2}(ERR_CFC_\w+): exitCodes\.(\w+),$/gm)].map(([, code, name]) => [
        code,
        numbers.get(name),
      ]),
    );
    const documented = rows(read('docs/errors.md')).flatMap(([code, , , exit]) => {
      const name = unquoted(code);
      return name?.startsWith('ERR_CFC_') ? [[name, exit]] : [];
    });

    expect(exits.size).toBeGreaterThan(0);
    expect(documented.toSorted()).toEqual(
      errorCodes.map((code) => [code, exits.get(code) ?? '1']).toSorted(),
    );
  });
});

/** As GitHub makes them of headings. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/ /g, '-');

describe.each(documents)('%s', (path) => {
  test('names only files that there are', () => {
    for (const [, file] of read(path).matchAll(
      /`((?:bench|docs|native|scripts|src|test)\/[\w./-]+\.(?:cc|h|md|mjs|sh|ts))`/g,
    )) {
      expect(existsSync(join(root, file as string)), file).toBe(true);
    }
  });

  test('links only to what there is', () => {
    const prose = read(path).replace(/^```[\s\S]*?^```/gm, '');
    for (const [link, target] of prose.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target as string)) continue;
      const [file = '', anchor] = (target as string).split('#');
      const to = file === '' ? path : normalize(join(dirname(path), file));
      expect(existsSync(join(root, to)), `${link} of ${path}`).toBe(true);
      if (anchor === undefined) continue;
      const anchors = [...read(to).matchAll(/^#+ (.+)$/gm)].map(([, text]) =>
        anchorOf(text as string),
      );
      expect(anchors, `${link} of ${path}`).toContain(anchor);
    }
  });
});
