// Prefix beam search over the frames of a CTC model, one frame after the other.
#pragma once

#include <cstdint>
#include <vector>

#include "api/array.hpp"

namespace unrolled {

// Keeps the `width` most probable prefixes. Each prefix sums over all paths that collapse to it, of
// which two sums are kept: of those that end in a blank, and of those that end in its last symbol.
//
// Source: Hannun, Maas, Jurafsky and Ng, "First-pass large vocabulary continuous speech recognition
// using bi-directional recurrent DNNs", 2014.
class CtcBeam {
 public:
  // A prefix that may still become the text.
  struct Prefix {
    int64_t id, parent;  // ids of prefixes; -1: the empty one has no parent
    int64_t symbol;      // the last one; -1: empty
    double acoustic;     // log of the sum over its paths
    double score;        // the same plus what extensions added
  };

  // Of each frame the `candidates` most probable symbols extend prefixes.
  CtcBeam(int64_t symbols, int64_t blank, int64_t width, int64_t candidates);

  // logits (T, V) of the next T frames. extension (K, V) float64 or absent: what is added to the
  // score of prefix k, in the order of `prefixes`, when it grows by symbol v, -inf to forbid it;
  // only for a single frame, since the prefixes are others afterwards.
  template <class T>
  void step(const ArrayView& logits, const ArrayView& extension);

  // The best first.
  std::vector<Prefix> prefixes() const;
  // The symbols of the prefix with this id, which must be one of `prefixes`.
  std::vector<int64_t> spell(int64_t id) const;

 private:
  // A prefix, as a node of a tree. Sums are logs.
  struct Node {
    int64_t id, parent, symbol;  // parent: an index into nodes_
    double blank, label, bonus;
    double next_blank, next_label;
    std::vector<int64_t> children;  // indices into nodes_
  };
  // A prefix that would be new to the beam.
  struct Growth {
    int64_t parent, symbol, child;  // child: a node that had been dropped, or -1
    double label, bonus;
  };

  void advance(const double* extension);
  void grow(int64_t place, const double* extension);
  void keep_best();
  void forget();
  int64_t child_of(int64_t node, int64_t symbol) const;
  int64_t add(int64_t parent, int64_t symbol, double bonus);
  Node& node(int64_t index) { return nodes_[static_cast<size_t>(index)]; }
  const Node& node(int64_t index) const { return nodes_[static_cast<size_t>(index)]; }

  int64_t symbols_, blank_, width_, candidates_;
  int64_t next_id_ = 0;
  size_t forget_at_ = 4096;
  std::vector<Node> nodes_;     // a tree, of which nodes_[0] is the empty prefix
  std::vector<int64_t> alive_;  // indices into nodes_, the best first
  std::vector<char> is_alive_;  // of each node
  std::vector<Growth> growths_;
  std::vector<double> log_p_;     // of a frame
  std::vector<int64_t> extends_;  // the candidates of a frame
};

}  // namespace unrolled
