# SPDX-License-Identifier: Apache-2.0
"""Random damage to files from a seed: what bad copies, spreadsheets, text editors and attackers do to them.

A mutation takes a random generator and the bytes of a valid file, and returns bytes that are mostly invalid.
"""

import json
import random
import re
import struct
from collections.abc import Callable

Mutation = Callable[[random.Random, bytes], bytes]

_DEEP = 100_000  # too deep for a recursive parser
_LONG = 200_000  # characters, above csv's limit of a field and Python's limit of digits
TOKENS = [
    *('', ' ', '\0', '\ufeff', '\r\n', '\r', '\n', '\t', ',', ',,,,', '"', '""', "'", ';', '#', '=', '--', '-', '/'),
    *('0', '-0', '-1', '1.5', '1e999', '-1e999', 'nan', 'NaN', 'inf', 'Infinity', '1e-400', '0x10', '1_000', '٣', '²'),
    *('9' * 30, '9' * 400, '9' * 5000, '2147483648', '9223372036854775808', '18446744073709551616', '1' + '0' * 309),
    *('..', '../..', '../../../../etc/passwd', '/etc/passwd', '/dev/zero', '~', 'C:\\x', 'a/../../b', '.', './'),
    *('None', 'null', 'true', 'True', 'False', '[]', '{}', '{{7*7}}', '$(id)', '`id`', '; id', '| id', '%s%n', '{0}'),
    *('<script>alert(1)</script>', '=1+1', '@x', '\x1b[31m', '\x85', '\u2028', '\u202e', '\u200b', '\x0b', '\x7f', 'é'),
    *('e\u0301', '\U0001f600', '--flagfile=x', '--flagfile=/dev/zero', 'a.jpg', 'a.csv', '0100000', '-seed1'),
    'x' * 300,
]
BYTES = [b'\xff', b'\x80', b'\xc3', b'\xed\xa0\x80', b'\xff\xfe', b'\xfe\xff\x00', b'\x00' * 40]
INTEGERS = [0, 1, 2, 3, 4, 7, 8, 16, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
INTEGERS += [2**40, 2**48, 2**60, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]
_SEPARATORS = re.compile(rb'([,\t =:/;]+)')


def flip_bits(rng: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 40]) if changed else 0):
        changed[_place(rng, len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: _place(rng, len(content))]


def behead(rng: random.Random, content: bytes) -> bytes:
    return content[_place(rng, len(content)) :]


def insert_bytes(rng: random.Random, content: bytes) -> bytes:
    place = _place(rng, len(content))
    return content[:place] + rng.choice([*BYTES, rng.randbytes(rng.randrange(1, 200))]) + content[place:]


def repeat_part(rng: random.Random, content: bytes) -> bytes:
    start = _place(rng, len(content))
    part = content[start : start + rng.randrange(1, 400)]
    return content[:start] + part * rng.choice([2, 3, 50]) + content[start + len(part) :]


def remove_part(rng: random.Random, content: bytes) -> bytes:
    start = _place(rng, len(content))
    return content[:start] + content[start + rng.choice([1, 2, 8, 64, 1000]) :]


def zero_part(rng: random.Random, content: bytes) -> bytes:
    start, length = _place(rng, len(content)), rng.choice([1, 4, 8, 64, 512])
    part = content[start : start + length]
    return content[:start] + bytes(len(part)) + content[start + length :]


def overwrite_integer(rng: random.Random, content: bytes) -> bytes:
    """Replaces 1, 2, 4 or 8 bytes by an integer of either byte order. They may be a size, an offset or a count."""
    width = rng.choice([1, 2, 4, 4, 8, 8])
    if len(content) < width:
        return content
    place = _place(rng, len(content) - width)
    place -= place % rng.choice([1, width])
    number = rng.choice(INTEGERS) % 2 ** (8 * width)
    return content[:place] + number.to_bytes(width, rng.choice(['little', 'big'])) + content[place + width :]


def insert_token(rng: random.Random, content: bytes) -> bytes:
    place = _place(rng, len(content))
    return content[:place] + rng.choice(TOKENS).encode() + content[place:]


def replace_field(rng: random.Random, content: bytes) -> bytes:
    def change(line: bytes) -> bytes:
        parts = _SEPARATORS.split(line)
        parts[rng.randrange(len(parts))] = rng.choice(TOKENS).encode()
        return b''.join(parts)

    return _change_line(rng, content, change)


def remove_column(rng: random.Random, content: bytes) -> bytes:
    separator = b'\t' if b'\t' in content else b','
    column = rng.randrange(12)

    def remove(line: bytes) -> bytes:
        fields = line.split(separator)
        del fields[column : column + 1]
        return separator.join(fields)

    return b'\n'.join(map(remove, content.split(b'\n')))


def repeat_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b'\n')
    lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    return b'\n'.join(lines)


def remove_line(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b'\n')
    del lines[rng.randrange(len(lines))]
    return b'\n'.join(lines)


def swap_lines(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b'\n')
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b'\n'.join(lines)


def shuffle_lines(rng: random.Random, content: bytes) -> bytes:
    lines = content.split(b'\n')
    rng.shuffle(lines)
    return b'\n'.join(lines)


def damage_header(rng: random.Random, content: bytes) -> bytes:
    first, newline, rest = content.partition(b'\n')
    return rng.choice([flip_bits, insert_token, replace_field, truncate, behead])(rng, first) + newline + rest


def lengthen_line(rng: random.Random, content: bytes) -> bytes:
    def lengthen(line: bytes) -> bytes:
        return line + rng.choice([b'x', b'9', b',', b'\t', b'"', b'../', b'0,', b' ']) * rng.choice([300, _LONG])

    return _change_line(rng, content, lengthen)


def recode(rng: random.Random, content: bytes) -> bytes:
    """Saves text as editors and spreadsheets of other systems do."""
    text = content.decode(errors='replace')
    return rng.choice(
        [
            b'\xef\xbb\xbf' + content,
            b'\xef\xbb\xbf' * 2 + content,
            text.encode('utf-16'),
            text.encode('utf-32-le'),
            content.replace(b'\n', b'\r\n'),
            content.replace(b'\n', b'\r'),
            content.replace(b',', b';'),
            content.replace(b'\t', b'    '),
            content.replace(b'.', b','),
            content.upper(),
            b'',
            b'\n' * 50,
            bytes(1000),
            b'<html><body>502 Bad Gateway</body></html>\n',
            b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n',
        ]
    )


def change_json(rng: random.Random, content: bytes) -> bytes:
    """Changes values, keys and nesting. Content that is not JSON stays as it is."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    holders = list(_holders(value))
    if not holders or rng.random() < 0.05:
        return json.dumps(_hostile(rng)).encode()
    holder, key = rng.choice(holders)
    how = rng.randrange(6)
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[rng.choice(TOKENS)] = _hostile(rng)
    elif how == 2 and isinstance(holder, list):
        holder.insert(key, _hostile(rng))
    elif how == 3 and isinstance(holder, dict):  # the same key twice
        text, twice = json.dumps(value), f'{json.dumps(key)}: '
        return text.replace(twice, f'{twice}{json.dumps(_hostile(rng))}, {twice}', 1).encode()
    elif how == 4:
        holder[key] = '@deep@'
        opening, closing = rng.choice([('[', ']'), ('{"a":', '}')])
        deep = opening * _DEEP + '0' + closing * rng.choice([0, _DEEP])
        return json.dumps(value).replace('"@deep@"', deep).encode()
    else:
        holder[key] = _hostile(rng)
    return json.dumps(value).encode()


def change_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Changes the header of a safetensors file, or the length that it declares."""
    length = int.from_bytes(content[:8], 'little')
    header, body = content[8 : 8 + length], content[8 + length :]
    if rng.random() < 0.3:
        return struct.pack('<Q', rng.choice(INTEGERS)) + header + body
    header = rng.choice([change_json, change_json, flip_bits, insert_token])(rng, header)
    return struct.pack('<Q', len(header)) + header + body


_LINES = [repeat_line, remove_line, swap_lines, shuffle_lines, remove_column, damage_header, lengthen_line, recode]
_BINARY = [flip_bits, flip_bits, truncate, behead, insert_bytes, repeat_part, remove_part, zero_part]
_BINARY += [overwrite_integer] * 6
MUTATIONS: dict[str, list[Mutation]] = {
    'text': [flip_bits, truncate, insert_bytes, *[insert_token, replace_field] * 4, *_LINES],
    'json': [*[change_json] * 12, flip_bits, truncate, insert_token, replace_field, recode, lengthen_line],
    'binary': _BINARY,
    'safetensors': [*[change_safetensors] * 12, *_BINARY],
}


def mutate(rng: random.Random, content: bytes, kind: str) -> bytes:
    """Applies one to four mutations of a kind of file."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        content = rng.choice(MUTATIONS[kind])(rng, content)
    return content


def _place(rng: random.Random, most: int) -> int:
    """Returns a place from 0 to `most`, half of the time near the beginning, where headers are."""
    return rng.randint(0, min(most, 600) if rng.random() < 0.5 else most)


def _change_line(rng: random.Random, content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    lines = content.split(b'\n')
    index = rng.randrange(len(lines))
    lines[index] = change(lines[index])
    return b'\n'.join(lines)


def _holders(value):
    """Yields every (container, key) of a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _holders(value[key])


def _hostile(rng: random.Random):
    numbers = [0, -1, 1.5, float('nan'), float('inf'), -float('inf'), 2**31, 2**63, 2**64, 10**400, -(10**30), 1e300]
    others = [None, True, False, [], {}, [[]], {'a': []}, [0] * 1000, ['x', 1, None], 'x' * _LONG]
    return rng.choice([rng.choice(numbers), rng.choice(others), rng.choice(TOKENS)])
