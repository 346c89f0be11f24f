// Three squares side by side. In the first two each cell is a share of the disk, or of the file, row by row; what fills
// a cell is drawn side by side in it, as wide as it has bytes. Neighbours of one colour become one rectangle. In the
// third a dot stands where a part of the disk lies in the file: a file in the order of its disk is a diagonal.

#include "cli/map_svg.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>
#include <span>
#include <vector>

#include "base/text.h"

namespace byre::cli {
namespace {

constexpr double side = 512;
constexpr double gap = 40;
constexpr double top_y = 84;

struct Colour {
  double red, green, blue;

  std::string text() const {
    return fmt::format("#{:02x}{:02x}{:02x}", std::lround(red), std::lround(green), std::lround(blue));
  }
  Colour towards(const Colour& other, double share) const {
    return {red + (other.red - red) * share, green + (other.green - green) * share, blue + (other.blue - blue) * share};
  }
};

constexpr Colour white{255, 255, 255};
constexpr Colour oldest{31, 59, 115}, middle{44, 165, 141}, newest{244, 162, 89};
constexpr const char* nothing_colour = "#ffffff";
constexpr const char* backing_colour = "#e3edf8";
constexpr const char* zeros_colour = "#cfcfcf";
constexpr const char* tables_colour = "#1a1a1a";
constexpr const char* compressed_colour = "#8e44ad";

Colour colour_of(std::size_t generation, std::size_t generations) {
  if (generations == 1) return middle;
  const double age = static_cast<double>(generation) / static_cast<double>(generations - 1);
  return age < 0.5 ? oldest.towards(middle, age * 2) : middle.towards(newest, age * 2 - 1);
}

std::string xml_text(const std::string& text) {
  std::string safe;
  for (const char letter : escape_untrusted(text, 200)) {
    switch (letter) {
      case '<': safe += "&lt;"; break;
      case '>': safe += "&gt;"; break;
      case '&': safe += "&amp;"; break;
      default: safe += letter;
    }
  }
  return safe;
}

struct Part {
  std::string colour;
  std::uint64_t bytes;
};

class Drawing {
 public:
  explicit Drawing(const ImageLayout& layout) : layout_(layout), generations_(layout.disk.front().data.size()) {}

  std::string run(const std::string& title) {
    const double width = 4 * gap + 3 * side;
    const std::size_t lines_of_legend = (legend().size() + 3) / 4;
    const double height = top_y + side + 40 + 24 * static_cast<double>(lines_of_legend) + gap;
    add(R"(<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" )"
        R"(font-family="sans-serif" font-size="14" shape-rendering="crispEdges">)"
        "\n<rect width=\"100%\" height=\"100%\" fill=\"#f4f4f2\"/>\n",
        width, height);
    write(gap, 32, 20, xml_text(title));
    grid(0, fmt::format("The disk, {}, in its own order", human_size(layout_.disk_size_bytes)), layout_.disk, true);
    grid(1, fmt::format("The file, {}, in its own order", human_size(layout_.file_size_bytes)), layout_.file, false);
    dots();
    draw_legend(top_y + side + 40);
    out_ += "</svg>\n";
    return std::move(out_);
  }

 private:
  template <class... Args>
  void add(fmt::format_string<Args...> pattern, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), pattern, std::forward<Args>(args)...);
  }
  void write(double x, double y, int size, const std::string& text) {
    add("<text x=\"{}\" y=\"{}\" font-size=\"{}\" fill=\"#222\">{}</text>\n", x, y, size, text);
  }
  void rectangle(double x, double y, double width, double height, const std::string& colour) {
    add("<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" fill=\"{}\"/>\n", x, y, width, height,
        colour);
  }
  static double left(int square) { return gap + square * (side + gap); }

  std::vector<Part> parts(const LayoutCell& cell, bool of_disk) const {
    std::vector<Part> parts = {{tables_colour, cell.tables}};
    for (std::size_t i = 0; i < generations_; ++i) {
      parts.push_back({colour_of(i, generations_).text(), cell.data[i]});
      parts.push_back({colour_of(i, generations_).towards(white, 0.6).text(), cell.snapshots_only[i]});
    }
    parts.push_back({compressed_colour, cell.compressed});
    parts.push_back({zeros_colour, cell.zeros});
    parts.push_back({of_disk && layout_.backed ? backing_colour : nothing_colour, cell.nothing});
    std::erase_if(parts, [](const Part& part) { return part.bytes == 0; });
    return parts;
  }

  void grid(int square, const std::string& title, const std::vector<LayoutCell>& cells, bool of_disk) {
    write(left(square), top_y - 12, 15, title);
    rectangle(left(square) - 1, top_y - 1, side + 2, side + 2, "#999999");
    rectangle(left(square), top_y, side, side, "#f4f4f2");
    const auto columns = static_cast<std::size_t>(std::ceil(std::sqrt(static_cast<double>(cells.size()))));
    const double size = side / static_cast<double>(columns);
    for (std::size_t begin = 0, line = 0; begin < cells.size(); begin += columns, ++line) {
      const std::size_t count = std::min(columns, cells.size() - begin);
      row(left(square), top_y + size * static_cast<double>(line), size, std::span(cells).subspan(begin, count),
          of_disk);
    }
  }

  void row(double x, double y, double size, std::span<const LayoutCell> cells, bool of_disk) {
    std::string colour;
    double begin = x;
    double at = x;
    for (const LayoutCell& cell : cells) {
      const std::vector<Part> all = parts(cell, of_disk);
      double total = 0;
      for (const Part& part : all) total += static_cast<double>(part.bytes);
      for (const Part& part : all) {
        if (part.colour != colour && at > begin) rectangle(begin, y, at - begin, size, colour);
        if (part.colour != colour) begin = at;
        colour = part.colour;
        at += size * static_cast<double>(part.bytes) / total;
      }
    }
    if (at > begin) rectangle(begin, y, at - begin, size, colour);
  }

  void dots() {
    write(left(2), top_y - 12, 15, "Where the disk (to the right) lies in the file (downwards)");
    rectangle(left(2) - 1, top_y - 1, side + 2, side + 2, "#999999");
    rectangle(left(2), top_y, side, side, nothing_colour);
    const double size = side / static_cast<double>(LayoutOptions().dots);
    for (const LayoutDot& dot : layout_.dots) {
      rectangle(left(2) + size * static_cast<double>(dot.disk), top_y + size * static_cast<double>(dot.file), size,
                size, colour_of(dot.generation, generations_).text());
    }
  }

  std::vector<std::pair<std::string, std::string>> legend() const {
    std::vector<std::pair<std::string, std::string>> lines = {
        {tables_colour, "tables of the image"}, {compressed_colour, "compressed"}, {zeros_colour, "zeros"}};
    lines.emplace_back(nothing_colour, layout_.backed ? "free" : "not allocated; free");
    if (layout_.backed) lines.emplace_back(backing_colour, "the backing file shows");
    const std::size_t snapshots = layout_.snapshots.size();
    if (snapshots == 0) lines.emplace_back(colour_of(0, 1).text(), "data");
    for (std::size_t i = 0; i < generations_ && snapshots > 0; ++i) {
      const std::size_t snapshot = (i * (snapshots + 1) + generations_ - 1) / generations_;
      const std::string since = snapshot < snapshots
                                    ? fmt::format("data, in snapshot {} first", xml_text(layout_.snapshots[snapshot]))
                                    : "data, written since";
      lines.emplace_back(colour_of(i, generations_).text(), since);
    }
    if (snapshots > 0) lines.emplace_back(middle.towards(white, 0.6).text(), "pale: only snapshots refer to it");
    return lines;
  }

  void draw_legend(double y) {
    const double column = (3 * side + 2 * gap) / 4;
    const auto lines = legend();
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const double x = gap + column * static_cast<double>(i % 4);
      const std::size_t below = i / 4;
      const double line = y + 24 * static_cast<double>(below);
      rectangle(x - 1, line - 13, 18, 16, "#999999");
      rectangle(x, line - 12, 16, 14, lines[i].first);
      write(x + 26, line, 14, lines[i].second);
    }
  }

  const ImageLayout& layout_;
  const std::size_t generations_;
  std::string out_;
};

}  // namespace

std::string draw_layout(const ImageLayout& layout, const std::string& title) { return Drawing(layout).run(title); }

}  // namespace byre::cli
