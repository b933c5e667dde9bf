// What decides the launches of a scan, as bytes that can be compared.
#pragma once

#include <string>
#include <type_traits>

#include "cuda/sequence.hpp"

namespace unrolled::cuda {

class Key {
 public:
  template <class... Parts>
  explicit Key(const Parts&... parts) {
    (add(parts), ...);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  template <class T>
    requires std::is_scalar_v<T>
  void add(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <class T, size_t N>
  void add(const T (&values)[N]) {
    for (const T& value : values) add(value);
  }
  template <class T>
  void add(const Sequence<T>& s) {
    add(s.data), add(s.step), add(s.row);
  }
  template <class T>
  void add(const LayerParameters<T>& p) {
    add(p.weight_ih), add(p.weight_hh), add(p.bias_ih), add(p.bias_hh), add(p.weight_unit);
    add(p.weight_hr);
  }
  void add(const Layer& layer) {
    add(layer.cell), add(layer.precision), add(layer.I), add(layer.H), add(layer.R);
    add(layer.weights), add(layer.gates);
  }
  void add(const GateOptions<float>& gates) {
    for (const GateFunction<float>& each : gates.functions)
      add(each.function), add(each.alpha), add(each.beta);
    add(gates.limit), add(gates.coupled);
  }
  void add(const PlanArrays& arrays) {
    add(arrays.live), add(arrays.offset), add(arrays.order), add(arrays.resets);
  }
  // Offsets follow from the live rows; kernels read the order and the resets on the device.
  void add(const Plan& plan) {
    add(plan.T), add(plan.B), add(plan.reverse), add(plan.ordered);
    bytes_.append(reinterpret_cast<const char*>(plan.live),
                  static_cast<size_t>(plan.T) * sizeof plan.live[0]);
  }

  std::string bytes_;
};

}  // namespace unrolled::cuda
