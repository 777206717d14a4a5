// activation.cuh has the functions of a value that activations and the epilogues of products are
// made of.
#pragma once
#include "tile.cuh"

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
