#include "api/ctc.hpp"

#include <pybind11/stl.h>

#include <tuple>
#include <vector>

#include "api/ctc_beam.hpp"
#include "bindings/arrays.hpp"
#include "bindings/register.hpp"

namespace unrolled {
namespace {

CtcProblem problem_of(const char* name, const py::array& logits, const py::array& labels,
                      const py::array& input_lengths, const py::array& label_lengths,
                      int64_t blank) {
  if (logits.ndim() != 3)
    fail_value("[", name, "] expected logits of shape (T, B, V), got ",
               shape_text(view_of(logits)));
  return {view_of(logits), view_of(labels), view_of(input_lengths), view_of(label_lengths), blank};
}

void ctc(const py::array& logits, const py::array& labels, const py::array& input_lengths,
         const py::array& label_lengths, int64_t blank, const py::array& losses,
         const std::optional<py::array>& dlogits) {
  const CtcProblem problem =
      problem_of("ctc_loss", logits, labels, input_lengths, label_lengths, blank);
  const ArrayView views[] = {view_of(losses), view_of(dlogits)};
  with_dtype("ctc_loss", "logits", problem.logits, [&](auto zero) {
    py::gil_scoped_release release;
    run_ctc<decltype(zero)>(problem, views[0], views[1]);
  });
}

void ctc_align(const py::array& logits, const py::array& labels, const py::array& input_lengths,
               const py::array& label_lengths, int64_t blank, const py::array& path,
               const py::array& scores) {
  const CtcProblem problem =
      problem_of("ctc_align", logits, labels, input_lengths, label_lengths, blank);
  const ArrayView views[] = {view_of(path), view_of(scores)};
  with_dtype("ctc_align", "logits", problem.logits, [&](auto zero) {
    py::gil_scoped_release release;
    run_ctc_align<decltype(zero)>(problem, views[0], views[1]);
  });
}

double ctc_align_words(const py::array& logits, const py::array& labels,
                       const py::array& input_lengths, const py::array& label_lengths,
                       int64_t blank, const py::array& lengths, const py::array& alternatives,
                       const py::array& path) {
  const CtcProblem problem =
      problem_of("ctc_align_words", logits, labels, input_lengths, label_lengths, blank);
  const ArrayView views[] = {view_of(lengths), view_of(alternatives), view_of(path)};
  double score = 0.0;
  with_dtype("ctc_align_words", "logits", problem.logits, [&](auto zero) {
    py::gil_scoped_release release;
    score = run_ctc_align_words<decltype(zero)>(problem, views[0], views[1], views[2]);
  });
  return score;
}

void beam_step(CtcBeam& beam, const py::array& logits, const std::optional<py::array>& extension) {
  const ArrayView views[] = {view_of(logits), view_of(extension)};
  with_dtype("CtcBeam", "logits", views[0], [&](auto zero) {
    py::gil_scoped_release release;
    beam.step<decltype(zero)>(views[0], views[1]);
  });
}

using PrefixTuple = std::tuple<int64_t, int64_t, int64_t, double, double>;

// (id, parent, symbol, acoustic, score) of each.
std::vector<PrefixTuple> beam_prefixes(const CtcBeam& beam) {
  std::vector<PrefixTuple> list;
  for (const CtcBeam::Prefix& p : beam.prefixes())
    list.emplace_back(p.id, p.parent, p.symbol, p.acoustic, p.score);
  return list;
}

}  // namespace

void register_ctc(py::module_& m) {
  const auto in = [](const char* name) { return py::arg(name).noconvert(); };
  m.def("ctc", &ctc, in("logits"), in("labels"), in("input_lengths"), in("label_lengths"),
        py::arg("blank"), in("losses"), in("dlogits"));
  m.def("ctc_align", &ctc_align, in("logits"), in("labels"), in("input_lengths"),
        in("label_lengths"), py::arg("blank"), in("path"), in("scores"));
  m.def("ctc_align_words", &ctc_align_words, in("logits"), in("labels"), in("input_lengths"),
        in("label_lengths"), py::arg("blank"), in("lengths"), in("alternatives"), in("path"));
  py::class_<CtcBeam>(m, "CtcBeam", "Prefix beam search, frame by frame.")
      .def(py::init<int64_t, int64_t, int64_t, int64_t>(), py::arg("symbols"), py::arg("blank"),
           py::arg("width"), py::arg("candidates"))
      .def("step", &beam_step, in("logits"), in("extension"))
      .def("prefixes", &beam_prefixes)
      .def("spell", &CtcBeam::spell, py::arg("id"));
}

}  // namespace unrolled
