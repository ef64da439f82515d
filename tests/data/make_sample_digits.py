#!/usr/bin/python3
"""Packs handwritten digits into the small gzip-compressed data set in digits/.

  /usr/bin/python3 tests/data/make_sample_digits.py SHARDS

SHARDS is a folder with train-0000N-of-00004 and validation-00000-of-00001, uncompressed TFRecords
of MNIST digits as JPEG; digits/CREDITS.md says where they come from. The first records of each
training shard and all of the held-out one are kept as they are, bit for bit. A shard here is one
gzip stream: the JPEG headers, more than half of each file, nearly vanish in it.
"""

import argparse
import gzip
from pathlib import Path

from tfrecord import frame, payloads

HERE = Path(__file__).resolve().parent
TRAIN_RECORDS_PER_SHARD = 1750  # keeps the set below 4 MB


def pack(source, target, limit):
    records = list(payloads(source.read_bytes()))[:limit]
    contents = b"".join(map(frame, records))
    target.write_bytes(gzip.compress(contents, compresslevel=9, mtime=0))
    print("%s: %d records, %d bytes, %d uncompressed" % (
        target.name, len(records), target.stat().st_size, len(contents)))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "digits")
    arguments = parser.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    for source in sorted(arguments.shards.glob("*-of-*")):
        limit = TRAIN_RECORDS_PER_SHARD if source.name.startswith("train") else None
        pack(source, arguments.out / (source.name + ".gz"), limit)


if __name__ == "__main__":
    main()
