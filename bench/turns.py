"""Programs that are timed in turns, and the rows of their table: what the compare.py of cpu_resnet and of gpu share.

A round runs every program once in a fresh process, in an order that rotates, so that a machine that grows slower does so
for all. Ratios are taken within a round, to the best of PyTorch's programs in it. A program that fails is said on
stderr and left out of all rounds that follow.
"""
import json, statistics, subprocess, sys, time

HEADER = 'program | rounds | images/s (min..max) | of PyTorch\'s best (min..max) |'


def rate_of(command):
    """(images/s, None) from the last line of what it prints, or (None, why not)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        return None, str(error)
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or [f'exit status {done.returncode}'])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])['images_per_second'], None


def rounds_of(programs, count, until=float('inf')):
    """{name: images/s} of each round. `programs` is {name: command}; no program begins after `until` (time.monotonic())."""
    names, rounds = list(programs), []
    for number in range(count):
        rates = {}
        for name in names[number % len(names):] + names[:number % len(names)] if names else []:
            if time.monotonic() > until:
                print(f'out of time in round {number + 1} of {count}', file=sys.stderr)
                return rounds + ([rates] if rates else [])
            rate, why = rate_of([str(part) for part in programs[name]])
            if rate is None:
                print(f'{name}: left out: {why}', file=sys.stderr)
                names = [other for other in names if other != name]
            else:
                rates[name] = rate
        rounds.append(rates)
    return rounds


def print_rows(first_cells, programs, rounds):
    """Median, lowest and highest round of each program; its name begins with PyTorch if it is a peer."""
    for name in programs:
        found = [(rates[name], max((rates[peer] for peer in rates if peer.startswith('PyTorch')), default=None))
                 for rates in rounds if name in rates]
        if not found:
            continue
        own = [rate for rate, _ in found]
        ratios = [rate / best for rate, best in found if best]
        of_best = f'{statistics.median(ratios):.3f} ({min(ratios):.3f}..{max(ratios):.3f})' if ratios else '-'
        digits = 0 if min(own) > 100 else 2
        print(f'| {first_cells} | {name} | {len(own)} | {statistics.median(own):.{digits}f} '
              f'({min(own):.{digits}f}..{max(own):.{digits}f}) | {of_best} |', flush=True)
