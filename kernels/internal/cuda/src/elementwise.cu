// Operations on each value by itself.
#include "tile.cuh"

// An Elements is dst[i] = f(x[i], y[i], a) for i < n, where f reads of these what it needs.
struct Elements {
  void *dst;
  const void *x, *y;
  u64 n;
  float a;
  int aligned;  // whether dst, x and y are multiples of 16
};

constexpr int kElementThreads = 256;

// elements gives each thread 16 bytes of the result at a time. The values behind the last 16 bytes,
// or all values if the addresses are not aligned, are taken one by one.
template <class T, class F>
TILE void elements(const Elements &p, F f) {
  constexpr int Width = 16 / sizeof(T);
  const u64 first = (u64)blockIdx.x * kElementThreads + threadIdx.x;
  const u64 step = (u64)gridDim.x * kElementThreads;
  const u64 vectors = p.aligned ? p.n / Width : 0;
  for (u64 i = first; i < vectors; i += step) {
    float x[Width], y[Width] = {};
    unpack(((const Vector *)p.x)[i], x);
    if (p.y) unpack(((const Vector *)p.y)[i], y);
    UNROLL
    for (int k = 0; k < Width; k++) x[k] = f(x[k], y[k]);
    ((Vector *)p.dst)[i] = packed(x);
  }
  for (u64 i = vectors * Width + first; i < p.n; i += step) {
    const float x = get((const T *)p.x + i), y = p.y ? get((const T *)p.y + i) : 0;
    put((T *)p.dst + i, f(x, y));
  }
}

// ELEMENTWISE defines a kernel for float32 and one for bf16. expression is of x, y and p.a.
#define ELEMENTWISE(name, expression)                                                      \
  KERNEL(name##_f32, Elements, kElementThreads, 4) {                                       \
    elements<float>(p, [&](float x, float y) { return (void)x, (void)y, (expression); });  \
  }                                                                                        \
  KERNEL(name##_bf16, Elements, kElementThreads, 4) {                                      \
    elements<bf16>(p, [&](float x, float y) { return (void)x, (void)y, (expression); });   \
  }

ELEMENTWISE(add, x + y)
ELEMENTWISE(sub, p.a *(x - y))
ELEMENTWISE(mul, x *y)
ELEMENTWISE(scale, p.a *x)
