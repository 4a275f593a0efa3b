import { clip, widthOf } from './width.js';

/** A number of the terminal's Select Graphic Rendition; 7, reverse, is no colour. */
export type Style = number;
/** Pieces of text, each with its style. */
export type Line = [text: string, style?: Style | undefined][];

export const strong: Style = 1;
export const dim: Style = 2;
export const mark: Style = 7;
export const bad: Style = 31;
export const good: Style = 32;
export const worrying: Style = 33;
export const head: Style = 36;
export const moods = { good, bad, plain: worrying } as const;

export function widthOfLine(line: Line): number {
  return line.reduce((sum, [text]) => sum + widthOf(text), 0);
}

/** A line as a terminal gets it: no wider than `columns`. */
export function paint(line: Line, columns: number, colour: boolean): string {
  let out = '';
  let room = columns;
  for (const [text, style] of line) {
    if (room <= 0) break;
    const kept = clip(text, room);
    room -= widthOf(kept);
    // Without colour, what is marked and what is bold still is.
    const shown = style !== undefined && (colour || style < 30) ? style : undefined;
    out += shown === undefined || kept === '' ? kept : `\u001b[${shown}m${kept}\u001b[0m`;
  }
  return out;
}
