"""Programs that are timed in turns, and the rows of their table: what the compare.py of cpu_resnet and of gpu share.

A round times every program once, in an order that rotates, so that a machine that grows slower does so for all. Ratios
are taken within a round, to the best of PyTorch's programs in it. A program that fails is said on stderr and left out
of all rounds that follow; so is every rate, as it comes.
"""
import json, selectors, statistics, subprocess, sys, time

HEADER = 'program | rounds | images/s (min..max) | of PyTorch\'s best (min..max) |'


class Failed(Exception):
    """A program did not give a rate; the text says why."""


def last_line(text, otherwise):
    return (text.strip().splitlines() or [otherwise])[-1]


class Fresh:
    """A program that is started anew for each rate. The last line of what it prints is JSON with images_per_second."""

    def __init__(self, command):
        self.command = [str(word) for word in command]

    def rate(self):
        try:
            done = subprocess.run(self.command, capture_output=True, text=True)
        except OSError as error:
            raise Failed(str(error)) from error
        if done.returncode != 0:
            raise Failed(last_line(done.stderr, f'exit status {done.returncode}'))
        return rate_in(last_line(done.stdout, ''))

    def close(self):
        pass


class Resident:
    """A program that stays: it prints a line of JSON when it is ready, and one with images_per_second for each line that
    it is sent. What takes long before the first step, compilers and searches for the fastest kernels, is done once."""

    def __init__(self, command, start_limit=240, limit=120):
        self.command, self.start_limit, self.limit = [str(word) for word in command], start_limit, limit
        self.process, self.about = None, {}

    def start(self, log):
        try:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0)
        except OSError as error:
            raise Failed(str(error)) from error
        self.log = log
        self.about = parsed(self.line(self.start_limit))

    def rate(self):
        try:
            self.process.stdin.write(b'\n')
        except OSError as error:
            raise Failed(self.why(error)) from error
        return rate_in(self.line(self.limit))

    def line(self, limit):
        until, read = time.monotonic() + limit, b''
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while not read.endswith(b'\n'):
                if not ready.select(max(0, until - time.monotonic())):
                    raise Failed(f'has not answered for {limit:.0f} s')
                more = self.process.stdout.read(1 << 16)
                if not more:
                    raise Failed(self.why('it has ended'))
                read += more
        return read.decode().strip().splitlines()[-1]

    def why(self, otherwise):
        self.log.seek(0)
        return last_line(self.log.read().decode(errors='replace'), str(otherwise))

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def parsed(line):
    try:
        return json.loads(line)
    except ValueError as error:
        raise Failed(f'printed no JSON: {line[:100]}') from error


def rate_in(line):
    rate = parsed(line).get('images_per_second')
    if not isinstance(rate, (int, float)):
        raise Failed(f'gave no images_per_second: {line[:100]}')
    return rate


def rounds_of(programs, count, until=float('inf')):
    """{name: images/s} of each round. `programs` is {name: Fresh or Resident}; no turn begins after `until` (time.monotonic())."""
    names, rounds = list(programs), []
    for number in range(count):
        rates = {}
        for name in names[number % len(names):] + names[:number % len(names)] if names else []:
            if time.monotonic() > until:
                print(f'out of time in round {number + 1} of {count}', file=sys.stderr)
                return rounds + ([rates] if rates else [])
            try:
                rates[name] = programs[name].rate()
                print(f'round {number + 1}: {name}: {rates[name]:.1f} images/s', file=sys.stderr, flush=True)
            except Failed as why:
                print(f'{name}: left out: {why}', file=sys.stderr, flush=True)
                programs[name].close()
                names = [other for other in names if other != name]
        rounds.append(rates)
    return rounds


def ratios_to(rounds, name, peers):
    """Of each round that has the program and one of its peers: its rate to that of the best of them."""
    best = [(rates[name], [rates[peer] for peer in peers if peer in rates]) for rates in rounds if name in rates]
    return [rate / max(others) for rate, others in best if others]


def spread(values, digits):
    return f'{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})'


def print_rows(first_cells, programs, rounds):
    """Median, lowest and highest round of each program; its name begins with PyTorch if it is a peer."""
    peers = [name for name in programs if name.startswith('PyTorch')]
    for name in programs:
        own = [rates[name] for rates in rounds if name in rates]
        if not own:
            continue
        ratios = ratios_to(rounds, name, peers)
        print(f'| {first_cells} | {name} | {len(own)} | {spread(own, 0 if min(own) > 100 else 2)} | '
              f'{spread(ratios, 3) if ratios else "-"} |', flush=True)
