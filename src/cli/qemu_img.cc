// A table, in the order of the tool's own help. Options that are not in its help, but that it takes, are here too.
#include "cli/qemu_img.h"

namespace byre::cli {

namespace {

constexpr ForeignOption object_option = {0, "object", "objectdef", ""};
constexpr ForeignOption image_opts_option = {0, "image-opts", "", "--image-opts"};
constexpr ForeignOption quiet_option = {'q', "", "", "--quiet"};
constexpr ForeignOption progress_option = {'p', "", "", "-p"};
constexpr ForeignOption format_option = {'f', "", "fmt", "--format"};
constexpr ForeignOption named_format_option = {'f', "format", "fmt", "--format"};
constexpr ForeignOption force_share_option = {'U', "force-share", "", "--force-share"};
constexpr ForeignOption cache_option = {'t', "", "cache", "--cache"};
constexpr ForeignOption output_option = {0, "output", "ofmt", "--output"};
constexpr ForeignOption options_option = {'o', "", "options", "--options"};

constexpr ForeignOption amend_options[] = {
    object_option, image_opts_option,           progress_option, quiet_option, format_option,
    cache_option,  {0, "force", "", "--force"}, options_option};

constexpr ForeignOption bench_options[] = {image_opts_option,
                                           {'c', "", "count", "--count"},
                                           {'d', "", "depth", "--depth"},
                                           format_option,
                                           {0, "flush-interval", "flush_interval", "--flush-interval"},
                                           {'i', "", "aio", "--aio"},
                                           {'n', "", "", "--native"},
                                           {0, "no-drain", "", "--no-drain"},
                                           {'o', "", "offset", "--offset"},
                                           {0, "pattern", "pattern", "--pattern"},
                                           quiet_option,
                                           {'s', "", "buffer_size", "--buffer-size"},
                                           {'S', "", "step_size", "--step-size"},
                                           cache_option,
                                           {'w', "", "", "--write"},
                                           force_share_option};

constexpr ForeignOption bitmap_options[] = {{0, "merge", "SOURCE", ""},
                                            {0, "add", "", ""},
                                            {0, "remove", "", ""},
                                            {0, "clear", "", ""},
                                            {0, "enable", "", ""},
                                            {0, "disable", "", ""},
                                            {'b', "source-file", "source_file", ""},
                                            {'F', "source-format", "source_fmt", ""},
                                            {'g', "granularity", "granularity", ""},
                                            object_option,
                                            image_opts_option,
                                            {'f', "", "fmt", ""}};

constexpr ForeignOption check_options[] = {object_option,
                                           image_opts_option,
                                           quiet_option,
                                           named_format_option,
                                           output_option,
                                           {'r', "repair", "leaks|all", "--repair"},
                                           {'T', "", "src_cache", "--cache"},
                                           force_share_option};

constexpr ForeignOption commit_options[] = {object_option,
                                            image_opts_option,
                                            quiet_option,
                                            format_option,
                                            cache_option,
                                            {'b', "", "base", "--base"},
                                            {'r', "", "rate_limit", "--rate-limit"},
                                            {'d', "", "", "--drop"},
                                            progress_option};

constexpr ForeignOption compare_options[] = {object_option,
                                             image_opts_option,
                                             format_option,
                                             {'F', "", "fmt", "--second-format"},
                                             {'T', "", "src_cache", "--source-cache"},
                                             progress_option,
                                             quiet_option,
                                             {'s', "", "", "--strict"},
                                             force_share_option};

constexpr ForeignOption convert_options[] = {object_option,
                                             image_opts_option,
                                             {0, "target-image-opts", "", "--target-image-opts"},
                                             {0, "target-is-zero", "", "--target-is-zero"},
                                             {0, "bitmaps", "", ""},
                                             {0, "skip-broken-bitmaps", "", ""},
                                             force_share_option,
                                             {'C', "", "", "--copy-offloading"},
                                             {'c', "", "", "--compress"},
                                             progress_option,
                                             quiet_option,
                                             {'n', "", "", "--no-create"},
                                             format_option,
                                             {'t', "", "cache", "--target-cache"},
                                             {'T', "", "src_cache", "--source-cache"},
                                             {'O', "", "output_fmt", "--target-format"},
                                             {'B', "", "backing_file", "--backing"},
                                             {'F', "", "backing_fmt", "--target-backing-format"},
                                             options_option,
                                             {'l', "", "snapshot_param", "--snapshot"},
                                             {'S', "", "sparse_size", "--sparse-size"},
                                             {'r', "", "rate_limit", "--rate-limit"},
                                             {'m', "", "num_coroutines", "--parallel"},
                                             {'W', "", "", "--out-of-order"},
                                             {0, "salvage", "", ""}};

constexpr ForeignOption create_options[] = {object_option,
                                            quiet_option,
                                            format_option,
                                            {'b', "", "backing_file", "--backing"},
                                            {'F', "", "backing_fmt", "--backing-format"},
                                            {'u', "", "", "--unsafe"},
                                            options_option};

constexpr ForeignOption dd_options[] = {
    object_option, image_opts_option, force_share_option, format_option, {'O', "", "output_fmt", "--target-format"}};

constexpr ForeignOption info_options[] = {object_option,
                                          image_opts_option,
                                          named_format_option,
                                          output_option,
                                          {0, "backing-chain", "", "--backing-chain"},
                                          force_share_option};

constexpr ForeignOption map_options[] = {object_option,
                                         image_opts_option,
                                         named_format_option,
                                         {'s', "start-offset", "offset", "--start-offset"},
                                         {'l', "max-length", "len", "--max-length"},
                                         output_option,
                                         force_share_option};

constexpr ForeignOption measure_options[] = {output_option,     {'O', "", "output_fmt", "--target-format"},
                                             options_option,    {0, "size", "N", "--size"},
                                             object_option,     image_opts_option,
                                             format_option,     {'l', "", "snapshot_param", "--snapshot"},
                                             force_share_option};

constexpr ForeignOption snapshot_options[] = {object_option,
                                              image_opts_option,
                                              force_share_option,
                                              quiet_option,
                                              {'l', "", "", "--list"},
                                              {'a', "", "snapshot", "--apply"},
                                              {'c', "", "snapshot", "--create"},
                                              {'d', "", "snapshot", "--delete"}};

constexpr ForeignOption rebase_options[] = {object_option,
                                            image_opts_option,
                                            {'U', "force-share", "", "-"},  // what is written cannot be shared
                                            quiet_option,
                                            format_option,
                                            cache_option,
                                            {'T', "", "src_cache", "--source-cache"},
                                            progress_option,
                                            {'u', "", "", "--unsafe"},
                                            {'b', "", "backing_file", "--backing"},
                                            {'F', "", "backing_fmt", "--new-backing-format"}};

constexpr ForeignOption resize_options[] = {object_option, image_opts_option,
                                            format_option, {0, "preallocation", "prealloc", "--preallocation"},
                                            quiet_option,  {0, "shrink", "", "--shrink"}};

constexpr unsigned any_number = ~0U;

constexpr ForeignCommand commands[] = {
    {"amend", amend_options, "filename", 0, 1},
    {"bench", bench_options, "filename"},
    {"bitmap", bitmap_options, "filename bitmap", 2, 2, false, false},
    {"check", check_options, "filename"},
    {"commit", commit_options, "filename"},
    {"compare", compare_options, "filename1 filename2", 2, 2},
    {"convert", convert_options, "filename [filename2 [...]] output_filename", 0, any_number},
    {"create", create_options, "filename [size]", 0, 2},
    {"dd", dd_options, "[bs=block_size] [count=blocks] [skip=blocks] if=input of=output", 0, any_number},
    {"info", info_options, "filename"},
    {"map", map_options, "filename"},
    {"measure", measure_options, "[filename]", 0, 1},
    {"snapshot", snapshot_options, "filename", 1, 1, false, true, "lacd"},
    {"rebase", rebase_options, "filename"},
    {"resize", resize_options, "filename [+|-]size", 1, 1, true},
};

}  // namespace

const ForeignTool qemu_img = {"Images of disks: qcow2 and raw.", commands};

}  // namespace byre::cli
