// elements.cuh is how kernels go over values that do not depend on one another.
//
// A thread moves a unit at once: 16 bytes, or a single value where addresses or sizes do not allow
// for that. Of a unit's type Raw, sizeof(Raw)/sizeof(T) values of type T are in it.
#pragma once
#include "tile.cuh"

constexpr int kElementThreads = 256;
constexpr int kElementBatch = 2;  // units of a thread

// batch calls load and then use for each unit of this thread: for which of them it is, and for its
// number. All loads are under way before the first is waited for. So most kernels have 32 bytes or
// more in flight for a thread, which is 48 KiB for 1536 threads of a multiprocessor. Memory at full
// speed holds some 35 KiB. A block has one piece of the n units, and there is no loop: pieces that
// are small and many are spread evenly over multiprocessors.
template <class Load, class Use>
TILE void batch(u64 n, Load load, Use use) {
  const u64 first = (u64)blockIdx.x * (kElementBatch * kElementThreads) + threadIdx.x;
  UNROLL
  for (int b = 0; b < kElementBatch; b++) {
    const u64 i = first + b * kElementThreads;
    if (i < n) load(b, i);
  }
  UNROLL
  for (int b = 0; b < kElementBatch; b++) {
    const u64 i = first + b * kElementThreads;
    if (i < n) use(b, i);
  }
}

// quotient is i/d, where divisor is what divisor of elementwise.go returns for d.
TILE u64 quotient(u64 i, u64 divisor) { return divisor ? high(i, divisor) : i; }

// unpack and repack convert a unit of one value. For others they are those of tile.cuh.
TILE void unpack(float v, float (&x)[1]) { x[0] = v; }
TILE void unpack(bf16 v, float (&x)[1]) { x[0] = widen(v); }
TILE void repack(float &v, const float (&x)[1]) { v = x[0]; }
TILE void repack(bf16 &v, const float (&x)[1]) { v = narrow(x[0]); }
template <int Width>
TILE void repack(Vector &v, const float (&x)[Width]) {
  v = packed(x);
}

// element_units is elements for the units that are whole.
template <class T, class Raw, int Inputs, class Params, class F>
TILE void element_units(const Params &p, F f) {
  constexpr int Width = sizeof(Raw) / sizeof(T);
  Raw x[kElementBatch], y[kElementBatch];
  batch(
      p.n / Width,
      [&](int b, u64 i) {
        if (Inputs > 0) x[b] = ((const Raw *)p.x)[i];
        if (Inputs > 1) y[b] = ((const Raw *)p.y)[i];
      },
      [&](int b, u64 i) {
        float u[Width] = {}, v[Width] = {};
        if (Inputs > 0) unpack(x[b], u);
        if (Inputs > 1) unpack(y[b], v);
        UNROLL
        for (int k = 0; k < Width; k++) u[k] = f(u[k], v[k], i * Width);
        repack(((Raw *)p.dst)[i], u);
      });
}

// elements is p.dst[i] = f(p.x[i], p.y[i], j) for i < p.n. j is the number of a value in the same
// unit: f works out once what is the same for all of them. Inputs is how many of x and y there are.
// dst may be x or y. p.wide says that all of them are multiples of 16.
template <class T, int Inputs, class Params, class F>
TILE void elements(const Params &p, F f) {
  if (!p.wide) {
    element_units<T, T, Inputs>(p, f);
    return;
  }
  element_units<T, Vector, Inputs>(p, f);
  constexpr int Width = 16 / sizeof(T);
  const u64 i = p.n / Width * Width + threadIdx.x;  // behind the last whole unit
  if (blockIdx.x > 0 || i >= p.n) return;
  const float x = Inputs > 0 ? get((const T *)p.x + i) : 0;
  const float y = Inputs > 1 ? get((const T *)p.y + i) : 0;
  put((T *)p.dst + i, f(x, y, i));
}

// An Elements is the parameter of most kernels that are made of elements.
struct Elements {
  void *dst;
  const void *x, *y;
  u64 n;
  float a;
  int wide;
};

// ELEMENTWISE defines a kernel for float32 and one for bf16. expression is of x, y and p.a.
#define ELEMENTWISE(name, inputs, expression)                                       \
  KERNEL(name##_f32, Elements, kElementThreads, 6) {                                \
    elements<float, inputs>(                                                        \
        p, [&](float x, float y, u64) { return (void)x, (void)y, (expression); }); \
  }                                                                                 \
  KERNEL(name##_bf16, Elements, kElementThreads, 6) {                               \
    elements<bf16, inputs>(                                                         \
        p, [&](float x, float y, u64) { return (void)x, (void)y, (expression); }); \
  }
