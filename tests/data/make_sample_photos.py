#!/usr/bin/python3
"""Cuts photographs of Debian packages into the small labelled data set in photos/.

  apt-get install --no-install-recommends python3-pil
  /usr/bin/python3 tests/data/make_sample_photos.py

One photograph is one class; a sample is one window of it, scaled down and coded as JPEG. A held-out
window overlaps no training window of its photograph by more than an IoU of 0.6. Only photographs
whose package says CC0, CC-BY or CC-BY-SA of that very file are taken: the script reads it in the
package's copyright file, stops otherwise, and writes photos/CREDITS.md from it.

The packages are fetched with `apt-get download` (about 30 MB) and unpacked, not installed. The same
versions of them, of Pillow and of libjpeg-turbo give the same bytes.
"""

import argparse
import io
import random
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from tfrecord import example, frame

HERE = Path(__file__).resolve().parent
TRAIN_WINDOWS, HELD_OUT_WINDOWS = 54, 12  # of each photograph
TRAIN_SHARDS = 4
SEED = 1
MAX_IOU = 0.6  # between a held-out window and a training window
MIN_VISIBLE = 0.4  # share of an object that a window must show to have its box

# (width, height) in pixels, weight. Like ImageNet's mix of shapes at a third of the size.
SIZES = [
    ((160, 120), 40), ((120, 160), 14), ((160, 107), 12), ((107, 160), 6), ((128, 128), 8),
    ((144, 96), 6), ((200, 150), 4), ((171, 128), 4), ((97, 131), 3), ((240, 160), 2),
    ((99, 99), 1),
]

LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "https://creativecommons.org/licenses/by-sa/3.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}

# Folder in the source of a package: the package, and where it installs that folder.
PACKAGES = {
    "16.04": ("lomiri-wallpapers-16.04", "usr/share/backgrounds"),
    "20.04": ("lomiri-wallpapers-20.04", "usr/share/backgrounds"),
    "data/themes/cats": ("gnome-taquin", "usr/share/gnome-taquin/themes/cats"),
}

# Class name, path in the package's source, and what is to be seen: (left, top, right, bottom) as
# shares of the photograph, estimated by eye.
PHOTOS = [
    ("bridge", "16.04/Bridge_by_Sander_Klootwijk.jpg", None),
    ("dragonfly", "16.04/Dragonfly_by_Bolly.jpg", (0.48, 0.30, 0.75, 1.0)),
    ("fig", "16.04/Picture_0B_by_freespace.jpg", (0.42, 0.28, 0.70, 0.75)),
    ("brushes", "16.04/Picture_1A_by_freespace.jpg", None),
    ("drum", "16.04/Wine_by_Jakkub_Mede.jpg", (0.06, 0.48, 0.80, 0.98)),
    ("aitzgorri", "16.04/aitzgorri_by_Aitzol_Berasategi.jpg", None),
    ("lamp bird", "16.04/free_by_Peter_Nerlich.jpg", (0.24, 0.57, 0.66, 0.90)),
    ("dogs", "16.04/friends_by_Aitzol_Berasategi.jpg", (0.28, 0.20, 0.68, 0.68)),
    ("clock", "16.04/greentock_by_Peter_Nerlich.jpg", (0.48, 0.19, 0.82, 0.66)),
    ("brook", "16.04/life_by_Aitzol_Berasategi.jpg", None),
    ("picos", "16.04/picosdeeuropa_by_Aitzol_Berasategi.jpg", None),
    ("dandelion", "16.04/seeding_by_Clements_Engelhardt.jpg", (0.13, 0.02, 0.45, 0.60)),
    ("sunset", "16.04/sunset_by_Aitzol_Berasategi.jpg", None),
    ("nuthatch", "20.04/Kleiber_by_Lukas_Baubkus.jpg", (0.39, 0.28, 0.54, 0.66)),
    ("grey and white cat", "data/themes/cats/1-Cat_face_day.jpg", (0.02, 0.03, 0.87, 0.80)),
    ("grey cat", "data/themes/cats/1-Jasmina.jpg", (0.19, 0.08, 0.97, 0.78)),
    ("long-haired cat", "data/themes/cats/1-maine.jpg", (0.15, 0.03, 0.80, 0.82)),
    ("tabby cat", "data/themes/cats/1-march.jpg", (0.20, 0.03, 0.94, 0.85)),
]


def fetch(package, below):
    """Unpacks a package into a folder of its own; returns that and "name version"."""
    target = below / package
    if not target.is_dir():
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
        subprocess.run(download, cwd=below, check=True)
        (archive,) = below.glob(package + "_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, target], check=True)
        version = subprocess.check_output(["dpkg-deb", "-W", archive], text=True)
        (target / "VERSION").write_text(" ".join(version.split()))
    return target, (target / "VERSION").read_text()


def licence_of(copyright_file, source_path):
    """(authors, licence) of the paragraph that names this very file; a wildcard is not enough."""
    for paragraph in copyright_file.read_text(encoding="utf-8").split("\n\n"):
        fields, name = {}, ""
        for line in paragraph.splitlines():
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + " " + line.strip()
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if source_path in fields.get("Files", "").split():
            licence = fields["License"].split()[0]
            if licence not in LICENCES:
                raise SystemExit("%s: licence %s; may be used: %s" % (
                    source_path, licence, ", ".join(LICENCES)))
            return fields["Copyright"], licence
    raise SystemExit("%s: not named in %s" % (source_path, copyright_file))


def area(box):
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(a, b):
    return (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))


def iou(a, b):
    common = area(intersection(a, b))
    return common / (area(a) + area(b) - common)


def draw_window(photo_size, size, rng):
    """A window of the shape of `size`, covering 45 to 95 % of the longest possible side."""
    largest = min(photo_size[0] / size[0], photo_size[1] / size[1])
    scale = largest * rng.uniform(0.45, 0.95)
    width, height = size[0] * scale, size[1] * scale
    left, top = rng.uniform(0, photo_size[0] - width), rng.uniform(0, photo_size[1] - height)
    return (left, top, left + width, top + height)


def windows(photo_size, rng):
    """[(split, window, size)], held-out windows first: training windows keep away from them."""
    shapes, weights = zip(*SIZES)
    held_out, train = [], []
    while len(held_out) < HELD_OUT_WINDOWS:
        (size,) = rng.choices(shapes, weights)
        held_out.append((draw_window(photo_size, size, rng), size))
    while len(train) < TRAIN_WINDOWS:
        (size,) = rng.choices(shapes, weights)
        window = draw_window(photo_size, size, rng)
        if all(iou(window, other) <= MAX_IOU for other, _ in held_out):
            train.append((window, size))
    return [("validation", *w) for w in held_out] + [("train", *w) for w in train]


def encode(image, rng):
    """JPEG bytes: mostly 4:2:0 baseline, as ImageNet; some grey, 4:4:4, 4:2:2 and progressive."""
    if rng.random() < 0.03:
        image = image.convert("L")
    out = io.BytesIO()
    image.save(
        out, "JPEG", quality=rng.randint(80, 90),
        subsampling=rng.choices([2, 1, 0], [85, 5, 10])[0],
        progressive=rng.random() < 0.05, optimize=rng.random() < 0.5)
    return out.getvalue()


def visible_box(subject, photo_size, window):
    """What the window shows of the subject, as (left, top, right, bottom) shares of the window."""
    if subject is None:
        return None
    box = tuple(share * photo_size[i % 2] for i, share in enumerate(subject))
    seen = intersection(box, window)
    if area(seen) < MIN_VISIBLE * area(box):
        return None
    width, height = window[2] - window[0], window[3] - window[1]
    return ((seen[0] - window[0]) / width, (seen[1] - window[1]) / height,
            (seen[2] - window[0]) / width, (seen[3] - window[1]) / height)


def samples(label, name, subject, file):
    """(split, serialized Example) of every window of a photograph. Labels count from 1."""
    rng = random.Random("%d/%s" % (SEED, name))
    photo = Image.open(file).convert("RGB")
    for number, (split, window, size) in enumerate(windows(photo.size, rng)):
        small = photo.resize(size, Image.LANCZOS, box=window, reducing_gap=3.0)
        box = visible_box(subject, photo.size, window)
        sides = [[side] for side in box] if box else [[], [], [], []]
        yield split, example({
            "image/encoded": encode(small, rng), "image/format": b"JPEG",
            "image/filename": b"c%02d_%03d.JPEG" % (label, number),
            "image/width": [size[0]], "image/height": [size[1]], "image/channels": [3],
            "image/colorspace": b"RGB",
            "image/class/label": [label], "image/class/synset": b"c%02d" % label,
            "image/class/text": name.encode(),
            "image/object/bbox/xmin": sides[0], "image/object/bbox/ymin": sides[1],
            "image/object/bbox/xmax": sides[2], "image/object/bbox/ymax": sides[3],
            "image/object/bbox/label": [label] if box else [],
        })


def write_shards(split, examples, count, out):
    random.Random(SEED).shuffle(examples)
    for shard in range(count):
        begin, end = len(examples) * shard // count, len(examples) * (shard + 1) // count
        path = out / ("%s-%05d-of-%05d" % (split, shard, count))
        path.write_bytes(b"".join(map(frame, examples[begin:end])))
        print("%s: %d records, %d bytes" % (path.name, end - begin, path.stat().st_size))


CREDITS_HEAD = """\
# Credits

The images in these shards are windows of the photographs below. Each was cropped, scaled down and
recompressed as JPEG, a few were made grey, and boxes were added; nothing else was changed. Each
image is under the licence of its photograph, which is told by its label. The photographs were taken
from Debian packages, whose copyright files name author and licence of each.

| label | class | photograph | author | licence | package |
| --- | --- | --- | --- | --- | --- |
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "photos")
    parser.add_argument(
        "--packages", type=Path, help="keeps the unpacked packages here; else they are deleted")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        below = arguments.packages or Path(temporary)
        below.mkdir(parents=True, exist_ok=True)
        arguments.out.mkdir(parents=True, exist_ok=True)
        by_split, credits = {"train": [], "validation": []}, CREDITS_HEAD
        for label, (name, source_path, subject) in enumerate(PHOTOS, start=1):
            package, folder = PACKAGES[str(Path(source_path).parent)]
            root, version = fetch(package, below)
            copyright_file = root / "usr/share/doc" / package / "copyright"
            authors, licence = licence_of(copyright_file, source_path)
            file = root / folder / Path(source_path).name
            for split, payload in samples(label, name, subject, file):
                by_split[split].append(payload)
            credits += "| %d | %s | `%s` | %s | [%s](%s) | %s |\n" % (
                label, name, file.name, authors, licence, LICENCES[licence], version)
        write_shards("train", by_split["train"], TRAIN_SHARDS, arguments.out)
        write_shards("validation", by_split["validation"], 1, arguments.out)
        (arguments.out / "CREDITS.md").write_text(credits, encoding="utf-8")


if __name__ == "__main__":
    main()
