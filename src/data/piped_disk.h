// New disks that are written as a stream, each byte once, from front to back. Writes come in the order of offsets and
// do not overlap; several may be under way.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "base/math.h"
#include "byre/task/sync.h"
#include "data/limited_disk.h"
#include "data/payload.h"
#include "data/range.h"
#include "format/header.h"

namespace byre {

// After an error every later write is refused with it: nothing can follow what is missing.
class PipedDisk : public LimitedDisk {
 public:
  PipedDisk(Storage& storage, std::uint64_t size_bytes) : storage_(storage), size_bytes_(size_bytes) {}
  std::uint64_t size_bytes() const override { return size_bytes_; }
  bool writable() const override { return true; }
  Storage& storage() override { return storage_; }

 protected:
  std::uint64_t take_turn() { return order_.take(); }
  // Does the work when all before it is done; `work` is not begun if one of them failed.
  Task<Result<void>> in_turn(std::uint64_t ticket, Task<Result<void>> work);
  void set_size(std::uint64_t size_bytes) { size_bytes_ = size_bytes; }

 private:
  Storage& storage_;
  std::uint64_t size_bytes_;
  Turnstile order_;  // of the calls
  std::optional<Error> failed_;
};

// The bytes themselves; nothing may be left out.
class PipedRawDisk final : public PipedDisk {
 public:
  using PipedDisk::PipedDisk;
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> resize(std::uint64_t size_bytes, Preallocation preallocation) override;
  std::string_view format() const override { return "raw"; }
  std::uint64_t cluster_size_bytes() const override { return 0; }
};

// How long each guest cluster of an image is in the file: 0 if it is not stored, a cluster if it is stored as it is,
// else its payload. Memory: half of the image's L2 tables.
class ClusterSizes {
 public:
  explicit ClusterSizes(const format::Geometry& geometry) : geometry_(geometry) {}
  void set(std::uint64_t cluster, std::uint64_t size_bytes);
  std::uint64_t at(std::uint64_t cluster) const;
  // The first one from there on that is stored.
  std::optional<std::uint64_t> next(std::uint64_t cluster) const;
  // By L1 index; only L2 tables that are not empty.
  const std::map<std::uint64_t, std::vector<std::uint32_t>>& tables() const { return tables_; }

 private:
  const format::Geometry geometry_;
  std::map<std::uint64_t, std::vector<std::uint32_t>> tables_;
};

// Where clusters and payloads go that are stored one behind the other, counted from the first byte of the first one.
class DataPlacer {
 public:
  explicit DataPlacer(const format::Geometry& geometry);
  // From 1 byte to a cluster. One call ends one cluster at most.
  std::uint64_t place(std::uint64_t size_bytes);
  std::uint64_t clusters() const { return ceil_div(end_bytes_, cluster_size_bytes_); }
  // Of the last cluster so far, which what comes next may share. 0: there is none.
  std::uint64_t last_references() const { return last_references_; }

 private:
  const std::uint64_t cluster_size_bytes_;
  const std::uint64_t most_references_;
  std::uint64_t end_bytes_ = 0;
  std::uint64_t last_references_ = 0;
};

// Writes nothing, and learns how long everything will be.
class SizingDisk final : public PipedDisk {
 public:
  SizingDisk(Storage& storage, const format::Header& header, ClusterSizes& sizes, const std::atomic<bool>* cancel);
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  std::string_view format() const override { return "qcow2"; }
  std::uint64_t cluster_size_bytes() const override { return geometry_.cluster_size_bytes(); }

 private:
  const format::Geometry geometry_;
  const format::CompressionType type_;
  ClusterSizes& sizes_;
  const std::atomic<bool>* const cancel_;
};

// Writes the data of an image whose tables are in the stream already. What comes must be what they say: a cluster that
// they have and that does not come is one of zeros, everything else an error (io).
class PipedImageDisk final : public PipedDisk {
 public:
  PipedImageDisk(Storage& storage, const format::Header& header, const ClusterSizes& sizes,
                 const std::atomic<bool>* cancel);
  Task<Result<void>> write(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> write_compressed(std::uint64_t offset_bytes, ConstBytes data) override;
  Task<Result<void>> close() override;
  std::string_view format() const override { return "qcow2"; }
  std::uint64_t cluster_size_bytes() const override { return geometry_.cluster_size_bytes(); }

 private:
  Task<Result<void>> put_compressed(std::uint64_t offset_bytes, ConstBytes data, const Result<Payload>& payload);
  Task<Result<void>> put_clusters(std::uint64_t offset_bytes, ConstBytes data);
  Task<Result<void>> put_payload(std::uint64_t cluster, ConstBytes payload);
  Task<Result<void>> put_zeros(std::uint64_t end_cluster);
  Task<Result<void>> put(std::uint64_t place_bytes, ConstBytes bytes);
  Error changed(std::uint64_t cluster);

  const format::Geometry geometry_;
  const format::CompressionType type_;
  const ClusterSizes& sizes_;
  const std::atomic<bool>* const cancel_;
  DataPlacer placer_;
  const std::uint64_t data_start_bytes_;
  std::uint64_t next_cluster_ = 0;
};

}  // namespace byre
