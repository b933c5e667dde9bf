#include "cuda/host/models.hpp"

#include <pybind11/stl.h>

#include <tuple>

#include "bindings/arrays.hpp"
#include "cuda/host/attention.hpp"
#include "cuda/host/ctc.hpp"
#include "cuda/host/images.hpp"
#include "cuda/host/one_of.hpp"

namespace unrolled::cuda {
namespace {

using Steps = std::tuple<int64_t, int64_t, int64_t, int64_t>;  // of windows: down, right, top, left

WindowOptions windows_of(const Steps& steps) { return std::make_from_tuple<WindowOptions>(steps); }

Activation activation_of(const std::string& name) {
  return one_of<Activation>(
      "activation", name,
      {{"none", Activation::kNone}, {"relu", Activation::kRelu}, {"relu6", Activation::kRelu6}});
}

void register_ctc(py::module_& m) {
  m.def("ctc_scratch", &ctc_scratch, py::arg("frames"), py::arg("batch"), py::arg("labels"),
        py::arg("gradients"));
  m.def(
      "ctc",
      [](Argument logits, const py::array& labels, const py::array& input_lengths,
         const py::array& label_lengths, int64_t blank, Argument losses, Argument dlogits,
         Argument memory, Argument scratch, uintptr_t stream) {
        ctc({logits, view_of(labels), view_of(input_lengths), view_of(label_lengths), blank, losses,
             dlogits, memory, scratch},
            stream);
      },
      py::arg("logits").none(false), py::arg("labels").noconvert(),
      py::arg("input_lengths").noconvert(), py::arg("label_lengths").noconvert(), py::arg("blank"),
      py::arg("losses").none(false), py::arg("dlogits"), py::arg("memory").none(false),
      py::arg("scratch").none(false), py::arg("stream"));
}

void register_attention(py::module_& m) {
  m.def(
      "attend",
      [](Argument keys, Argument values, Argument vector, const py::array& places, Argument queries,
         const py::array& lengths, const py::array& sources, Argument contexts, Argument weights,
         Argument memory, uintptr_t stream) {
        attend({{keys, values, vector, view_of(places)},
                queries,
                view_of(lengths),
                view_of(sources),
                contexts,
                weights,
                memory},
               stream);
      },
      py::arg("keys").none(false), py::arg("values").none(false), py::arg("vector"),
      py::arg("places").noconvert(), py::arg("queries").none(false), py::arg("lengths").noconvert(),
      py::arg("sources").noconvert(), py::arg("contexts").none(false),
      py::arg("weights").none(false), py::arg("memory").none(false), py::arg("stream"));
  m.def(
      "attention_scratch",
      [](Argument keys, Argument values, Argument vector, bool of_memory) {
        return attention_scratch({keys, values, vector, {}}, of_memory);
      },
      py::arg("keys").none(false), py::arg("values").none(false), py::arg("vector"),
      py::arg("of_memory"));
  m.def(
      "attention_backward",
      [](Argument keys, Argument values, Argument vector, const py::array& places, Argument queries,
         Argument weights, Argument dcontexts, const py::array& lengths, Argument dscores,
         bool scored, Argument dqueries, Argument dkeys, Argument dvalues, Argument dvector,
         Argument memory, Argument scratch, uintptr_t stream) {
        attention_backward({{keys, values, vector, view_of(places)},
                            queries,
                            weights,
                            dcontexts,
                            view_of(lengths),
                            dscores,
                            scored,
                            dqueries,
                            dkeys,
                            dvalues,
                            dvector,
                            memory,
                            scratch},
                           stream);
      },
      py::arg("keys").none(false), py::arg("values").none(false), py::arg("vector"),
      py::arg("places").noconvert(), py::arg("queries").none(false), py::arg("weights").none(false),
      py::arg("dcontexts").none(false), py::arg("lengths").noconvert(),
      py::arg("dscores").none(false), py::arg("scored"), py::arg("dqueries"), py::arg("dkeys"),
      py::arg("dvalues"), py::arg("dvector"), py::arg("memory").none(false),
      py::arg("scratch").none(false), py::arg("stream"));
}

void register_conv(py::module_& m) {
  m.def(
      "conv2d_scratch",
      [](Argument x, Argument weight, const Steps& steps, int64_t groups,
         const std::string& activation, const std::pair<int64_t, int64_t>& places, bool backward) {
        return conv_scratch({x, weight, windows_of(steps), groups, activation_of(activation)},
                            places.first, places.second, backward);
      },
      py::arg("x").none(false), py::arg("weight").none(false), py::arg("steps"), py::arg("groups"),
      py::arg("activation"), py::arg("places"), py::arg("backward"));
  m.def(
      "conv2d",
      [](Argument x, Argument weight, Argument bias, Argument residual, Argument y,
         const Steps& steps, int64_t groups, const std::string& activation, Argument scratch,
         uintptr_t stream) {
        conv({x, weight, windows_of(steps), groups, activation_of(activation)}, bias, residual, y,
             scratch, stream);
      },
      py::arg("x").none(false), py::arg("weight").none(false), py::arg("bias"), py::arg("residual"),
      py::arg("y").none(false), py::arg("steps"), py::arg("groups"), py::arg("activation"),
      py::arg("scratch").none(false), py::arg("stream"));
  m.def(
      "conv2d_backward",
      [](Argument x, Argument weight, Argument y, Argument dy, Argument dx, Argument dweight,
         Argument dbias, const Steps& steps, int64_t groups, const std::string& activation,
         Argument scratch, uintptr_t stream) {
        conv_backward({x, weight, windows_of(steps), groups, activation_of(activation)}, y, dy, dx,
                      dweight, dbias, scratch, stream);
      },
      py::arg("x").none(false), py::arg("weight").none(false), py::arg("y").none(false),
      py::arg("dy").none(false), py::arg("dx"), py::arg("dweight").none(false), py::arg("dbias"),
      py::arg("steps"), py::arg("groups"), py::arg("activation"), py::arg("scratch").none(false),
      py::arg("stream"));
}

void register_pool_and_norm(py::module_& m) {
  using Kernel = std::pair<int64_t, int64_t>;
  m.def(
      "max_pool",
      [](Argument x, Argument y, const Kernel& kernel, const Steps& steps, uintptr_t stream) {
        max_pool(x, y, kernel.first, kernel.second, windows_of(steps), stream);
      },
      py::arg("x").none(false), py::arg("y").none(false), py::arg("kernel"), py::arg("steps"),
      py::arg("stream"));
  m.def(
      "max_pool_backward",
      [](Argument x, Argument y, Argument dy, Argument dx, const Kernel& kernel, const Steps& steps,
         uintptr_t stream) {
        max_pool_backward(x, y, dy, dx, kernel.first, kernel.second, windows_of(steps), stream);
      },
      py::arg("x").none(false), py::arg("y").none(false), py::arg("dy").none(false),
      py::arg("dx").none(false), py::arg("kernel"), py::arg("steps"), py::arg("stream"));
  m.def("moments", &moments, py::arg("x").none(false), py::arg("mean").none(false),
        py::arg("variance").none(false), py::arg("stream"));
  m.def(
      "normalise",
      [](Argument x, Argument mean, Argument variance, Argument weight, Argument bias, Argument y,
         double eps, const std::string& activation, uintptr_t stream) {
        normalise({x, mean, variance, weight, eps, activation_of(activation)}, bias, y, stream);
      },
      py::arg("x").none(false), py::arg("mean").none(false), py::arg("variance").none(false),
      py::arg("weight").none(false), py::arg("bias").none(false), py::arg("y").none(false),
      py::arg("eps"), py::arg("activation"), py::arg("stream"));
  m.def(
      "normalise_backward",
      [](Argument x, Argument mean, Argument variance, Argument weight, Argument y, Argument dy,
         Argument dweight, Argument dbias, Argument dx, Argument sums, double eps,
         const std::string& activation, bool of_batch, uintptr_t stream) {
        normalise_backward({x, mean, variance, weight, eps, activation_of(activation)}, of_batch, y,
                           dy, dweight, dbias, dx, sums, stream);
      },
      py::arg("x").none(false), py::arg("mean").none(false), py::arg("variance").none(false),
      py::arg("weight").none(false), py::arg("y").none(false), py::arg("dy").none(false),
      py::arg("dweight").none(false), py::arg("dbias").none(false), py::arg("dx"),
      py::arg("sums").none(false), py::arg("eps"), py::arg("activation"), py::arg("of_batch"),
      py::arg("stream"));
}

}  // namespace

void register_models(py::module_& m) {
  register_ctc(m);
  register_attention(m);
  register_conv(m);
  register_pool_and_norm(m);
}

}  // namespace unrolled::cuda
