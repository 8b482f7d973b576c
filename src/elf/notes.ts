import { ELF_RULES } from "./rules.js";
import { type ByteOrder, latin1, latin1Bytes, viewOf } from "../binary/layout.js";
import { FormatError, type Place, TruncatedError } from "../findings/errors.js";
import { nhdr } from "./layout.js";
import { roundUp } from "../io/alignment.js";

/** One note of a PT_NOTE segment or SHT_NOTE section. */
export interface ElfNote {
  /** Without its NUL: `CORE`, `LINUX`, `GNU`, `QEMU`, `VMCOREINFO`. */
  readonly name: string;
  readonly type: number;
  /** A view of the bytes the notes were read from. */
  readonly descriptor: Uint8Array;
  /** Bytes from the start of the file to the note's header, where the reader said what it read. */
  readonly offset: number;
}

/** Where notes are in a file, for errors. */
export interface NotesPlace {
  readonly source: string;
  /** Offset in the file of the first byte of `bytes`. */
  readonly offset: number;
  /** Bytes that the file lacks of what was announced: a note cut there is a TruncatedError. */
  readonly missing?: number;
}

const SPEC = "gABI, Note Section";

/**
 * The notes in a run of bytes.
 *
 * @param alignment Name and descriptor are padded to this: 4, or 8 in a segment whose p_align is 8.
 * @throws FormatError `elf/note/size` where a name or descriptor goes beyond the end.
 */
export function* readNotes(
  bytes: Uint8Array,
  order: ByteOrder,
  place: NotesPlace,
  alignment = 4,
): Iterable<ElfNote> {
  const step = alignment === 8 ? 8 : 4;
  const view = viewOf(bytes);
  let at = 0;
  for (let index = 0; at + nhdr.size <= bytes.length; index += 1) {
    const { n_namesz, n_descsz, n_type } = nhdr.read(view, at, order);
    const nameAt = at + nhdr.size;
    const descriptorAt = at + roundUp(nhdr.size + n_namesz, step);
    const end = descriptorAt + n_descsz;
    if (end > bytes.length) {
      const where: Place = {
        source: place.source,
        offset: place.offset + at,
        record: `note ${index}`,
        spec: SPEC,
      };
      const text = `name of ${n_namesz} and descriptor of ${n_descsz} bytes go beyond the end of the notes`;
      if ((place.missing ?? 0) > 0) {
        throw new TruncatedError(
          ELF_RULES.truncated,
          `file ends within a note: ${text}`,
          end - bytes.length,
          where,
        );
      }
      throw new FormatError(ELF_RULES.noteSize, text, where);
    }
    yield {
      name: latin1(bytes.subarray(nameAt, nameAt + n_namesz)).replace(/\0[^]*$/, ""),
      type: n_type,
      descriptor: bytes.subarray(descriptorAt, end),
      offset: place.offset + at,
    };
    at += roundUp(descriptorAt - at + n_descsz, step);
  }
}

/** A note as bytes: header, name with its NUL, descriptor, padded to 4. */
export function encodeNote(name: string, type: number, descriptor: Uint8Array, order: ByteOrder): Uint8Array {
  const nameBytes = latin1Bytes(`${name}\0`);
  const descriptorAt = nhdr.size + roundUp(nameBytes.length, 4);
  const bytes = new Uint8Array(descriptorAt + roundUp(descriptor.length, 4));
  const header = { n_namesz: nameBytes.length, n_descsz: descriptor.length, n_type: type };
  nhdr.write(viewOf(bytes), 0, header, order);
  bytes.set(nameBytes, nhdr.size);
  bytes.set(descriptor, descriptorAt);
  return bytes;
}
