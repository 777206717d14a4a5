// reduce.cuh sums many values in double. A kernel's blocks each write a partial sum, and another
// kernel adds these in order. So a sum has the same bits on every device.
#pragma once
#include "tile.cuh"

constexpr int kReduceThreads = 256;

// thread_sum is the part of Σ f(x[i], y[i]) over i < n that one thread of many adds up: it is the
// first-th of step of them. y may be null. f(0, 0) is 0. aligned says that x and y are multiples
// of 16. Four vectors of each are on their way at once.
template <class T, class F>
TILE double thread_sum(const T *x, const T *y, u64 n, u64 first, u64 step, bool aligned, F f) {
  constexpr int Width = 16 / sizeof(T), Ahead = 4;
  const u64 vectors = aligned ? n / Width : 0;
  double sum = 0;
  for (u64 i = first; i < vectors; i += Ahead * step) {
    Vector a[Ahead] = {}, b[Ahead] = {};
    UNROLL
    for (int k = 0; k < Ahead; k++) {
      const u64 at = i + k * step;
      if (at < vectors) {
        a[k] = ((const Vector *)x)[at];
        if (y) b[k] = ((const Vector *)y)[at];
      }
    }
    UNROLL
    for (int k = 0; k < Ahead; k++) {
      float u[Width], v[Width];
      unpack(a[k], u);
      unpack(b[k], v);
      UNROLL
      for (int j = 0; j < Width; j++) sum += f(u[j], v[j]);
    }
  }
  for (u64 i = vectors * Width + first; i < n; i += step) sum += f(get(x + i), y ? get(y + i) : 0);
  return sum;
}

// thread_sum_of_doubles is the same for partial sums.
TILE double thread_sum_of_doubles(const double *x, u64 n, u64 first, u64 step) {
  constexpr int Ahead = 8;
  double sum = 0;
  for (u64 i = first; i < n; i += Ahead * step) {
    double a[Ahead] = {};
    UNROLL
    for (int k = 0; k < Ahead; k++)
      if (i + k * step < n) a[k] = x[i + k * step];
    UNROLL
    for (int k = 0; k < Ahead; k++) sum += a[k];
  }
  return sum;
}
