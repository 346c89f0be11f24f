"""File systems in a file, mounted through a loop device."""
import contextlib
import os
import shutil
import subprocess

MAKE = {'xfs': ['mkfs.xfs', '-q', '-m', 'reflink=1'], 'btrfs': ['mkfs.btrfs', '-q']}
ADMINISTRATION = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/sbin'])


def missing_for(kind):
    """Why this machine cannot mount such a file system; None if it can."""
    with open('/proc/filesystems', encoding='ascii') as known:
        if kind not in known.read().split():
            return f'this kernel does not know {kind}'
    if not shutil.which(MAKE[kind][0], path=ADMINISTRATION):
        return f'{MAKE[kind][0]} is missing'
    return None if os.geteuid() == 0 else 'only root may mount'


@contextlib.contextmanager
def mounted(kind, directory, size):
    """An empty one; gone afterwards. What is deleted there is given back to the file that it lies in."""
    image, place = os.path.join(directory, kind), os.path.join(directory, kind + '.mounted')
    with open(image, 'wb') as out:
        out.truncate(size)
    os.mkdir(place)
    make = [shutil.which(MAKE[kind][0], path=ADMINISTRATION), *MAKE[kind][1:], image]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(['mount', '-o', 'loop,discard', image, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(['umount', place], check=True)
        os.rmdir(place)
        os.unlink(image)
