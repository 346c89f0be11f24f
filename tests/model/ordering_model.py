#!/usr/bin/env python3
"""A model of the order of writes (docs/ordering.md): with all rules on no crash loses anything, without one it does.

A toy image: header, refcount table and blocks, L1 and L2 tables, data clusters of two sectors, a snapshot that shares
an L2 table and its data, compressed payloads that share a cluster. Both tables grow. The disk keeps each write since
the last sync; a crash leaves of every sector its durable content or any later one. After each step crash states are
examined:

  C1  every reachable cluster has a count of at least its references    (else it is handed out a second time)
  C2  a guest cluster reads its last flushed value or a later one       (never garbage, nor another's)
  C3  without a crash, a guest reads what it wrote
  C4  what is reachable is initialised: each pointer leads to a table of the right kind
  C5  the snapshot reads as it did

  ordering_model.py [--runs COUNT]    runs with all rules; each rule switched off must be caught within as many
"""

import argparse
import multiprocessing
import random
import sys

RULES = {
    "link_after_write": "an entry appears only when the data has been written (O-4)",
    "sync_before_links": "data and counts are synced before L2 pages are written (O-1, O-4)",
    "block_before_table": "a refcount block is synced before the entry that names it (O-8)",
    "table_before_pointer": "a refcount table is synced before the header names it (O-9)",
    "links_before_roots": "an L2 table is synced before the L1 entry that names it (O-5)",
    "roots_before_pointer": "an L1 table is synced before the header names it (O-7)",
    "old_table_until_pointer": "a table that moved is given back when the pointer to the new one is durable (O-7, O-9)",
    "defer_decrement": "a count is lowered when the unlink is durable (O-2)",
    "reuse_when_durable": "a cluster is used again when its unlink is durable (O-3)",
    "lease": "a cluster is used again when older I/O has ended",
    "cut": "what is written is a copy, taken when the flush begins",
    "copy_shared_data": "a cluster with two references is not written in place",
    "copy_shared_table": "an L2 table with two references is not changed (O-6)",
    "one_reference_at_a_time": "a shared cluster loses one reference, not all",
    "count_each_payload": "each payload is a reference of its own on its cluster",
    "append_payloads": "a payload is written behind the last one, never over one (O-30)",
    "forget_packing": "nothing is appended to a cluster that became free",
}

COUNTS_PER_BLOCK = 6
ENTRIES_PER_TABLE = 2  # of an L2 table
SECTORS = 2
FOREVER = 10**9


class Violation(Exception):
    pass


class SimulatedDisk:
    """Sectors, addressed by (cluster, number)."""

    def __init__(self):
        self.durable, self.volatile, self.running = {}, {}, {}

    def put(self, sector, content):
        self.volatile.setdefault(sector, []).append(content)
        self.running[sector] = content

    def sync(self):
        for sector, versions in self.volatile.items():
            self.durable[sector] = versions[-1]
        self.volatile = {}

    def crash_states(self, rng, samples):
        """All old, all new, all but one, only one, and some at random."""
        sectors = list(self.volatile)
        newest = {sector: self.volatile[sector][-1] for sector in sectors}
        choices = [{}, newest]
        for sector in sectors:
            choices.append({sector: newest[sector]})
            choices.append({other: newest[other] for other in sectors if other != sector})
        for _ in range(samples if len(sectors) > 1 else 0):
            choices.append({sector: rng.choice(self.volatile[sector]) for sector in sectors if rng.random() < 0.5})
        for choice in choices:
            yield {**self.durable, **choice}


class Image:
    def __init__(self, rules):
        self.rules = rules
        self.disk = SimulatedDisk()
        # Clusters 0 header, 1 refcount table, 2 block, 3 L1, 4 shared L2, 5 shared data, then (6) the second block,
        # 7 the snapshot's L1. A table of two blocks is full with twelve clusters.
        self.table_at, self.table = 1, [2, 6]
        self.blocks = {2: [1, 1, 1, 1, 2, 2], 6: [1, 1, 0, 0, 0, 0]}
        self.l1_at, self.l1 = 3, [4]
        self.l2 = {4: [("normal", 5), None]}
        self.snapshot_l1 = 7
        self.unlinked = []  # [cluster, epoch, durable]
        self.in_flight = []
        self.epoch = self.now = self.version = 0
        self.packer = None  # (cluster, next sector)
        self.seen = dict.fromkeys(["crash states", "flushes", "refcount table moved", "L1 table moved",
                                   "payload appended", "shared table copied"], 0)
        self.pipeline = None
        self.guests = ENTRIES_PER_TABLE
        self.want = [("snapshot", 0), None]
        self.allowed = [{("snapshot", 0): 0}, {None: 0}]
        for sector in range(SECTORS):
            self.disk.put((5, sector), ("snapshot", 0))
        self.disk.put((7, 0), ("L1", (4,)))
        for stage in self.stages(self.copy()):
            for sector, content in stage:
                self.disk.put(sector, content)
        self.disk.sync()

    # Counts and clusters

    def capacity(self):
        return len(self.table) * COUNTS_PER_BLOCK

    def count(self, cluster):
        return self.blocks[self.table[cluster // COUNTS_PER_BLOCK]][cluster % COUNTS_PER_BLOCK]

    def add(self, cluster, change):
        self.blocks[self.table[cluster // COUNTS_PER_BLOCK]][cluster % COUNTS_PER_BLOCK] += change

    def allocate(self):
        self.reclaim()
        going = [entry[0] for entry in self.unlinked]
        for cluster in range(self.capacity()):
            early = not self.rules["reuse_when_durable"] and self.count(cluster) <= going.count(cluster)
            if early or (self.count(cluster) == 0 and cluster not in going):
                self.add(cluster, 1)
                return cluster
        return self.grow_refcounts()

    def grow_refcounts(self):
        """A new block, in the first cluster that it counts; where the table is full it moves behind it."""
        if len(self.table) == 5:
            return None
        block = self.capacity()
        moves = len(self.table) in (2, 4)
        self.blocks[block] = [1, 1 if moves else 0] + [0] * (COUNTS_PER_BLOCK - 2)
        self.table.append(block)
        if moves:
            old, self.table_at = self.table_at, block + 1
            self.seen["refcount table moved"] += 1
            self.give_up_table(old)
        self.add(block + 2, 1)
        return block + 2

    def give_up_table(self, cluster):
        if self.rules["old_table_until_pointer"]:
            self.unlink(cluster)
        else:
            self.add(cluster, -1)

    def unlink(self, cluster):
        if not self.rules["defer_decrement"]:
            self.add(cluster, -1)
        self.unlinked.append([cluster, self.epoch, False])
        self.epoch += 1

    def reclaim(self):
        oldest = min((request["epoch"] for request in self.in_flight), default=FOREVER)
        kept = []
        for entry in self.unlinked:
            cluster, epoch, durable = entry
            if not durable or (oldest <= epoch and self.rules["lease"]):
                kept.append(entry)
                continue
            if self.rules["defer_decrement"]:
                self.add(cluster, -1)
            if not self.rules["one_reference_at_a_time"]:
                self.add(cluster, -self.count(cluster))
            if self.count(cluster) == 0:
                self.l2.pop(cluster, None)
                if self.packer and self.packer[0] == cluster and self.rules["forget_packing"]:
                    self.packer = None
        self.unlinked = kept

    # Mapping

    def entry(self, guest):
        table = self.l1[guest // ENTRIES_PER_TABLE]
        return None if table is None else self.l2[table][guest % ENTRIES_PER_TABLE]

    def is_shared(self, guest):
        table, entry = self.l1[guest // ENTRIES_PER_TABLE], self.entry(guest)
        return self.count(table) > 1 or self.count(entry[1]) > 1

    def own_table(self, guest):
        """Makes sure that the guest's L2 table exists and is not shared; false if there is no room."""
        index = guest // ENTRIES_PER_TABLE
        old = self.l1[index]
        if old is not None and (self.count(old) == 1 or not self.rules["copy_shared_table"]):
            return True
        table = self.allocate()
        if table is None:
            return False
        self.l2[table] = [None] * ENTRIES_PER_TABLE if old is None else list(self.l2[old])
        self.l1[index] = table
        if old is not None:
            self.unlink(old)
            self.seen["shared table copied"] += 1
        return True

    def link(self, guest, entry):
        table = self.l2[self.l1[guest // ENTRIES_PER_TABLE]]
        old = table[guest % ENTRIES_PER_TABLE]
        table[guest % ENTRIES_PER_TABLE] = entry
        if old is not None:
            self.unlink(old[1])
            reused = not self.rules["append_payloads"] and old[0] == "payload"
            if reused and self.count(old[1]) > 0:
                self.packer = (old[1], old[2])

    # Requests

    def issue(self, guest):
        self.version += 1
        self.now += 1
        value = (guest, self.version)
        self.allowed[guest][value] = self.now
        self.want[guest] = "racing"
        return value

    def is_busy(self, guest):
        return any(request["guest"] == guest for request in self.in_flight)

    def start(self, guest, entry, sectors, links):
        request = {"guest": guest, "entry": entry, "sectors": sectors, "links": links, "value": self.issue(guest),
                   "epoch": self.epoch}
        self.epoch += 1
        if links and not self.rules["link_after_write"]:
            self.link(guest, entry)
            request["links"] = False
        self.in_flight.append(request)
        return True

    def write(self, guest):
        if self.is_busy(guest):
            return False
        entry = self.entry(guest)
        if entry and entry[0] == "normal" and not (self.is_shared(guest) and self.rules["copy_shared_data"]):
            return self.start(guest, entry, [(entry[1], sector) for sector in range(SECTORS)], False)
        if not self.own_table(guest):
            return False
        cluster = self.allocate()
        if cluster is None:
            return False
        return self.start(guest, ("normal", cluster), [(cluster, sector) for sector in range(SECTORS)], True)

    def write_compressed(self, guest):
        if self.is_busy(guest) or self.entry(guest) is not None or not self.own_table(guest):
            return False
        if self.packer is None:
            cluster = self.allocate()
            if cluster is None:
                return False
            sector = 0
        else:
            cluster, sector = self.packer
            self.seen["payload appended"] += 1
            if self.rules["count_each_payload"]:
                self.add(cluster, 1)
        self.packer = (cluster, sector + 1) if sector + 1 < SECTORS else None
        return self.start(guest, ("payload", cluster, sector), [(cluster, sector)], True)

    def finish(self, number):
        request = self.in_flight.pop(number)
        guest = request["guest"]
        for sector in request["sectors"]:
            self.disk.put(sector, request["value"])
        if request["links"]:
            self.link(guest, request["entry"])
        entry = self.entry(guest)
        self.want[guest] = request["value"] if entry == request["entry"] else None if entry is None else "racing"
        return True

    def discard(self, guest):
        if self.entry(guest) is None or any(request["guest"] == guest and request["links"]
                                            for request in self.in_flight):
            return False
        if not self.own_table(guest):
            return False
        self.link(guest, None)
        self.now += 1
        self.allowed[guest][None] = self.now
        self.want[guest] = None
        return True

    def grow_disk(self):
        """The L1 table moves, for twice as many guest clusters."""
        if len(self.l1) > 2:
            return False
        cluster = self.allocate()
        if cluster is None:
            return False
        old, self.l1_at = self.l1_at, cluster
        self.seen["L1 table moved"] += 1
        self.l1 = self.l1 + [None]
        self.give_up_table(old)
        self.guests += ENTRIES_PER_TABLE
        self.want += [None] * ENTRIES_PER_TABLE
        self.allowed += [{None: 0} for _ in range(ENTRIES_PER_TABLE)]
        return True

    # Flush, in steps, so that requests and crashes fall in between

    def copy(self):
        return {"table_at": self.table_at, "table": tuple(self.table), "l1_at": self.l1_at, "l1": tuple(self.l1),
                "blocks": {at: tuple(counts) for at, counts in self.blocks.items()},
                "l2": {at: tuple(entries) for at, entries in self.l2.items()}}

    def stages(self, state):
        """What is written, stage by stage; only what is not on the disk as it is."""
        header = self.disk.running.get((0, 0), ("header", state["table_at"], state["l1_at"], self.snapshot_l1))
        moved = ("header", state["table_at"], header[2], self.snapshot_l1)
        both = ("header", state["table_at"], state["l1_at"], self.snapshot_l1)
        all_stages = [
            [((at, 0), ("block", counts)) for at, counts in state["blocks"].items()],
            [((state["table_at"], 0), ("table", state["table"]))],
            [((0, 0), moved)],
            [((at, 0), ("L2", entries)) for at, entries in state["l2"].items()],
            [((state["l1_at"], 0), ("L1", state["l1"]))],
            [((0, 0), both)],
        ]
        for stage in all_stages:
            yield [(sector, content) for sector, content in stage if self.disk.running.get(sector) != content]

    SYNCS = ["sync_before_links", "table_before_pointer", None, "links_before_roots", "roots_before_pointer", None]

    def flush_step(self):
        if self.pipeline is None:
            values = [None if self.is_busy(guest) else (self.want[guest],) for guest in range(self.guests)]
            state = self.copy() if self.rules["cut"] else None
            self.pipeline = {"stage": 0, "state": state, "time": self.now, "unlinked": list(self.unlinked),
                             "values": values}
            return True
        pipeline = self.pipeline
        number = pipeline["stage"]
        stages = list(self.stages(pipeline["state"] or self.copy()))
        writes = stages[number]
        if number == 0 and not self.rules["block_before_table"]:
            writes = stages[1] + writes
        for sector, content in writes:
            self.disk.put(sector, content)
            if number == 0 and not self.rules["block_before_table"]:
                return True  # one at a time: the next step goes on
        rule = self.SYNCS[number]
        if (writes or number == 0) and (rule is None or self.rules[rule]):
            pipeline["syncs"] = True
        pipeline["stage"] += 1
        return True

    def sync_step(self):
        pipeline = self.pipeline
        if pipeline and pipeline.pop("syncs", False):
            self.disk.sync()
        if pipeline and pipeline["stage"] == len(self.SYNCS):
            self.disk.sync()
            self.finish_flush(pipeline)
            self.pipeline = None

    def finish_flush(self, pipeline):
        self.seen["flushes"] += 1
        for entry in pipeline["unlinked"]:
            entry[2] = True
        for guest, value in enumerate(pipeline["values"]):
            if value is None or value[0] == "racing":
                continue
            later = {other: time for other, time in self.allowed[guest].items() if time > pipeline["time"]}
            self.allowed[guest] = {value[0]: pipeline["time"], **later}

    # What must hold

    def check_running(self):
        for guest in range(self.guests):
            wanted = self.want[guest]
            if wanted == "racing":
                continue
            for found in read_entry(self.disk.running, self.entry(guest)):
                if found != wanted:
                    raise Violation(f"C3: running, guest {guest} reads {found}, not {wanted}")

    def check_crash(self, rng, samples):
        for state in self.disk.crash_states(rng, samples):
            examine(state, self.allowed)
            self.seen["crash states"] += 1


def read_entry(state, entry):
    if entry is None:
        return [None]
    if entry[0] == "payload":
        return [state.get((entry[1], entry[2]))]
    return [state.get((entry[1], sector)) for sector in range(SECTORS)]


def table_of(state, kind, cluster):
    content = state.get((cluster, 0))
    if content is None or content[0] != kind:
        raise Violation(f"C4: cluster {cluster} is reached as {kind} and holds {content}")
    return content[1]


def walk(state, l1_at, references):
    """The guests' entries below an L1 table; counts each reference."""
    references.append(l1_at)
    entries = []
    for table in table_of(state, "L1", l1_at):
        if table is None:
            entries += [None] * ENTRIES_PER_TABLE
            continue
        references.append(table)
        for entry in table_of(state, "L2", table):
            entries.append(entry)
            if entry is not None:
                references.append(entry[1])
    return entries


def examine(state, allowed):
    _, table_at, l1_at, snapshot_l1 = state[(0, 0)]
    references = [0, table_at]
    counts = []
    for block in table_of(state, "table", table_at):
        references.append(block)
        counts += table_of(state, "block", block)
    entries = walk(state, l1_at, references)
    snapshot = walk(state, snapshot_l1, references)
    for cluster in set(references):
        count = counts[cluster] if cluster < len(counts) else 0
        if references.count(cluster) > count:
            raise Violation(f"C1: cluster {cluster} has {references.count(cluster)} references, count {count}")
    for guest, entry in enumerate(entries):
        for found in read_entry(state, entry):
            if found not in allowed[guest]:
                raise Violation(f"C2: after a crash guest {guest} reads {found}")
    for found in read_entry(state, snapshot[0]):
        if found != ("snapshot", 0):
            raise Violation(f"C5: the snapshot reads {found}")


def step(image, rng, weights, hangs):
    kind = rng.choices("wcdfsg", weights)[0]
    guest = rng.randrange(image.guests)
    if kind == "f":
        oldest = 1 if hangs and rng.random() < 0.9 else 0
        return len(image.in_flight) > oldest and image.finish(rng.randrange(oldest, len(image.in_flight)))
    if kind == "s":
        return image.flush_step()
    if kind == "g":
        return image.grow_disk()
    return {"w": image.write, "c": image.write_compressed, "d": image.discard}[kind](guest)


def run(off, seed, steps=150, samples=6):
    """How often things came up, and None or what went wrong."""
    rng = random.Random(seed)
    image = Image({rule: rule != off for rule in RULES})
    weights = [rng.choice([1, 2, 6]) for _ in "wcdf"] + [rng.choice([2, 6, 12]), rng.choice([0, 0.2, 1])]
    hangs = rng.random() < 0.5  # a request that hangs while others come and go
    try:
        for _ in range(steps):
            if not step(image, rng, weights, hangs):
                continue
            image.reclaim()
            image.check_running()
            image.check_crash(rng, samples)
            image.sync_step()
    except Violation as violation:
        return image.seen, str(violation)
    return image.seen, None


def campaign(job):
    """(rule that is off, runs, how often things came up, the first finding)"""
    off, first, runs = job
    total = {}
    for seed in range(first, first + runs):
        seen, finding = run(off, seed)
        total = {what: total.get(what, 0) + count for what, count in seen.items()}
        if finding:
            return off, seed - first + 1, total, f"seed {seed}: {finding}"
    return off, runs, total, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    shares = 10
    jobs = [(None, share * arguments.runs, arguments.runs // shares) for share in range(shares)]
    jobs += [(rule, 0, arguments.runs) for rule in RULES]
    failed, runs, total = False, 0, {}
    with multiprocessing.Pool() as pool:
        for off, count, seen, finding in pool.imap(campaign, jobs):
            if off is None:
                runs += count
                total = {what: total.get(what, 0) + number for what, number in seen.items()}
                failed = failed or finding is not None
                if finding:
                    print(f"all rules on: {finding}")
            else:
                failed = failed or finding is None
                print(f"without {off:24} {'run ' + str(count) + ', ' + finding if finding else 'NOTHING FOUND'}")
    print(f"all rules on: {runs} runs; " + ", ".join(f"{what} {count:,}" for what, count in total.items()))
    return 1 if failed or 0 in total.values() else 0


if __name__ == "__main__":
    sys.exit(main())
