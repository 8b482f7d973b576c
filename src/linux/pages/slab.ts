import type { Kernel } from "../kernel.js";
import type { KernelObject } from "../object.js";

/** A place in a slab: memory that the kernel cut into objects of one kind. */
export interface SlabPlace {
  /** Name of the cache: `dentry`, `kmalloc-2k`. */
  readonly cache: string;
  /** Number of the object in its slab; undefined for what the slab has beside objects. */
  readonly object?: number;
  /** Bytes from the object's start. */
  readonly offset: number;
  /** Bytes of an object. */
  readonly size: number;
}

/** What a cache says of its slabs. */
interface Cache {
  readonly name: string;
  readonly size: number;
  /** Bytes from the start of one object to that of the next, and from a slab's start to its first object. */
  readonly step: number;
  readonly start: number;
}

const LONGEST_NAME = 256;
/** Caches kept: kernels have hundreds. */
const MOST_CACHES = 4096;

/** Says where in a slab a byte is (SLUB; Linux, mm/slub.c). */
export class Slabs {
  readonly #kernel: Kernel;
  readonly #caches = new Map<bigint, Cache>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /**
   * The place `within` bytes after the start of a slab.
   *
   * @param page the `struct page` of the slab's first page
   * @throws AbsentError where types, the cache or its name are missing
   */
  async place(page: KernelObject, within: number): Promise<SlabPlace> {
    const slab = this.#kernel.hasStruct("slab") ? await this.#kernel.load("slab", page.address) : page;
    const { name, size, step, start } = await this.#cache(slab.pointer("slab_cache"));
    const object = step === 0 ? -1 : Math.floor((within - start) / step);
    const isObject = object >= 0 && object < slab.number("objects");
    return isObject
      ? { cache: name, object, offset: within - start - object * step, size }
      : { cache: name, offset: within, size };
  }

  async #cache(address: bigint): Promise<Cache> {
    const known = this.#caches.get(address);
    if (known !== undefined) return known;
    const cache = await this.#kernel.load("kmem_cache", address);
    const found = {
      name: await this.#kernel.string(cache.pointer("name"), LONGEST_NAME),
      size: cache.number("object_size"),
      // the allocator of old, SLAB, puts its objects where each slab says
      step: cache.has("oo") ? cache.number("size") : 0,
      start: cache.numberOf("red_left_pad") ?? 0,
    };
    if (this.#caches.size < MOST_CACHES) this.#caches.set(address, found);
    return found;
  }
}
