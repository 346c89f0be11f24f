"""Builds a copy of the tree that holds all mutants at once (mutant schemata).

BYRE_MUTANT=n chooses mutant n when a program starts; without it the programs behave as those of the tree. With
BYRE_MUTANT_LOG=FILE a program adds to the file the numbers of all mutants whose place it has passed.
"""

import re
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor

import points

COPIED = ["CMakeLists.txt", "cmake", "include", "src", "tests", "bench", "LICENSE", "README.md"]
MUTATED = ["src/meta", "src/format"]
ERROR = re.compile(r"/tree/(src/(?:meta|format)/[\w.]+):(\d+):\d+: error:")

HEADER = """#pragma once
extern int byre_chosen_mutant;
bool byre_pass_mutant(int number);
constexpr bool byre_mutant(int number) {
  if (__builtin_is_constant_evaluated()) return false;
  return byre_chosen_mutant == number || (byre_chosen_mutant == -2 && byre_pass_mutant(number));
}
"""

SOURCE = """#include <fcntl.h>
#include <unistd.h>
#include <cstdio>
#include <cstdlib>
int byre_chosen_mutant = -1;
namespace {
bool passed[@COUNT@];
void save() {
  const int file = open(std::getenv("BYRE_MUTANT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  char text[16];
  for (int i = 0; i < @COUNT@; ++i) {
    if (passed[i]) (void)!write(file, text, static_cast<size_t>(std::snprintf(text, sizeof text, "%d\\n", i)));
  }
  close(file);
}
__attribute__((constructor(101))) void choose() {
  if (const char* number = std::getenv("BYRE_MUTANT")) byre_chosen_mutant = std::atoi(number);
  if (!std::getenv("BYRE_MUTANT_LOG")) return;
  byre_chosen_mutant = -2;
  std::atexit(save);
}
}  // namespace
bool byre_pass_mutant(int number) {
  passed[number] = true;
  return false;
}
"""


class Schemata:
    def __init__(self, root, scratch, seed):
        self.root = root
        self.tree = scratch / "tree"
        self.build = scratch / "build"
        self.seed = seed
        self.points = {}  # file -> points in order
        self.texts = {}  # file -> what it was when the points were found

    def targets(self):
        return {name: self.build / path for name, path in
                (("unit", "tests/unit_tests"), ("sim", "tests/sim_tests"), ("tool", "byre"))}

    def make(self):
        """The mutants, by number."""
        self._find()
        for name in COPIED:
            self._copy(self.root / name, self.tree / name)
        self._write_sources()
        self._configure()
        for _ in range(10):
            output, status = self._run_build("byre")
            if status == 0:
                break
            self._drop_uncompilable(output)
        output, status = self._run_build("unit_tests", "sim_tests", "byre_tool")
        if status != 0:
            raise SystemExit(f"mutate: the mutated tree does not build:\n{output[-6000:]}")
        return [point for file in sorted(self.points) for point in self.points[file]]

    def _find(self):
        resources = subprocess.run(["clang++-19", "-print-resource-dir"], capture_output=True, text=True, check=True)
        arguments = ["-x", "c++", "-std=c++23", f"-I{self.root}/include", f"-I{self.root}/src", "-resource-dir",
                     resources.stdout.strip()]
        if subprocess.run(["pkg-config", "--exists", "libisal"], check=False).returncode == 0:
            arguments.append("-DBYRE_HAVE_ISAL")
        files = [path.relative_to(self.root).as_posix() for folder in MUTATED
                 for path in sorted((self.root / folder).glob("*.[ch]*"))]
        with ProcessPoolExecutor(max_workers=2) as pool:
            found = pool.map(_points_of, [(self.root, file, arguments, self.seed) for file in files])
            for file, (text, in_file) in zip(files, found):
                self.texts[file], self.points[file] = text, in_file

    def _copy(self, source, target):
        """Leaves alone what is the same, so that a second build compiles little."""
        if source.is_dir():
            for entry in source.iterdir():
                self._copy(entry, target / entry.name)
        elif not any(source.is_relative_to(self.root / folder) for folder in MUTATED):
            self._put(target, source.read_bytes(), source)

    @staticmethod
    def _put(target, content, mode_of=None):
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
        if mode_of:
            shutil.copymode(mode_of, target)

    def _write_sources(self):
        number = 0
        for file in sorted(self.points):
            numbered = list(enumerate(self.points[file], number))
            number += len(numbered)
            self._put(self.tree / file, points.render(self.texts[file], numbered))
        self._put(self.tree / "src/base/byre_mutant.h", HEADER.encode())
        self._put(self.tree / "src/base/byre_mutant.cc", SOURCE.replace("@COUNT@", str(number + 1)).encode())

    def _configure(self):
        flags = f"-w -O1 -include {self.tree}/src/base/byre_mutant.h"
        subprocess.run(["cmake", "-G", "Ninja", "-S", self.tree, "-B", self.build, "-DCMAKE_CXX_COMPILER=clang++-19",
                        "-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld", "-DCMAKE_BUILD_TYPE=Mutants",
                        f"-DCMAKE_CXX_FLAGS={flags}", "-DBYRE_TEST_SETS=unit;sim",
                        "-DBYRE_PRECOMPILED_HEADERS=ON"], check=True, stdout=subprocess.DEVNULL)

    def _run_build(self, *targets):
        done = subprocess.run(["cmake", "--build", self.build, "--target", *targets, "--", "-k", "0"],
                              capture_output=True, text=True, check=False)
        return done.stdout + done.stderr, done.returncode

    def _drop_uncompilable(self, output):
        bad = {(file, int(line)) for file, line in ERROR.findall(output)}
        if not bad:
            raise SystemExit(f"mutate: the mutated library does not build:\n{output[-6000:]}")
        for file in {file for file, _ in bad}:
            text = self.texts[file]
            last_line = {id(p): p.line + text.count(b"\n", p.begin, p.end) for p in self.points[file]}
            self.points[file] = [p for p in self.points[file]
                                 if not any((file, n) in bad for n in range(p.line, last_line[id(p)] + 1))]
        self._write_sources()


def _points_of(job):
    root, file, arguments, seed = job
    text = (root / file).read_bytes()
    return text, points.find_points(root / file, file, arguments, seed)
