#include "api/attention.hpp"

#include <pybind11/stl.h>

#include <memory>
#include <variant>

#include "api/candidates.hpp"
#include "bindings/arrays.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

using Optional = std::optional<py::array>;

// The memory of either precision.
class PyAttentionMemory {
 public:
  PyAttentionMemory(const py::array& keys, const py::array& values, const Optional& vector,
                    const py::array& lengths, bool backward) {
    const ArrayView views[] = {view_of(keys), view_of(values), view_of(vector), view_of(lengths)};
    with_dtype("attention", "keys", views[0], [&](auto zero) {
      using T = decltype(zero);
      py::gil_scoped_release release;
      held_ = std::make_shared<const AttentionMemory<T>>(views[0], views[1], views[2], views[3],
                                                         backward);
    });
  }

  void attend(const py::array& queries, const py::array& sources, const py::array& lengths,
              const py::array& contexts, const py::array& weights) const {
    const ArrayView views[] = {view_of(queries), view_of(sources), view_of(lengths),
                               view_of(contexts), view_of(weights)};
    py::gil_scoped_release release;
    std::visit(
        [&](const auto& memory) {
          memory->attend(views[0], views[1], views[2], views[3], views[4]);
        },
        held_);
  }

  void pull(const py::array& queries, const py::array& lengths, const py::array& weights,
            const py::array& dcontexts, const py::array& dscores, bool scored,
            const Optional& dqueries, const Optional& dkeys, const Optional& dvalues,
            const Optional& dvector) const {
    const ArrayView views[] = {view_of(queries), view_of(lengths), view_of(weights),
                               view_of(dcontexts)};
    const AttentionGradients gradients{view_of(dscores), scored,           view_of(dqueries),
                                       view_of(dkeys),   view_of(dvalues), view_of(dvector)};
    py::gil_scoped_release release;
    std::visit(
        [&](const auto& memory) {
          memory->pull(views[0], views[1], views[2], views[3], gradients);
        },
        held_);
  }

 private:
  std::variant<std::shared_ptr<const AttentionMemory<float>>,
               std::shared_ptr<const AttentionMemory<double>>>
      held_;
};

void best_tokens(const py::array& logits, const py::array& banned, const py::array& tokens,
                 const py::array& scores) {
  const ArrayView views[] = {view_of(logits), view_of(banned), view_of(tokens), view_of(scores)};
  with_dtype("best_tokens", "logits", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    run_best_tokens<decltype(zero)>(views[0], views[1], views[2], views[3]);
  });
}

}  // namespace

void register_attention(py::module_& m) {
  const auto in = [](const char* name) { return py::arg(name).noconvert(); };
  py::class_<PyAttentionMemory>(m, "AttentionMemory", "Keys and values, packed for the kernels.")
      .def(py::init<const py::array&, const py::array&, const Optional&, const py::array&, bool>(),
           in("keys"), in("values"), in("vector"), in("lengths"), py::arg("backward"))
      .def("attend", &PyAttentionMemory::attend, in("queries"), in("sources"), in("lengths"),
           in("contexts"), in("weights"))
      .def("pull", &PyAttentionMemory::pull, in("queries"), in("lengths"), in("weights"),
           in("dcontexts"), in("dscores"), py::arg("scored"), in("dqueries"), in("dkeys"),
           in("dvalues"), in("dvector"));
  m.def("best_tokens", &best_tokens, in("logits"), in("banned"), in("tokens"), in("scores"));
}

}  // namespace unrolled
