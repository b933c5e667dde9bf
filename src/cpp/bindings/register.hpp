// One function a topic; module.cpp calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace unrolled {

void register_attention(pybind11::module_& m);
void register_sequence(pybind11::module_& m);
void register_stream(pybind11::module_& m);
void register_ctc(pybind11::module_& m);
void register_head(pybind11::module_& m);
void register_images(pybind11::module_& m);
void register_optimizer(pybind11::module_& m);
void register_system(pybind11::module_& m);
void register_xla(pybind11::module_& m);

}  // namespace unrolled
