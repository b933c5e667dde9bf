// A choice by its name.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "api/array.hpp"

namespace unrolled::cuda {

// Throws ValueError for a name that is none of the choices; `name` is the argument in its text.
template <class T>
T one_of(const char* name, const std::string& given,
         std::initializer_list<std::pair<const char*, T>> choices) {
  std::string names;
  for (const auto& [text, value] : choices) {
    if (given == text) return value;
    names.append(names.empty() ? "" : ", ").append(text);
  }
  fail_value("[cuda] expected ", name, " to be one of ", names, ", got '", given, "'");
}

}  // namespace unrolled::cuda
