// What models need beside a scan and a head, as functions of the module: CTC, attention, images.
#pragma once

#include <pybind11/pybind11.h>

namespace unrolled::cuda {

void register_models(pybind11::module_& m);

}  // namespace unrolled::cuda
