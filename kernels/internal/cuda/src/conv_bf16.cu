// Convolutions of bf16 as products of matrices: see product_bf16.cuh. None of these matrices is
// made in memory. Windows of an image are its patches, read as rows.
#include "product_bf16.cuh"

using namespace product_bf16;

// forward is windows(x)·wᵀ.
using Patches = Windows<true>;
using Kernels = Matrix<true, false>;
GEMMS(conv_forward, Patches, Kernels, true)

// The gradient by the input is windows(dy)·w, with the taps of w in reverse.
GEMMS(conv_input, Patches, Weights, false)

// The gradient by the weights is dyᵀ·windows(x).
using GradientT = Matrix<false, true>;
using PatchRows = Windows<false>;
GEMMS(conv_weight, GradientT, PatchRows, false)
