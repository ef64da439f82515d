"""TFRecord framing and tf.train.Example in plain Python, for the scripts beside this file.

The grammar of both is in docs/tfrecord_format.md. Nothing is installed for it, and it is slow.
"""

import struct


def _crc_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def masked_crc(data):
    """CRC-32C of `data`, rotated right by 15 bits, plus TFRecord's constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload):
    """One record as it stands in a file."""
    length = struct.pack("<Q", len(payload))
    checksums = [struct.pack("<I", masked_crc(part)) for part in (length, payload)]
    return length + checksums[0] + payload + checksums[1]


def payloads(contents):
    """The records of an uncompressed file, checksums not looked at."""
    at = 0
    while at < len(contents):
        (length,) = struct.unpack_from("<Q", contents, at)
        yield contents[at + 12 : at + 12 + length]
        at += length + 16


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number, contents):
    return _varint(number << 3 | 2) + _varint(len(contents)) + contents


def _feature(value):
    """bytes, a list of int (0 or more) or a list of float; an empty list is an empty float list."""
    if isinstance(value, bytes):
        return _field(1, _field(1, value))
    if value and isinstance(value[0], int):
        return _field(3, _field(1, b"".join(map(_varint, value))))
    return _field(2, _field(1, struct.pack("<%df" % len(value), *value)) if value else b"")


def example(features):
    """A serialized tf.train.Example, keys in alphabetical order."""
    entries = b""
    for key in sorted(features):
        entries += _field(1, _field(1, key.encode()) + _field(2, _feature(features[key])))
    return _field(1, entries)
