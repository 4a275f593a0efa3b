import type { Region } from '../core/region.js';

type Tags = Record<string, string>;

/**
 * The tags of agents, by their place in the directory, asked for once a name. The same object as
 * long as the name is the same.
 */
export class Names {
  /** Of the fabric, and of nobody in it. */
  readonly none: Tags;
  readonly #region: Region;
  readonly #known = new Map<number, { naming: number; tags: Tags }>();

  constructor(region: Region, fabric: string) {
    this.#region = region;
    this.none = { fabric };
  }

  /** @param naming changes with the name; -1: the name is gone */
  tags(entry: number, naming: number): Tags {
    const known = this.#known.get(entry);
    if (naming === -1) return known?.tags ?? this.none;
    if (known?.naming === naming) return known.tags;
    const names = this.#region.describe(entry);
    if (names === undefined) return known?.tags ?? this.none;
    const tags: Tags = { ...this.none, agent: names.name };
    if (names.role !== '') tags.role = names.role;
    if (names.team !== '') tags.team = names.team;
    this.#known.set(entry, { naming, tags });
    return tags;
  }
}
