// epilogue.cuh is what is done to a product before it is stored: see epilogue.go.
#pragma once
#include "activation.cuh"

// A Division divides numbers below 2³¹ by one that is the same for all threads.
struct Division {
  int by;
  u32 multiplier;
  int shift;
  TILE int of(int n) const {
    return (int)(((u32)((u64)(u32)n * multiplier >> 32) + (u32)n) >> shift);
  }
};

// load_row and store_row move N neighbours in a row, as float32 or as bf16. units says that all of
// them are there and that the address is a multiple of 16. Otherwise the first n are moved.
template <int N>
TILE void load_row(float (&x)[N], const float *from, bool units, int n) {
  if (N % 4 == 0 && units) {
    UNROLL
    for (int i = 0; i < N; i += 4) {
      const Vector v = *(const Vector *)(from + i);
      UNROLL
      for (int e = 0; e < 4; e++) x[i + e] = float_of(v.word[e]);
    }
  } else {
    UNROLL
    for (int e = 0; e < N; e++) x[e] = e < n ? from[e] : 0;
  }
}
TILE void load_row(float (&x)[8], const bf16 *from, bool units, int n) {
  if (units) {
    unpack(*(const Vector *)from, x);
  } else {
    UNROLL
    for (int e = 0; e < 8; e++) x[e] = e < n ? widen(from[e]) : 0;
  }
}
template <int N>
TILE void store_row(float *to, const float (&x)[N], bool units, int n) {
  if (N % 4 == 0 && units) {
    UNROLL
    for (int i = 0; i < N; i += 4)
      *(Vector *)(to + i) = packed({x[i], x[i + 1], x[i + 2], x[i + 3]});
  } else {
    UNROLL
    for (int e = 0; e < N; e++)
      if (e < n) to[e] = x[e];
  }
}
TILE void store_row(bf16 *to, const float (&x)[8], bool units, int n) {
  if (units) {
    *(Vector *)to = packed(x);
  } else {
    UNROLL
    for (int e = 0; e < 8; e++)
      if (e < n) to[e] = narrow(x[e]);
  }
}

TILE void unpack(const Vector &, float (&)[1]) {}  // no value is 16 bytes

// round_as rounds values to the type of the first argument.
template <int N>
TILE void round_as(const float *, float (&)[N]) {}
TILE void round_as(const bf16 *, float (&x)[8]) { unpack(packed(x), x); }

// The functions that an epilogue may end with, as functions of epilogue.go numbers them.
enum Function { kNone, kSigmoidLinear, kGELU, kReLU, kGEGLU };

// An Epilogue is what is done to values of type T, each step to what the one before has left.
template <class T>
struct Epilogue {
  const T *time;      // [.., columns], a row for so many rows as rows divides by, or null
  const T *residual;  // as large as the product, or null
  T *kept;            // gets what the function is applied to, or null
  Division rows;
  int function;
  float factor;  // of kSigmoidLinear, x·σ(factor·x)
  int half;      // half of the product's columns if they are paired, otherwise 0

  // natural is the column of the product that column j of a paired one is. Units of so many columns
  // are values and gates in turn.
  template <int Unit>
  TILE int natural(int j) const {
    return j / (2 * Unit) * Unit + j % Unit + (j / Unit % 2 ? half : 0);
  }

  // gates says that the function is that of pairs of a value and its gate.
  TILE bool gates() const { return function == kGEGLU; }

  // An Ahead is the values of residual that 16 bytes hold, if that is how they are read.
  struct Ahead {
    Vector residual;
  };
  // ahead is for the values that are stored at a place of the result, as finish is.
  TILE Ahead ahead(u64 at, bool units) const {
    if (residual && units) return {*(const Vector *)(residual + at)};
    return {};
  }

  // finish is for N neighbours, of which the first n are there. They begin at a column of a row,
  // and are stored at a place of the result, which may be that of another row. Functions says
  // whether there may be a function, which is not kGEGLU.
  template <bool Functions, int N>
  TILE void finish(float (&x)[N], int row, int column, int columns, u64 at, const Ahead &ahead,
                   bool units, int n) const {
    float more[N];
    if (time) {
      load_row(more, time + (u64)rows.of(row) * columns + column, units, n);
      add(x, more);
    }
    if (residual) {
      if (units)
        unpack(ahead.residual, more);
      else
        load_row(more, residual + at, false, n);
      add(x, more);
    }
    if (Functions && function) {
      round_as(time, x);
      if (kept) store_row(kept + at, x, units, n);
      apply(x);
    }
  }

  // finish_gated multiplies N values by GELU of as many gates. Those to keep begin at a place of
  // the product.
  template <int N>
  TILE void finish_gated(float (&x)[N], float (&gate)[N], u64 at, bool units) const {
    round_as(time, x), round_as(time, gate);
    if (kept) store_row(kept + at, x, units, N), store_row(kept + at + half, gate, units, N);
    UNROLL
    for (int e = 0; e < N; e++) x[e] *= gelu(gate[e]);
  }

  template <int N>
  TILE void add(float (&x)[N], const float (&more)[N]) const {
    round_as(time, x);
    UNROLL
    for (int e = 0; e < N; e++) x[e] += more[e];
  }

  template <int N>
  TILE void apply(float (&x)[N]) const {
    if (function == kSigmoidLinear) {
      UNROLL
      for (int e = 0; e < N; e++) x[e] *= logistic(factor * x[e]).value;
    } else if (function == kGELU) {
      UNROLL
      for (int e = 0; e < N; e++) x[e] = gelu(x[e]);
    } else {
      UNROLL
      for (int e = 0; e < N; e++) x[e] = x[e] <= 0 ? 0 : x[e];
    }
  }
};
static_assert(sizeof(Epilogue<float>) == 48, "there is no padding");
