// Activations and their gradients: functions of each value by itself, and GEGLU.
#include "elements.cuh"

// A Logistic is σ(v) and 1 − σ(v).
struct Logistic {
  float value, rest;
};

// logistic loses no digits in either: e^−|v| is at most 1, and is not subtracted from anything.
TILE Logistic logistic(float v) {
  const float e = expf(-fabsf(v)), r = reciprocal(1 + e);
  return v < 0 ? Logistic{e * r, r} : Logistic{r, e * r};
}

// silu_slope is d(v·σ(v))/dv.
TILE float silu_slope(float v) {
  const Logistic s = logistic(v);
  return s.value == 0 ? 0 : s.value * fmaf(v, s.rest, 1);
}

// A Normal is the standard normal distribution at v: Φ(v), and the density φ(v).
struct Normal {
  float distribution, density;
};

// normal takes Φ(−z) for z = |v| as e^(−z²/2) · t·P(u), with t = 1/(z + 5/2) and u = 1 − 5t, which
// goes from −1 to 1 as z goes from 0 to ∞. P has degree 7. Its relative error is below
// 3.1e-8 · (1 + z²/2), which is the size of what z² in float32 costs. The library's erff takes ten
// instructions more, for which memory at full speed leaves no time where values are bf16.
TILE Normal normal(float v) {
  const float z = fabsf(v), t = reciprocal(z + 2.5f), u = fmaf(-5, t, 1);
  float p = 7.229472468e-4f;
  p = fmaf(p, u, 2.288342386e-3f);
  p = fmaf(p, u, -1.699024547e-3f);
  p = fmaf(p, u, -1.633900414e-2f);
  p = fmaf(p, u, 9.260326912e-3f);
  p = fmaf(p, u, 1.319849989e-1f);
  p = fmaf(p, u, -4.336932216e-1f);
  p = fmaf(p, u, 7.066566526e-1f);
  const float bell = power2(z * z * -0.721347520f);  // e^(−z²/2): the factor is −log₂(e)/2
  p *= t;
  return {v < 0 ? bell * p : fmaf(-bell, p, 1), bell * 0.398942280f};  // 1/√(2π)
}

TILE float gelu(float v) { return v * normal(v).distribution; }

// gelu_slope is d(v·Φ(v))/dv.
TILE float gelu_slope(float v) {
  const Normal n = normal(v);
  return fmaf(v, n.density, n.distribution);
}

constexpr float kQuick = 1.702f;

// In gradients y is dy, and x the input of the function. For sigmoid_grad x is its result. For exp
// the gradient is mul of the result.
ELEMENTWISE(exp, 1, expf(x))
ELEMENTWISE(log, 1, logf(x))
ELEMENTWISE(log_grad, 2, y / x)
ELEMENTWISE(relu, 1, x <= 0 ? 0 : x)
ELEMENTWISE(relu_grad, 2, x <= 0 ? 0 : y)
ELEMENTWISE(sigmoid, 1, logistic(x).value)
ELEMENTWISE(sigmoid_grad, 2, y *x *(1 - x))
ELEMENTWISE(silu, 1, x *logistic(x).value)
ELEMENTWISE(silu_grad, 2, y *silu_slope(x))
ELEMENTWISE(gelu, 1, gelu(x))
ELEMENTWISE(gelu_grad, 2, y *gelu_slope(x))
ELEMENTWISE(quickgelu, 1, x *logistic(kQuick *x).value)
ELEMENTWISE(quickgelu_grad, 2, y *silu_slope(kQuick *x))
ELEMENTWISE(softplus, 1, fmaxf(x, 0) + log1pf(expf(-fabsf(x))))
ELEMENTWISE(softplus_grad, 2, y *logistic(x).value)

// A Gated is GEGLU of rows of 2·width units, or its gradient. n is the units of half of x, and row
// divides by width.
struct Gated {
  void *dst;
  const void *x, *dy;
  u64 n, row, width;
  int wide;
};

// geglu gives a thread units of the result. What a unit is made of is width units apart.
template <class T, class Raw>
TILE void geglu(const Gated &p) {
  constexpr int Width = sizeof(Raw) / sizeof(T);
  Raw values[kElementBatch], gates[kElementBatch];
  batch(
      p.n,
      [&](int b, u64 i) {
        const Raw *x = (const Raw *)p.x + i + quotient(i, p.row) * p.width;
        values[b] = x[0], gates[b] = x[p.width];
      },
      [&](int b, u64 i) {
        float value[Width], gate[Width];
        unpack(values[b], value), unpack(gates[b], gate);
        UNROLL
        for (int k = 0; k < Width; k++) value[k] *= gelu(gate[k]);
        repack(((Raw *)p.dst)[i], value);
      });
}

// geglu_grad gives a thread units of dy, and the two units of dx that each is the gradient of.
template <class T, class Raw>
TILE void geglu_grad(const Gated &p) {
  constexpr int Width = sizeof(Raw) / sizeof(T);
  Raw values[kElementBatch], gates[kElementBatch], dys[kElementBatch];
  batch(
      p.n,
      [&](int b, u64 i) {
        const Raw *x = (const Raw *)p.x + i + quotient(i, p.row) * p.width;
        values[b] = x[0], gates[b] = x[p.width], dys[b] = ((const Raw *)p.dy)[i];
      },
      [&](int b, u64 i) {
        float value[Width], gate[Width], dy[Width];
        unpack(values[b], value), unpack(gates[b], gate), unpack(dys[b], dy);
        UNROLL
        for (int k = 0; k < Width; k++) {
          const Normal n = normal(gate[k]);
          const float slope = fmaf(gate[k], n.density, n.distribution);
          const float dvalue = dy[k] * (gate[k] * n.distribution);
          gate[k] = dy[k] * (value[k] * slope), value[k] = dvalue;
        }
        Raw *dx = (Raw *)p.dst + i + quotient(i, p.row) * p.width;
        repack(dx[0], value), repack(dx[p.width], gate);
      });
}

// GATED defines a kernel for float32 and one for bf16.
#define GATED(name, blocks)                                              \
  KERNEL(name##_f32, Gated, kElementThreads, blocks) {                   \
    p.wide ? name<float, Vector>(p) : name<float, float>(p);             \
  }                                                                      \
  KERNEL(name##_bf16, Gated, kElementThreads, blocks) {                  \
    p.wide ? name<bf16, Vector>(p) : name<bf16, bf16>(p);                \
  }

GATED(geglu, 5)
GATED(geglu_grad, 4)
