// Activations and their gradients: functions of each value by itself, and GEGLU.
#include "activation.cuh"
#include "elements.cuh"

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
