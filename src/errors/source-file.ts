import { createRequire } from 'node:module';
import type * as yamlPackage from 'yaml';

// Loaded when a file is read, and not by everyone who sends a message.
const require = createRequire(import.meta.url);

/** What is wrong in a file, and where: `agents.3.parent`. */
export interface Finding {
  path: string;
  message: string;
  /** The place is that of the key, and not of its value. */
  atKey?: boolean;
}

/** The same with its place. */
export interface FileProblem {
  /** From 1; 0 where there is no file. */
  line: number;
  /** From 1; 0 where there is no file. */
  column: number;
  /** `agents.3.parent`; empty for the whole. */
  path: string;
  message: string;
}

/** A file in YAML (JSON is YAML too) whose values know where they stand. */
export class SourceFile {
  /** What makes it no YAML. */
  readonly broken: readonly FileProblem[];
  readonly value: unknown;
  readonly #document: yamlPackage.Document.Parsed;
  readonly #lines: yamlPackage.LineCounter;
  readonly #yaml: typeof yamlPackage;

  constructor(text: string) {
    this.#yaml = require('yaml') as typeof yamlPackage;
    this.#lines = new this.#yaml.LineCounter();
    this.#document = this.#yaml.parseDocument(text, {
      lineCounter: this.#lines,
      prettyErrors: false,
      strict: true,
    });
    const broken = [...this.#document.errors, ...this.#document.warnings].map(
      ({ message, pos }) => ({
        ...this.#at(pos[0]),
        path: '',
        message: message.split('\n')[0] as string,
      }),
    );
    this.value = broken.length === 0 ? this.#read(broken) : undefined;
    this.broken = broken;
  }

  /** With line and column: of a value; of what is missing, the thing that should have it. */
  locate(findings: readonly Finding[]): FileProblem[] {
    return findings
      .map(({ path, message, atKey = false }) => {
        return { ...this.#at(this.#offsetOf(path, atKey)), path, message };
      })
      .sort((a, b) => a.line - b.line || a.column - b.column);
  }

  // Aliases may blow up a small file: the package refuses more than a hundred.
  #read(broken: FileProblem[]): unknown {
    try {
      return this.#document.toJS() as unknown;
    } catch (error) {
      const place = this.#at(this.#danglingAlias() ?? 0);
      broken.push({ ...place, path: '', message: (error as Error).message });
      return undefined;
    }
  }

  #danglingAlias(): number | undefined {
    let offset: number | undefined;
    this.#yaml.visit(this.#document, {
      Alias: (_, alias) => {
        if (alias.resolve(this.#document) !== undefined) return undefined;
        offset = alias.range?.[0];
        return this.#yaml.visit.BREAK;
      },
    });
    return offset;
  }

  #at(offset: number): { line: number; column: number } {
    const { line, col } = this.#lines.linePos(offset);
    return { line: Math.max(1, line), column: Math.max(1, col) };
  }

  // As far down the path as there is something.
  #offsetOf(path: string, atKey: boolean): number {
    let node: unknown = this.#document.contents;
    let offset = this.#startOf(node) ?? 0;
    for (const step of path === '' ? [] : path.split('.')) {
      if (this.#yaml.isAlias(node)) node = node.resolve(this.#document);
      const pair = this.#yaml.isMap(node)
        ? node.items.find(({ key }) => this.#yaml.isScalar(key) && String(key.value) === step)
        : undefined;
      const item = this.#yaml.isSeq(node) ? node.items[Number(step)] : undefined;
      node = pair === undefined ? item : pair.value;
      const key = this.#startOf(pair?.key);
      const value = this.#startOf(pair?.value) ?? this.#startOf(item);
      const found = (atKey ? (key ?? value) : (value ?? key)) ?? undefined;
      if (found === undefined) break;
      offset = found;
    }
    return offset;
  }

  #startOf(node: unknown): number | undefined {
    return this.#yaml.isNode(node) ? node.range?.[0] : undefined;
  }
}
