/** A, B, … Z, AA, AB, …: as columns of a sheet are called. @param index from 0 */
export function letters(index: number): string {
  let text = '';
  for (let rest = index + 1; rest > 0; rest = Math.floor((rest - 1) / 26)) {
    text = String.fromCharCode(65 + ((rest - 1) % 26)) + text;
  }
  return text;
}

/** Words that are addresses, and so no names. */
export const reservedNames: readonly string[] = ['parent', 'children', 'peers'];

export const namePattern = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
