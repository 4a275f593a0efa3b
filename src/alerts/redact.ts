const secretName =
  /(?:^|[^a-z])(?:pass(?:word|wd|phrase)?|secret|token|credentials?|(?:api|private|access)[ _-]?key|auth(?:orization)?|cookie|session)(?:$|[^a-z])/i;

export const redacted = '[redacted]';
/** Shorter values would be found in harmless text. */
const leastSecretLength = 6;

/** Whether a variable, label or argument of that name holds what nobody else should read. */
export function isSecretName(name: string): boolean {
  return secretName.test(name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').replaceAll('_', ' '));
}

/**
 * Takes out of texts and labels what must not leave this process: the values of variables whose name
 * says that they are secret, what stands behind such a name in the text, and passwords in addresses.
 */
export class Redactor {
  readonly #secrets: readonly string[];

  constructor(env: Readonly<Record<string, string | undefined>> = process.env) {
    this.#secrets = Object.entries(env)
      .filter(([name, value]) => isSecretName(name) && (value ?? '').length >= leastSecretLength)
      .map(([, value]) => value as string)
      .sort((a, b) => b.length - a.length);
  }

  text(text: string): string {
    let out = text;
    for (const secret of this.#secrets) {
      if (out.includes(secret)) out = out.replaceAll(secret, redacted);
    }
    return out
      .replace(/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@:]+:[^\s/@]+@/gi, `$1${redacted}@`)
      .replace(/\b(bearer)\s+[\w.~+/=-]{6,}/gi, `$1 ${redacted}`)
      .replace(/([\w-]+)(\s*[=:]\s*)("?)([^\s"&,;]+)\3/g, (whole, name: string, mark: string) =>
        isSecretName(name) ? `${name}${mark}${redacted}` : whole,
      );
  }

  labels(labels: Readonly<Record<string, string>>): Record<string, string> {
    return Object.fromEntries(
      Object.entries(labels).map(([name, value]) => [
        name,
        isSecretName(name) ? redacted : this.text(value),
      ]),
    );
  }
}

/** An address as logs may show it: neither path nor query, in which webhooks keep their secrets. */
export function shownUrl(url: string): string {
  try {
    const { protocol, host } = new URL(url);
    return `${protocol}//${host}/…`;
  } catch {
    return '(no address)';
  }
}
