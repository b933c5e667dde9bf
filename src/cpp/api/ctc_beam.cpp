#include "api/ctc_beam.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "api/log_softmax.hpp"

namespace unrolled {
namespace {

double log_add(double a, double b) {
  const double high = std::max(a, b);
  return high == kMinusInfinity ? high : high + std::log1p(std::exp(std::min(a, b) - high));
}

}  // namespace

CtcBeam::CtcBeam(int64_t symbols, int64_t blank, int64_t width, int64_t candidates)
    : symbols_(symbols), blank_(blank), width_(width), candidates_(candidates) {
  if (symbols < 1) fail_value("[CtcBeam] expected symbols >= 1, got ", symbols);
  if (blank < 0 || blank >= symbols)
    fail_value("[CtcBeam] expected blank in 0 .. ", symbols - 1, ", got ", blank);
  if (width < 1) fail_value("[CtcBeam] expected width >= 1, got ", width);
  if (candidates < 1) fail_value("[CtcBeam] expected candidates >= 1, got ", candidates);
  log_p_.resize(static_cast<size_t>(symbols));
  add(-1, -1, 0.0);
  node(0).blank = 0.0;
  is_alive_[0] = 1;
  alive_.push_back(0);
}

template <class T>
void CtcBeam::step(const ArrayView& logits, const ArrayView& extension) {
  const int64_t frames = logits.shape[0], count = static_cast<int64_t>(alive_.size());
  const T* z = contiguous<const T>({"CtcBeam", "logits", "(T, V)", {frames, symbols_}}, logits,
                                   Access::kRead);
  const double* bonus = contiguous<const double>(
      {"CtcBeam", "extension", "(K, V)", {count, symbols_}}, extension, Access::kRead);
  if (bonus != nullptr && frames != 1)
    fail_value("[CtcBeam] expected one frame with an extension, got ", frames);
  for (int64_t t = 0; t < frames; ++t) {
    log_softmax(z + t * symbols_, symbols_, log_p_.data());
    for (const double log_p : log_p_)
      if (std::isnan(log_p)) fail_value("[CtcBeam] expected logits without NaN, got NaN");
    advance(bonus);
  }
}

void CtcBeam::advance(const double* extension) {
  extends_.clear();
  for (int64_t v = 0; v < symbols_; ++v)
    if (v != blank_) extends_.push_back(v);
  const auto kept = std::min(extends_.size(), static_cast<size_t>(candidates_));
  std::partial_sort(extends_.begin(), extends_.begin() + static_cast<int64_t>(kept), extends_.end(),
                    [&](int64_t a, int64_t b) {
                      const double pa = log_p_[static_cast<size_t>(a)];
                      const double pb = log_p_[static_cast<size_t>(b)];
                      return pa > pb || (pa == pb && a < b);
                    });
  extends_.resize(kept);

  for (const int64_t n : alive_) {
    Node& prefix = node(n);
    const double all = log_add(prefix.blank, prefix.label);
    prefix.next_blank = all + log_p_[static_cast<size_t>(blank_)];
    prefix.next_label = prefix.symbol < 0
                            ? kMinusInfinity
                            : prefix.label + log_p_[static_cast<size_t>(prefix.symbol)];
  }
  growths_.clear();
  for (size_t k = 0; k < alive_.size(); ++k)
    grow(alive_[k],
         extension == nullptr ? nullptr : extension + static_cast<int64_t>(k) * symbols_);
  keep_best();
  if (nodes_.size() > forget_at_) forget();
}

// Every candidate after prefix `n`: to a prefix in the beam it adds paths, else it is a growth.
void CtcBeam::grow(int64_t n, const double* extension) {
  const Node& prefix = node(n);
  const double all = log_add(prefix.blank, prefix.label);
  for (const int64_t symbol : extends_) {
    // The same symbol again is a second one only behind a blank.
    const double before = symbol == prefix.symbol ? prefix.blank : all;
    const double label = before + log_p_[static_cast<size_t>(symbol)];
    if (label == kMinusInfinity) continue;
    const int64_t child = child_of(n, symbol);
    if (child >= 0 && is_alive_[static_cast<size_t>(child)]) {
      node(child).next_label = log_add(node(child).next_label, label);
      continue;
    }
    const double bonus = prefix.bonus + (extension == nullptr ? 0.0 : extension[symbol]);
    if (bonus > kMinusInfinity) growths_.push_back({n, symbol, child, label, bonus});
  }
}

void CtcBeam::keep_best() {
  struct Entry {
    double score;
    int64_t node, growth;  // growth: -1 for a prefix of the beam
  };
  std::vector<Entry> entries;
  entries.reserve(alive_.size() + growths_.size());
  for (const int64_t n : alive_)
    entries.push_back({log_add(node(n).next_blank, node(n).next_label) + node(n).bonus, n, -1});
  for (size_t i = 0; i < growths_.size(); ++i)
    entries.push_back(
        {growths_[i].label + growths_[i].bonus, growths_[i].parent, static_cast<int64_t>(i)});
  const auto kept = std::min(entries.size(), static_cast<size_t>(width_));
  // Ties are broken by order, so that the result is the same everywhere.
  const auto better = [](const Entry& a, const Entry& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.growth != b.growth ? a.growth < b.growth : a.node < b.node;
  };
  std::partial_sort(entries.begin(), entries.begin() + static_cast<int64_t>(kept), entries.end(),
                    better);
  entries.resize(kept);
  while (entries.size() > 1 && entries.back().score == kMinusInfinity) entries.pop_back();

  for (const int64_t n : alive_) is_alive_[static_cast<size_t>(n)] = 0;
  alive_.clear();
  for (const Entry& entry : entries) {
    int64_t n = entry.node;
    if (entry.growth >= 0) {
      const Growth& growth = growths_[static_cast<size_t>(entry.growth)];
      n = growth.child >= 0 ? growth.child : add(growth.parent, growth.symbol, growth.bonus);
      node(n).next_blank = kMinusInfinity;
      node(n).next_label = growth.label;
    }
    node(n).blank = node(n).next_blank;
    node(n).label = node(n).next_label;
    is_alive_[static_cast<size_t>(n)] = 1;
    alive_.push_back(n);
  }
}

// Drops the nodes that no prefix of the beam leads through, so that a stream holds little more than
// its text.
void CtcBeam::forget() {
  std::vector<int64_t> place(nodes_.size(), -1);
  for (int64_t n : alive_)
    for (; n >= 0 && place[static_cast<size_t>(n)] < 0; n = node(n).parent)
      place[static_cast<size_t>(n)] = 0;
  place[0] = 0;
  // Parents stand before their children.
  std::vector<Node> kept;
  std::vector<char> alive;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (place[i] < 0) continue;
    place[i] = static_cast<int64_t>(kept.size());
    Node moved = std::move(nodes_[i]);
    moved.children.clear();
    if (moved.parent >= 0) {
      moved.parent = place[static_cast<size_t>(moved.parent)];
      kept[static_cast<size_t>(moved.parent)].children.push_back(place[i]);
    }
    kept.push_back(std::move(moved));
    alive.push_back(is_alive_[i]);
  }
  for (int64_t& n : alive_) n = place[static_cast<size_t>(n)];
  nodes_ = std::move(kept);
  is_alive_ = std::move(alive);
  forget_at_ = 2 * nodes_.size() + 4096;
}

int64_t CtcBeam::child_of(int64_t n, int64_t symbol) const {
  for (const int64_t child : node(n).children)
    if (node(child).symbol == symbol) return child;
  return -1;
}

int64_t CtcBeam::add(int64_t parent, int64_t symbol, double bonus) {
  const auto index = static_cast<int64_t>(nodes_.size());
  nodes_.push_back({next_id_++,
                    parent,
                    symbol,
                    kMinusInfinity,
                    kMinusInfinity,
                    bonus,
                    kMinusInfinity,
                    kMinusInfinity,
                    {}});
  is_alive_.push_back(0);
  if (parent >= 0) node(parent).children.push_back(index);
  return index;
}

std::vector<CtcBeam::Prefix> CtcBeam::prefixes() const {
  std::vector<Prefix> list;
  for (const int64_t n : alive_) {
    const Node& prefix = node(n);
    const double acoustic = log_add(prefix.blank, prefix.label);
    list.push_back({prefix.id, prefix.parent < 0 ? -1 : node(prefix.parent).id, prefix.symbol,
                    acoustic, acoustic + prefix.bonus});
  }
  return list;
}

std::vector<int64_t> CtcBeam::spell(int64_t id) const {
  std::vector<int64_t> text;
  for (const int64_t n : alive_) {
    if (node(n).id != id) continue;
    for (int64_t at = n; node(at).parent >= 0; at = node(at).parent)
      text.push_back(node(at).symbol);
    std::reverse(text.begin(), text.end());
    return text;
  }
  fail_value("[CtcBeam] expected the id of a prefix of the beam, got ", id);
}

template void CtcBeam::step<float>(const ArrayView&, const ArrayView&);
template void CtcBeam::step<double>(const ArrayView&, const ArrayView&);

}  // namespace unrolled
