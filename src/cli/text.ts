// What foreign text may do to a terminal: move its cursor, rename its window, answer in its user's
// name, turn a line around. Nothing of that gets through.

// Sequences first, so that nothing of them stays behind: OSC, DCS, SOS, PM and APC up to their end,
// CSI, and the two-character ones.
const sequences =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /(?:\u001b[\]P^_X]|[\u009d\u0090\u009e\u009f\u0098])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]?|\u001b[ -/]*[0-~]?/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const bidi = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const unsafeInJson = /[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Without escapes, control characters (but tab and newline) and bidi overrides. */
export function stripText(text: string): string {
  return text.replace(sequences, '').replace(controls, '').replace(bidi, '');
}

/** For a place in a line: newlines and tabs go too. */
export function stripLine(text: string): string {
  return stripText(text).replace(/[\n\t]+/g, ' ');
}

/** The same JSON, with what a terminal might act on written as an escape. */
export function escapeJson(json: string): string {
  return json.replace(
    unsafeInJson,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @returns undefined where the bytes are no UTF-8 */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes);
  } catch {
    return undefined;
  }
}

/** `{name: text}`, or `{nameBase64: …}` where the bytes are no UTF-8. */
export function textOrBase64(name: string, bytes: Uint8Array): Record<string, string> {
  const text = decodeText(bytes);
  if (text !== undefined) return { [name]: text };
  return {
    [`${name}Base64`]: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
      'base64',
    ),
  };
}

/** Columns under their heads, wide enough for what they hold. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((head, i) =>
    Math.max(head.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join('  ')
      .trimEnd();
  return `${[heads, ...rows].map(line).join('\n')}\n`;
}
