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
  const Matrix<TransB> b{p.b, (u64)(TransB ? p.k : p.n), p.n, p.vector_b};
  const Result r{p.c,    p.bias, p.parts,      p.epilogue,
                 p.size, p.n,    p.accumulate, p.vector_c};
  multiply<T>(a, b, r, p.m, p.k, p.per_part, [](int row) { return row; });
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
  const u64 step = (u64)gridDim.x * kPartsThreads;
  for (u64 i = (u64)blockIdx.x * kPartsThreads + threadIdx.x; i < p.size; i += step) {
    float sum = 0;
    for (int part = 0; part < p.count; part++) sum += p.parts[part * p.size + i];
    if (p.accumulate) sum += p.c[i];
    const int row = i / p.cols, col = i - (u64)row * p.cols;
    if (p.bias) sum += p.bias[col];
    float x[1] = {sum};
    p.epilogue.finish(x, row, col, p.cols, i, {}, false, 1);
    p.c[i] = x[0];
  }
}
