// The cells with V = float, in the namespace of this folder.
#pragma once

#define UNROLLED_ISA cuda
#define UNROLLED_MATH "cuda/math.hpp"

#include "cells/all.hpp"

#define UNROLLED_CUDA_CELLS(X) \
  UNROLLED_FUSED_CELLS(X) X(LstmProjected) X(GruResetBefore) X(LstmNorm) X(GruNorm)
