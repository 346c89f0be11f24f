"""An image of a chain, as a test that manages images knows it."""

import disk_requests as rq


class Layer:
    """An image of the chain: what it should show and what `info` should say of it."""

    def __init__(self, name, image_format, disk):
        self.name = name
        self.format = image_format
        self.disk = disk
        self.snapshots = {}  # name -> (model of the disk, its size)
        self.refcount_bits = 16  # on byre's side
        self.reference_refcount_bits = 16  # which is never amended
        self.compressed = False  # many such clusters may lie in one: that needs wide refcounts
        self.lazy = False

    @property
    def size(self):
        return self.disk.content.size

    def widths(self):
        return self.refcount_bits, self.reference_refcount_bits

    def changed(self):
        """Where its clusters lie, and whether they are allocated, is not what it was."""
        self.disk.states = {}
        self.disk.default_state = rq.UNKNOWN
