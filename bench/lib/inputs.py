"""The images that bench/convert reads. Each is made when it is first asked for, checked, and kept: a file that has its
name is complete. They are the same for the same scale and files below /usr, but for some times in root.raw."""
import json
import os
import random
import shutil
import subprocess
import sys

from lib.metadata_image import Image

MIB = 1 << 20
CLUSTER = 64 << 10
FILES_FROM = '/usr'
# What they take at scale 1, and what is there for a while: an output, or a file system with a copy in it.
KEPT_GIB = {'root.raw': 2.7, 'root.qcow2': 2.7, 'deflate.qcow2': 1.3, 'zstd.qcow2': 1.3, 'random.raw': 2.1,
            'fragmented.qcow2': 2.1, 'chain': 2.1, 'preallocated.qcow2': 1.4, 'small.qcow2': 0.1}
OUTPUT_GIB = 2.7
FILE_SYSTEM_GIB = 8
OVERLAYS = 50
PIECES = 64  # files of random bytes that scattered writes take their content from
WRITTEN_RUN = 4  # clusters of one write to a layer
FIXED_TIME = 1700000000


def run(*words, **more):
    done = subprocess.run([str(word) for word in words], stdin=None if 'input' in more else subprocess.DEVNULL,
                          capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f'{" ".join(map(str, words))}: exit {done.returncode}: {done.stderr.strip()}')
    return done.stdout


def used_bytes(path):
    """What a file, or all files of a directory, take on the disk."""
    if not os.path.isdir(path):
        return os.stat(path).st_blocks * 512
    return sum(used_bytes(os.path.join(path, name)) for name in os.listdir(path))


class Inputs:
    def __init__(self, directory, scale):
        self.directory, self.scale = directory, scale
        os.makedirs(directory, exist_ok=True)

    def path(self, name):
        path = os.path.join(self.directory, name)
        if not os.path.exists(path):
            print(f'making {name}', file=sys.stderr, flush=True)
            unfinished = path + '.unfinished'
            remove(unfinished)
            MAKERS[name](self, unfinished)
            os.rename(unfinished, path)
        return path

    def check_room(self, names, with_file_system):
        """Ends the program if there is no room for these, and for what is made from them."""
        forms = ('root.qcow2', 'deflate.qcow2', 'zstd.qcow2')
        wanted = set(names) | ({'root.raw'} if set(names) & set(forms) else set())
        new = [name for name in wanted if not os.path.exists(os.path.join(self.directory, name))]
        passing = FILE_SYSTEM_GIB if with_file_system else OUTPUT_GIB
        needed = (sum(KEPT_GIB[name] for name in new) + passing) * self.scale
        free = shutil.disk_usage(self.directory).free / (1 << 30)
        if free < needed:
            sys.exit(f'{self.directory}: {needed:.1f} GiB are needed, {free:.1f} GiB are free')

    def files(self, name):
        """The files that an input consists of."""
        path = self.path(name)
        return sorted(os.path.join(path, one) for one in os.listdir(path)) if os.path.isdir(path) else [path]

    def scaled(self, size):
        """Whole MiB."""
        return max(1, round(size * self.scale / MIB)) * MIB


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


def regular_files(folder):
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(parent, name)
            if os.path.isfile(path) and not os.path.islink(path):
                yield path


def copy_files(target, wanted_bytes):
    """Regular files below /usr, in the order of their names, until there is enough."""
    copied = 0
    for path in regular_files(FILES_FROM):
        size = os.stat(path).st_size
        if copied + size > wanted_bytes:
            continue
        copied += size
        place = target + path
        os.makedirs(os.path.dirname(place), exist_ok=True)
        shutil.copyfile(path, place)
        os.utime(place, (FIXED_TIME, FIXED_TIME))
        if wanted_bytes - copied < MIB:
            break


def make_root(inputs, path):
    """A file system of real files, as a raw image with holes."""
    files = path + '.files'
    remove(files)
    os.mkdir(files)
    copy_files(files, inputs.scaled(2560 * MIB))
    size = inputs.scaled(6144 * MIB)
    identity = '00000000-0000-0000-0000-000000000001'
    run('mke2fs', '-q', '-F', '-t', 'ext4', '-d', files, '-U', identity, '-E', f'hash_seed={identity},root_owner=0:0',
        path, f'{size // MIB}M', env={**os.environ, 'E2FSPROGS_FAKE_TIME': str(FIXED_TIME)})
    remove(files)
    run('e2fsck', '-f', '-n', path)


def make_form(*flags):
    """Another form of the root file system, made by qemu-img."""
    def make(inputs, path):
        source = inputs.path('root.raw')
        run('qemu-img', 'convert', *flags, '-f', 'raw', '-O', 'qcow2', source, path)
        run('qemu-img', 'check', '-q', '-f', 'qcow2', path)
        run('qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', source, path)
    return make


def make_random(inputs, path):
    size = inputs.scaled(2048 * MIB)
    source = random.Random(1)
    with open(path, 'wb') as out:
        for _ in range(size // MIB):
            out.write(source.randbytes(MIB))
    os.sync()
    if used_bytes(path) < size:
        sys.exit(f'{path}: there are holes')


def make_pieces(inputs, path):
    os.mkdir(path)
    source = random.Random(2)
    for number in range(PIECES):
        with open(os.path.join(path, str(number)), 'wb') as out:
            out.write(source.randbytes(CLUSTER))


def write_scattered(inputs, image, offsets, length):
    """Writes `length` bytes at each of the offsets, in their order."""
    pieces = inputs.files('pieces')
    lines = [f'write -q -s {pieces[number % PIECES]} {offset} {length}\n' for number, offset in enumerate(offsets)]
    run('qemu-io', '-f', 'qcow2', '-t', 'unsafe', image, input=''.join(lines))


def check_allocated(image, clusters, fragmented=0):
    """By qemu-img: it is sound, and has this many clusters; how many of them do not follow the one before."""
    found = json.loads(run('qemu-img', 'check', '--output=json', '-f', 'qcow2', image))
    if found['allocated-clusters'] != clusters or found.get('fragmented-clusters', 0) < fragmented:
        sys.exit(f'{image}: {clusters} clusters, {fragmented} of them fragmented, were expected: {found}')


def make_fragmented(inputs, path):
    """Each eighth MiB of the disk is written, cluster by cluster in random order."""
    chosen = random.Random(3)
    size = inputs.scaled(16384 * MIB)
    regions = chosen.sample(range(size // MIB), max(1, size // MIB // 8))
    offsets = [region * MIB + at for region in regions for at in range(0, MIB, CLUSTER)]
    chosen.shuffle(offsets)
    run('qemu-img', 'create', '-q', '-f', 'qcow2', path, size)
    write_scattered(inputs, path, offsets, CLUSTER)
    check_allocated(path, len(offsets), fragmented=len(offsets) * 9 // 10)


def make_chain(inputs, path):
    """A base and its overlays, each with the same share of 2 GiB in short runs anywhere."""
    os.mkdir(path)
    size = inputs.scaled(8192 * MIB)
    length = WRITTEN_RUN * CLUSTER
    share = max(1, inputs.scaled(2048 * MIB) // (OVERLAYS + 1) // length)
    for number in range(OVERLAYS + 1):
        image = os.path.join(path, layer_name(number))
        below = ['-b', layer_name(number - 1), '-F', 'qcow2'] if number else []
        run('qemu-img', 'create', '-q', '-f', 'qcow2', *below, image, size)
        offsets = [place * length for place in random.Random(number).sample(range(size // length), share)]
        write_scattered(inputs, image, offsets, length)
        check_allocated(image, share * WRITTEN_RUN)


def layer_name(number):
    return f'{number:02}.qcow2'


def make_preallocated(inputs, path):
    Image(path, inputs.scaled(8 << 40), False, 0)
    run('qemu-img', 'check', '-q', '-f', 'qcow2', path)


def make_small(inputs, path):
    run('qemu-img', 'create', '-q', '-f', 'qcow2', path, MIB)
    write_scattered(inputs, path, [0], CLUSTER)
    check_allocated(path, 1)


MAKERS = {'root.raw': make_root, 'root.qcow2': make_form(), 'deflate.qcow2': make_form('-c'),
          'zstd.qcow2': make_form('-c', '-o', 'compression_type=zstd'), 'random.raw': make_random,
          'pieces': make_pieces, 'fragmented.qcow2': make_fragmented, 'chain': make_chain,
          'preallocated.qcow2': make_preallocated, 'small.qcow2': make_small}
TOP_OF_CHAIN = layer_name(OVERLAYS)
