// Products of float32 matrices, C = A·B + bias, where A is [M,K] or [K,M] and B is [K,N] or [N,K].
#include "product_f32.cuh"

struct GemmF32 {
  float *c;
  const float *a, *b, *bias;
  float *parts;
  Epilogue<float> epilogue;
  u64 size;
  int m, n, k;
  int per_part;    // how deep a part of k is, a multiple of kDepth
  int accumulate;  // whether C is added to
  int vector_a, vector_b, vector_c;
};

template <class T, bool TransA, bool TransB>
TILE void gemm(const GemmF32 &p) {
  const Matrix<!TransA> a{p.a, (u64)(TransA ? p.m : p.k), p.m, p.vector_a};
  constexpr bool Functions = !TransA && TransB;  // B is a layer's weights as they are
  const Matrix<TransB> b{p.b, (u64)(TransB ? p.k : p.n), p.n, p.vector_b,
                         p.epilogue.half ? &p.epilogue : nullptr};
  const Result r{p.c,    p.bias, p.parts,      p.epilogue,
                 p.size, p.n,    p.accumulate, p.vector_c};
  multiply<T, Functions>(a, b, r, p.m, p.k, p.per_part, [](int row) { return row; });
}

// GEMM defines a kernel for each size of tiles. The small tiles are for small products.
#define GEMM(name, trans_a, trans_b)                                                  \
  KERNEL(name##_large_f32, GemmF32, LargeTile::Threads, 3) {                          \
    gemm<LargeTile, trans_a, trans_b>(p);                                             \
  }                                                                                   \
  KERNEL(name##_small_f32, GemmF32, SmallTile::Threads, 4) {                          \
    gemm<SmallTile, trans_a, trans_b>(p);                                             \
  }

GEMM(gemm_nn, false, false)
GEMM(gemm_nt, false, true)
GEMM(gemm_tn, true, false)
GEMM(gemm_tt, true, true)

struct PartsF32 {
  float *c;
  const float *parts, *bias;  // bias may be null
  Epilogue<float> epilogue;
  u64 size;
  int count, cols, accumulate;
};

constexpr int kPartsThreads = 256;

// sum_parts adds the parts of a product, in their order. A thread has a value of C at a time.
KERNEL(sum_parts_f32, PartsF32, kPartsThreads, 4) {
  const bool gates = p.epilogue.gates();
  const int half = p.epilogue.half, width = gates ? half : p.cols;
  const u64 step = (u64)gridDim.x * kPartsThreads, values = gates ? p.size / 2 : p.size;
  const auto sum = [&](u64 row, int col) {
    float s = 0;
    for (int part = 0; part < p.count; part++) s += p.parts[part * p.size + row * p.cols + col];
    return s;
  };
  for (u64 i = (u64)blockIdx.x * kPartsThreads + threadIdx.x; i < values; i += step) {
    const int row = i / width, col = i - (u64)row * width;
    float x[1] = {sum(row, col)};
    if (p.accumulate) x[0] += p.c[i];
    if (p.bias) x[0] += p.bias[col];
    if (gates) {
      float gate[1] = {sum(row, half + col)};
      if (p.bias) gate[0] += p.bias[half + col];
      p.epilogue.finish_gated(x, gate, (u64)row * p.cols + col, false);
    } else {
      p.epilogue.finish<true>(x, row, col, p.cols, i, {}, false, 1);
    }
    p.c[i] = x[0];
  }
}
