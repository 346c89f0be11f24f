#!/usr/bin/env python3
"""Images with extended L2 entries (docs/format.md section 9): read as the reference reads them, refused for writing."""
import hashlib, os, random, subprocess, sys

BYRE = os.environ['BYRE']
os.chdir(os.environ['TEST_DIR'])


def run(*command, expect=0):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != expect:
        sys.exit(f'{" ".join(command)}: exit {done.returncode}, not {expect}: {done.stdout}{done.stderr}')
    return done.stdout + done.stderr


def digest(name):
    with open(name, 'rb') as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def random_commands(chosen, size, count):
    for _ in range(count):
        at = chosen.randrange(size // 512) * 512
        length = min(512 * (1 + chosen.randrange(100)), size - at)
        kind = chosen.randrange(6)
        if kind < 3:
            yield f'write -P {1 + chosen.randrange(255)} {at} {length}'
        elif kind == 3:
            yield f'write -z {at} {length}'
        elif kind == 4:
            yield f'write -z -u {at} {length}'
        else:
            yield f'discard {at} {length}'


def one(chosen, cluster_size, with_backing):
    size = chosen.choice([4 * cluster_size, 4 * cluster_size + 1536, 9 * cluster_size])
    backing = []
    if with_backing:
        with open('base.raw', 'wb') as base:
            base.write(chosen.randbytes(size // 2 // 512 * 512))
        backing = ['-b', 'base.raw', '-F', 'raw']
    run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', f'extended_l2=on,cluster_size={cluster_size}', *backing,
        'image.qcow2', str(size))
    commands = [word for command in random_commands(chosen, size, 30) for word in ('-c', command)]
    run('qemu-io', '-f', 'qcow2', *commands, 'image.qcow2')
    run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', 'image.qcow2', 'theirs.raw')
    run(BYRE, 'convert', '-f', 'qcow2', '-O', 'raw', 'image.qcow2', 'ours.raw')
    if digest('theirs.raw') != digest('ours.raw'):
        sys.exit(f'cluster size {cluster_size}, backing {with_backing}: contents differ')
    before = digest('image.qcow2')
    message = run(BYRE, 'io', '-f', 'qcow2', '-c', 'write 0 512', 'image.qcow2', expect=1)
    if 'extended L2' not in message or digest('image.qcow2') != before:
        sys.exit(f'not refused by name, or changed: {message}')


images = 0
chosen = random.Random(1)
for turn in range(6):
    for cluster_size in (16384, 65536, 262144):
        for with_backing in (False, True):
            one(chosen, cluster_size, with_backing)
            images += 1
print(f'{images} images with subclusters: 0 differences')
