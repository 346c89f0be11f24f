// The target options of `measure`: those of create, and of features that can only be measured.
#pragma once

#include <string_view>

#include "byre/ops/measure.h"
#include "ops/option_list.h"

namespace byre::ops {

Result<MeasureTarget> parse_measure_options(std::string_view format, OptionList list);

}  // namespace byre::ops
