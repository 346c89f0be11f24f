// How a qcow2 image lies in its file, coarse enough to be drawn: what fills each part of the disk and of the file, how
// old it is, and where the one lies in the other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "byre/data/disk.h"

namespace byre {

struct LayoutOptions {
  std::uint64_t cells = 4096;  // of the disk, and of the file; 1 to a million
  std::uint64_t dots = 256;    // the grid on which the one is laid against the other has so many lines each way
};

// Bytes of one cell. Of data it is told how old it is: the first generation was there when the first snapshot of the
// table was taken, each further one was not there before the next snapshot, and the last is younger than all of them.
// Where there are more than 16 generations, neighbours are counted together, so that there are 16.
struct LayoutCell {
  std::uint64_t nothing = 0;  // of the disk: the backing file shows, or zeros; of the file: free
  std::uint64_t zeros = 0;    // entries that say so
  std::uint64_t tables = 0;   // the image's own: header, mapping, counts, snapshots
  std::uint64_t compressed = 0;
  std::vector<std::uint64_t> data;            // by generation
  std::vector<std::uint64_t> snapshots_only;  // by generation: data that the disk itself no longer refers to
};

struct LayoutDot {
  std::uint64_t disk, file;  // on the grid
  std::uint64_t generation;
};

struct ImageLayout {
  std::uint64_t disk_size_bytes = 0;
  std::uint64_t file_size_bytes = 0;
  bool backed = false;
  std::vector<std::string> snapshots;  // names, the oldest first; bytes from the image
  std::vector<LayoutCell> disk;        // of equal shares of the disk
  std::vector<LayoutCell> file;        // of equal shares of the file
  std::vector<LayoutDot> dots;         // each once, for uncompressed data of the disk
};

// Memory: two bytes for each cluster of the file, at most 32 MiB: where it has more than 16 million clusters,
// neighbours are told as one. Nothing else may use the disk meanwhile. Errors: unsupported (raw, extended L2 entries),
// corrupt, I/O.
Task<Result<ImageLayout>> image_layout(Disk& disk, LayoutOptions options);

}  // namespace byre
