// The cells with V = float, in the namespace of this folder.
#pragma once

#define UNROLLED_ISA cuda
#define UNROLLED_MATH "cuda/math.hpp"

#include "cells/all.hpp"
