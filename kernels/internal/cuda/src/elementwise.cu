// Arithmetic on each value by itself, gradients of losses, and conversions.
#include "elements.cuh"

// sign_scale is a·sign(d). For d = 0 it is 0, and for NaN it is NaN.
TILE float sign_scale(float a, float d) { return d > 0 ? a : d < 0 ? -a : d * a; }

ELEMENTWISE(add, 2, x + y)
ELEMENTWISE(mul, 2, x *y)
ELEMENTWISE(scale, 1, p.a *x)
ELEMENTWISE(sub, 2, p.a *(x - y))
ELEMENTWISE(sign, 2, sign_scale(p.a, x - y))

// A Gradient is dst[i] = factor · g(x[i] − y[i]) for i < n. The factor of sample i/size is
// a · by[0] · weight[i/size]. sample divides by size. weight may be null, for 1.
struct Gradient {
  void *dst;
  const void *x, *y;
  const float *by, *weight;
  u64 n, sample;
  float a;
  int wide;  // a unit is of one sample then
};

// gradient does as elementwise kernels do. The factor is worked out once a unit.
template <class T, bool Sign>
TILE void gradient(const Gradient &p) {
  const float by = p.a * p.by[0];
  elements<T, 2>(p, [&](float x, float y, u64 i) {
    const float a = p.weight ? by * p.weight[quotient(i, p.sample)] : by;
    return Sign ? sign_scale(a, x - y) : a * (x - y);
  });
}

KERNEL(sub_by_f32, Gradient, kElementThreads, 6) { gradient<float, false>(p); }
KERNEL(sub_by_bf16, Gradient, kElementThreads, 6) { gradient<bf16, false>(p); }
KERNEL(sign_by_f32, Gradient, kElementThreads, 6) { gradient<float, true>(p); }
KERNEL(sign_by_bf16, Gradient, kElementThreads, 6) { gradient<bf16, true>(p); }

// fill is dst[i] = a, or the first of x, a float32, where there is an x.
template <class T>
TILE void fill(const Elements &p) {
  const float a = p.x ? *(const float *)p.x : p.a;
  elements<T, 0>(p, [&](float, float, u64) { return a; });
}

KERNEL(fill_f32, Elements, kElementThreads, 6) { fill<float>(p); }
KERNEL(fill_bf16, Elements, kElementThreads, 6) { fill<bf16>(p); }

// A Half is 4 bf16 values that are moved at once.
struct alignas(8) Half {
  u32 word[2];
};

TILE void unpack(const Half &v, float (&x)[4]) {
  UNROLL
  for (int i = 0; i < 2; i++) {
    x[2 * i] = float_of(v.word[i] << 16);
    x[2 * i + 1] = float_of(v.word[i] & 0xffff0000);
  }
}
TILE void repack(Half &v, const float (&x)[4]) { v = {{pack(x[0], x[1]), pack(x[2], x[3])}}; }

// A Conversion is dst[i] = x[i] for i < n.
struct Conversion {
  void *dst;
  const void *x;
  u64 n;
  int wide;
};

// convert_units converts units of Width values.
template <class To, class From, int Width>
TILE void convert_units(const Conversion &p) {
  From x[kElementBatch];
  batch(
      p.n / Width, [&](int b, u64 i) { x[b] = ((const From *)p.x)[i]; },
      [&](int b, u64 i) {
        float v[Width];
        unpack(x[b], v);
        repack(((To *)p.dst)[i], v);
      });
}

// convert gives a thread 4 values at a time: 16 bytes of float32 and 8 of bf16. So what the lanes
// of a warp load is contiguous, and what they store is.
template <class To, class ToUnit, class From, class FromUnit>
TILE void convert(const Conversion &p) {
  if (!p.wide) {
    convert_units<To, From, 1>(p);
    return;
  }
  convert_units<ToUnit, FromUnit, 4>(p);
  const u64 i = p.n / 4 * 4 + threadIdx.x;
  if (blockIdx.x == 0 && i < p.n) put((To *)p.dst + i, get((const From *)p.x + i));
}

KERNEL(to_bf16, Conversion, kElementThreads, 6) { convert<bf16, Half, float, Vector>(p); }
KERNEL(from_bf16, Conversion, kElementThreads, 6) { convert<float, Vector, bf16, Half>(p); }
