// Values that are repeated or move: rows from one stride to another, a matrix added to many.
#include "elements.cuh"

// A Middle has x and dst as [a,b,c] and y as [a,c]. c and n = a·b·c count units. matrix divides by
// b·c, and row by c.
struct Middle {
  void *dst;
  const void *x, *y;
  u64 n, matrix, row, c;
  float scale;
  int wide;
};

// middle is dst[i,j,k] = f(x[i,j,k], y[i,k]) for a thread's units, which are of one row. y is small
// beside dst, so that it mostly comes from a cache.
template <class T, class Raw, bool Adds, class F>
TILE void middle(const Middle &p, F f) {
  constexpr int Width = sizeof(Raw) / sizeof(T);
  Raw xs[kElementBatch], ys[kElementBatch];
  batch(
      p.n,
      [&](int b, u64 i) {
        const u64 k = i - quotient(i, p.row) * p.c;
        if (Adds) xs[b] = ((const Raw *)p.x)[i];
        ys[b] = ((const Raw *)p.y)[quotient(i, p.matrix) * p.c + k];
      },
      [&](int b, u64 i) {
        float x[Width] = {}, y[Width];
        if (Adds) unpack(xs[b], x);
        unpack(ys[b], y);
        UNROLL
        for (int k = 0; k < Width; k++) x[k] = f(x[k], y[k]);
        repack(((Raw *)p.dst)[i], x);
      });
}

template <class T>
TILE void add_middle(const Middle &p) {
  const auto sum = [](float x, float y) { return x + y; };
  p.wide ? middle<T, Vector, true>(p, sum) : middle<T, T, true>(p, sum);
}

template <class T>
TILE void repeat_middle(const Middle &p) {
  const auto scaled = [&](float, float y) { return p.scale * y; };
  p.wide ? middle<T, Vector, false>(p, scaled) : middle<T, T, false>(p, scaled);
}

KERNEL(add_middle_f32, Middle, kElementThreads, 6) { add_middle<float>(p); }
KERNEL(add_middle_bf16, Middle, kElementThreads, 6) { add_middle<bf16>(p); }
KERNEL(repeat_middle_f32, Middle, kElementThreads, 6) { repeat_middle<float>(p); }
KERNEL(repeat_middle_bf16, Middle, kElementThreads, 6) { repeat_middle<bf16>(p); }

// A Rows copies rows of columns units, n units in all. row divides by columns. Strides are units.
struct Rows {
  void *dst;
  const void *src;
  u64 n, row, columns, dst_stride, src_stride;
};

// copy_rows cuts all units of all rows evenly, so that short and long rows are alike.
template <class Unit>
TILE void copy_rows(const Rows &p) {
  Unit x[kElementBatch];
  batch(
      p.n,
      [&](int b, u64 i) {
        const u64 row = quotient(i, p.row);
        x[b] = ((const Unit *)p.src)[row * p.src_stride + (i - row * p.columns)];
      },
      [&](int b, u64 i) {
        const u64 row = quotient(i, p.row);
        ((Unit *)p.dst)[row * p.dst_stride + (i - row * p.columns)] = x[b];
      });
}

// The kernels are named by the bytes of a unit.
KERNEL(copy_rows_16, Rows, kElementThreads, 6) { copy_rows<Vector>(p); }
KERNEL(copy_rows_8, Rows, kElementThreads, 6) { copy_rows<u64>(p); }
KERNEL(copy_rows_4, Rows, kElementThreads, 6) { copy_rows<u32>(p); }
KERNEL(copy_rows_2, Rows, kElementThreads, 6) { copy_rows<bf16>(p); }
