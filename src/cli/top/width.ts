import { stripLine } from '../text.js';

// How many columns text takes on a terminal: none for marks that combine, two for the scripts of
// East Asia and for pictures. Good for a table, not for typesetting.

const plain = /^[\u0020-\u007e]*$/;
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const empty = /[\p{M}\p{Cf}]/u;

function widthOfCharacter(character: string): number {
  if (empty.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/** Columns that `text` takes, which has no control characters. */
export function widthOf(text: string): number {
  if (plain.test(text)) return text.length;
  let width = 0;
  for (const character of text) width += widthOfCharacter(character);
  return width;
}

/** The beginning of `text` that fits; where something is cut off, it ends in `~`. */
export function clip(text: string, width: number): string {
  if (width <= 0) return '';
  if (widthOf(text) <= width) return text;
  let kept = '';
  let taken = 0;
  for (const character of text) {
    taken += widthOfCharacter(character);
    if (taken > width - 1) break;
    kept += character;
  }
  return `${kept}~`;
}

/** Exactly `width` columns. */
export function pad(text: string, width: number, right = false): string {
  const clipped = clip(text, width);
  const gap = ' '.repeat(Math.max(0, width - widthOf(clipped)));
  return right ? gap + clipped : clipped + gap;
}

/** Text of others for a place in a line: nothing in it that a terminal obeys. */
export const foreign = (text: string): string => stripLine(text);

/** `950`, `1.2k`, `34M`: at most five columns. */
export function short(value: number): string {
  if (value !== 0 && Math.abs(value) < 9.95) return String(Math.round(value * 10) / 10);
  for (const [limit, scale, unit] of [
    [999.5, 1, ''],
    [999_500, 1e3, 'k'],
    [999.5e6, 1e6, 'M'],
    [999.5e9, 1e9, 'G'],
  ] as const) {
    if (Math.abs(value) >= limit) continue;
    const scaled = value / scale;
    return `${unit !== '' && scaled < 9.95 ? scaled.toFixed(1) : Math.round(scaled)}${unit}`;
  }
  return value.toExponential(0);
}

/** `5s`, `3m`, `2h`, `4d`. */
export function age(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 100) return `${Math.floor(seconds)}s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
