import { readFileSync, writeFileSync } from 'node:fs';
import { describe, type Machine } from './machine.js';
import type { Against, Figures, Row } from './measure.js';
import { aimOf, lossOf, shareOf, showFigures, showRatio, targetText } from './print.js';

/** For programs. */
export function toJson(machine: Machine, rows: readonly Row[]): unknown {
  return {
    v: 1,
    machine,
    results: rows.flatMap((row) =>
      [row.ours, ...row.rivals.map(({ figures }) => figures)].map((figures) =>
        resultOf(row, figures),
      ),
    ),
    ratios: rows.flatMap((row) => row.rivals.map((rival) => ratioEntry(row, rival))),
  };
}

function resultOf(row: Row, figures: Figures): unknown {
  const { name: by, median, p99, p999, runs, low, high, ...rest } = figures;
  const { target, targetP99, targetShare } = row;
  const ours = figures === row.ours ? { target, targetP99, targetShare } : {};
  const name = `${by}: ${row.name} [${row.placement}]`;
  return { name, unit: row.unit, median, p99, p999, low, high, runs, ...rest, ...ours };
}

function ratioEntry(row: Row, { figures, ratio, ...rest }: Against): unknown {
  const { low, high } = ratio;
  const name = `${row.name} [${row.placement}]`;
  return { name, against: figures.name, ratio: ratio.median, bounds: { low, high }, ...rest };
}

/** For docs/performance.md. */
export function toMarkdown(machine: Machine, rows: readonly Row[], rounds: number): string {
  const lines = [
    `${describe(machine)}; ${rounds} interleaved rounds.`,
    '',
    '| Bench | Placement | | Figure | cfc over it | Target |',
    '| --- | --- | --- | --- | --- | --- |',
  ];
  for (const row of rows) {
    const target = asMath(targetText(row));
    lines.push(line([row.name, row.placement, '**cfc**', cell(row, row.ours), '', target]));
    for (const rival of row.rivals) {
      const { figures } = rival;
      lines.push(line(['', '', figures.name, cell(row, figures), ...comparison(row, rival)]));
    }
  }
  return `${lines.join('\n')}\n`;
}

function cell(row: Row, figures: Figures): string {
  const note = row.unit === 'ms' ? figures.detail : undefined;
  return [showFigures(row, figures), lossOf(figures), shareOf(row, figures), note]
    .filter(Boolean)
    .join('; ');
}

/** The ratio, that of the 99th percentile where times are compared, and how they meet their aims. */
function comparison(row: Row, rival: Against): [ratios: string, aims: string] {
  const { ratio, ratioP99, targetRatio, targetRatioP99, byWorst } = rival;
  const aims = [aimOf(row, targetRatio, ratio, byWorst).trim()];
  const ratios = [showRatio(ratio)];
  if (ratioP99 !== undefined) {
    ratios.push(`p99 ${showRatio(ratioP99)}`);
    const aim = aimOf(row, targetRatioP99, ratioP99).trim();
    if (aim !== '') aims.push(`p99 ${aim}`);
  }
  return [ratios.join('; '), asMath(aims.filter(Boolean).join('; '))];
}

const asMath = (text: string) => text.replaceAll('>=', '≥').replaceAll('<=', '≤');

const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`.replaceAll('  ', ' ');

/** A table of docs/performance.md, and the marks around it. */
const sections = {
  bench: [
    '<!-- bench:begin (written by `npm run bench -- --markdown docs/performance.md`) -->',
    '<!-- bench:end -->',
  ],
  fabric: [
    '<!-- fabric:begin (written by `npm run bench -- fabric --markdown docs/performance.md`) -->',
    '<!-- fabric:end -->',
  ],
} as const;
export type Section = keyof typeof sections;

/** Replaces what stands between the marks of `file`. */
export function updateSection(file: string, section: Section, markdown: string): void {
  const [begin, end] = sections[section];
  const text = readFileSync(file, 'utf8');
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`${file} has no section between ${begin} and ${end}`);
  writeFileSync(file, `${text.slice(0, from + begin.length)}\n\n${markdown}\n${text.slice(to)}`);
}
