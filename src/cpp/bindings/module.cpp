#include <pybind11/pybind11.h>

#include "api/array.hpp"
#include "bindings/register.hpp"

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.doc() = "Compiled kernels of unrolled. Private: use unrolled.functional.";
  pybind11::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const unrolled::DtypeError& wrong) {
      PyErr_SetString(PyExc_TypeError, wrong.what());
    }
  });
  unrolled::register_system(m);
  unrolled::register_sequence(m);
  unrolled::register_stream(m);
  unrolled::register_head(m);
  unrolled::register_images(m);
  unrolled::register_attention(m);
  unrolled::register_ctc(m);
  unrolled::register_optimizer(m);
  unrolled::register_xla(m);
}
