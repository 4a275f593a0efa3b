import { isCost } from './case.js';
import type { Against, Figures, Row } from './measure.js';
import type { Ratio } from './statistics.js';

/** From so many samples on a 99.9th percentile says something. */
const samplesForP999 = 2000;

/** A row for a person: figures, what was lost, ratios with their bounds, targets. */
export function render(row: Row): string {
  const lines = [`${row.name} [${row.placement}]`, figuresLine(row, row.ours, targetOf(row))];
  for (const rival of row.rivals) lines.push(figuresLine(row, rival.figures, ''));
  for (const rival of row.rivals) lines.push(...ratioLines(row, rival));
  return lines.join('\n');
}

function figuresLine(row: Row, figures: Figures, aim: string): string {
  const { name, detail } = figures;
  const notes = [detail ?? '', lossOf(figures), shareOf(row, figures)].filter(Boolean).join('; ');
  const noted = notes === '' ? '' : `   (${notes})`;
  return `  ${name.padEnd(18)} ${showFigures(row, figures)}${aim}${noted}`;
}

function ratioLines(row: Row, { figures, ...rival }: Against): string[] {
  const label = `  cfc / ${figures.name}`.padEnd(30);
  const aim = aimOf(row, rival.targetRatio, rival.ratio, rival.byWorst);
  const lines = [`${label} ${showRatio(rival.ratio)}${aim}`];
  if (rival.ratioP99) {
    const aim = aimOf(row, rival.targetRatioP99, rival.ratioP99);
    lines.push(`${`${label.trimEnd()} p99`.padEnd(30)} ${showRatio(rival.ratioP99)}${aim}`);
  }
  return lines;
}

/** Times as percentiles, rates as a median with the slowest and the quickest run. */
export function showFigures(row: Row, figures: Figures): string {
  if (row.unit !== 'us') {
    const { low, high } = figures;
    return `${show(figures.median)} ${row.unit} (${show(low)} to ${show(high)})`;
  }
  const last = figures.runs < samplesForP999 ? '' : `  p999 ${show(figures.p999)}`;
  return `p50 ${show(figures.median)}  p99 ${show(figures.p99)}${last} us`;
}

export function lossOf({ sent, lost, outOfOrder }: Figures): string {
  const parts = [];
  if (lost > 0) parts.push(`lost ${((100 * lost) / sent).toFixed(1)} %`);
  if (outOfOrder > 0) parts.push(`${outOfOrder} out of order`);
  return parts.join(', ');
}

export function shareOf({ ours, targetShare }: Row, figures: Figures): string {
  if (figures.slowestShare === undefined) return '';
  const text = `slowest producer ${figures.slowestShare.toFixed(2)} of its share`;
  if (figures !== ours || targetShare === undefined) return text;
  return `${text}, ${figures.slowestShare >= targetShare ? 'meets' : 'MISSES'} ${targetShare}`;
}

/** An absolute figure gets no verdict: it is a target on one machine only. */
function targetOf(row: Row): string {
  const text = targetText(row);
  return text === '' ? '' : `   target ${text}`;
}

export function targetText({ target, targetP99, unit }: Row): string {
  const than = isCost(unit) ? '<=' : '>=';
  const texts = target === undefined ? [] : [`${than} ${show(target)}`];
  if (targetP99 !== undefined) texts.push(`p99 ${than} ${show(targetP99)}`);
  return texts.join(', ');
}

/** By the median of the pairs, or by the worst of them. */
export function aimOf(
  { unit }: Row,
  target: number | undefined,
  { median, low, high }: Ratio,
  byWorst = false,
): string {
  if (target === undefined) return '';
  const worst = isCost(unit) ? high : low;
  const judged = byWorst ? worst : median;
  const met = isCost(unit) ? judged <= target : judged >= target;
  return `   ${met ? 'meets' : 'MISSES'} ${isCost(unit) ? '<=' : '>='} ${target}`;
}

export function show(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  if (value >= 1e4) return `${(value / 1e3).toFixed(0)} k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

export function showRatio({ median, low, high }: Ratio): string {
  return `${brief(median)} (${brief(low)} to ${brief(high)})`;
}

function brief(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 0.1 ? value.toFixed(2) : value.toPrecision(2);
}
