"""Make ext/names.h from fastsip/names.py.

python ext/gen_names.py            write it
python ext/gen_names.py --check    exit 1 if it is stale
"""

import random
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = HERE / "names.h"
WORD = (1 << 64) - 1
KEY_BYTES = 24  # the longest name a key can hold


def fold(name: str) -> bytes:
    return name.lower().encode()


def word(part: bytes) -> int:
    return int.from_bytes(part.ljust(8, b"\0"), "little")


def key(name: bytes) -> tuple[int, int, int]:
    """First and last eight bytes, and the eight behind the first of a name above sixteen."""
    return word(name[:8]), word(name[-8:]) if len(name) > 8 else 0, word(name[8:16]) if len(name) > 16 else 0


def slot(words: tuple[int, int, int], multiplier: int, bits: int) -> int:
    return ((words[0] ^ (words[1] * 3 & WORD)) * multiplier & WORD) >> (64 - bits)


def find_multiplier(names: Sequence[bytes], bits: int) -> int:
    """An odd multiplier that gives every name its own slot; always the same one for the same names."""
    generator = random.Random(3261)
    keys = [key(name) for name in names]
    for _ in range(1_000_000):
        multiplier = generator.getrandbits(64) | 1
        if len({slot(words, multiplier, bits) for words in keys}) == len(keys):
            return multiplier
    raise SystemExit("no multiplier found: use more bits")


def constant(prefix: str, name: str) -> str:
    return prefix + name.upper().replace("-", "_")


def enum(title: str, prefix: str, names: Sequence[str]) -> list[str]:
    lines = [f"enum {title} {{", f"    {prefix}UNKNOWN = 0,"]
    lines += [f"    {constant(prefix, name)}," for name in names]
    return [*lines, f"    {prefix}COUNT", "};", ""]


def table(function: str, pairs: Sequence[tuple[bytes, str]], bits: int) -> list[str]:
    """The slots of one perfect hash: three words of the name, its length and its id."""
    multiplier = find_multiplier([name for name, _ in pairs], bits)
    filled = {slot(key(name), multiplier, bits): (name, ident) for name, ident in pairs}
    lines = [
        f"#define {function.upper()}_BITS {bits}",
        f"#define {function.upper()}_MULTIPLIER 0x{multiplier:016x}ULL",
        f"static const NameSlot {function}_slots[{1 << bits}] = {{",
    ]
    for index in sorted(filled):
        name, ident = filled[index]
        a, b, c = key(name)
        lines.append(f"    [{index}] = {{0x{a:x}, 0x{b:x}, 0x{c:x}, {len(name)}, {ident}}}, /* {name.decode()} */")
    return [*lines, "};", ""]


HEAD = """\
/* Made by ext/gen_names.py from fastsip/names.py: do not edit, run that.
 *
 * A name's key is its first and its last eight bytes, and the eight behind the first where it has more than sixteen.
 * Header names are folded to lower case by setting bit 0x20 where bit 0x40 is set: a letter has no other preimage, and
 * "-" stays, so equal keys and lengths are equal names, and a name that is found needs no check of its characters. One
 * multiplication gives each name a slot of its own. */
#ifndef FASTSIP_NAMES_H
#define FASTSIP_NAMES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "keys of names are little-endian words"
#endif

"""

BODY = """\
typedef struct NameSlot {
    uint64_t a, b, c;
    uint32_t length, id;
} NameSlot;

#define NAME_KEY_BYTES 24

"""

FUNCTIONS = """\
static inline uint64_t name_word(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
    return word;
}

/* The first `length` bytes (at most 8) of a word. */
static const uint64_t NAME_MASK[9] = {
    0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, 0xffffffffffffffff};

static inline uint64_t name_short(uint64_t word, uint32_t length) { return word & NAME_MASK[length]; }

static inline uint64_t name_fold(uint64_t word) {
    return word | ((word & 0x4040404040404040ULL) >> 1);
}

static inline const NameSlot *header_slot(uint64_t a, uint64_t b) {
    return &header_id_slots[((a ^ (b * 3)) * HEADER_ID_MULTIPLIER) >> (64 - HEADER_ID_BITS)];
}

/* As header_id, where eight bytes from `name` on may be read whatever the length. */
static inline int header_id_padded(const uint8_t *name, uint32_t length) {
    if (length <= 8) {
        uint64_t a = name_fold(name_short(name_word(name), length));
        const NameSlot *slot = header_slot(a, 0);
        return slot->a == a && slot->length == length ? (int)slot->id : HDR_UNKNOWN;
    }
    if (length > NAME_KEY_BYTES) return HDR_UNKNOWN;
    uint64_t a = name_fold(name_word(name)), b = name_fold(name_word(name + length - 8));
    uint64_t c = length > 16 ? name_fold(name_word(name + 8)) : 0;
    const NameSlot *slot = header_slot(a, b);
    return slot->a == a && slot->b == b && slot->c == c && slot->length == length ? (int)slot->id : HDR_UNKNOWN;
}

static inline int header_id(const uint8_t *name, uint32_t length) {
    uint8_t key[8] = {0};
    if (length >= 8) return header_id_padded(name, length);
    for (uint32_t i = 0; i < length; i++) key[i] = name[i];
    return header_id_padded(key, length);
}

/* As method_id, where eight bytes from `name` on may be read whatever the length. */
static inline int method_id_padded(const uint8_t *name, uint32_t length) {
    uint64_t a = name_word(name), b = 0;
    if (length - 1 >= METHOD_LONGEST) return METHOD_UNKNOWN;
    if (length <= 8) a = name_short(a, length);
    else b = name_word(name + length - 8);
    const NameSlot *slot = &method_id_slots[((a ^ (b * 3)) * METHOD_ID_MULTIPLIER) >> (64 - METHOD_ID_BITS)];
    return slot->a == a && slot->length == length && slot->b == b ? (int)slot->id : METHOD_UNKNOWN;
}

static inline int method_id(const uint8_t *name, uint32_t length) {
    uint8_t key[8] = {0};
    if (length >= 8) return method_id_padded(name, length);
    for (uint32_t i = 0; i < length; i++) key[i] = name[i];
    return method_id_padded(key, length);
}

"""


def reasons(names: dict[str, object]) -> list[str]:
    known: dict[int, str] = names["REASONS"]  # type: ignore[assignment]
    classes: dict[int, str] = names["CLASS_REASONS"]  # type: ignore[assignment]
    lines = ["static inline const char *reason_phrase(int status) {", "    switch (status) {"]
    lines += [f'    case {status}: return "{phrase}";' for status, phrase in sorted(known.items())]
    lines += ["    }", "    switch (status / 100) {"]
    lines += [f'    case {digit}: return "{phrase}";' for digit, phrase in sorted(classes.items())]
    return [*lines, "    }", '    return "Unknown";', "}", ""]


def generate() -> str:
    names = runpy.run_path(str(HERE.parent / "fastsip" / "names.py"))
    methods: tuple[str, ...] = names["METHODS"]
    headers: tuple[tuple[str, str], ...] = names["HEADERS"]
    assert len(headers) < 64, "Message.present has one bit for each"
    assert max(len(name) for name, _ in headers) <= KEY_BYTES
    header_pairs = [(fold(name), constant("HDR_", name)) for name, _ in headers]
    header_pairs += [(fold(compact), constant("HDR_", name)) for name, compact in headers if compact]
    method_pairs = [(name.encode(), constant("METHOD_", name)) for name in methods]
    longest = max(len(name) for name in methods)
    assert longest <= 16
    lines = enum("HeaderId", "HDR_", [name for name, _ in headers]) + enum("MethodId", "METHOD_", methods)
    lines += [f"#define METHOD_LONGEST {longest}", ""]
    lines += ["static const char *const header_names[HDR_COUNT] = {", '    "",']
    lines += [f'    "{name}",' for name, _ in headers] + ["};", ""]
    lines += BODY.splitlines() + table("header_id", header_pairs, 8) + table("method_id", method_pairs, 5)
    return HEAD + "\n".join(lines) + "\n" + FUNCTIONS + "\n".join(reasons(names)) + "\n#endif\n"


def main() -> int:
    text = generate()
    if "--check" in sys.argv[1:]:
        if TARGET.is_file() and TARGET.read_text() == text:
            return 0
        print(f"{TARGET} is stale: run python ext/gen_names.py", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
