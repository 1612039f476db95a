// Functions of vectors of floats, for any vector layer.
#pragma once

#include "common.h"

namespace mullama {
namespace {

// e to the power of x, with an error of at most 2e-7; 0 below -87, where the result would be denormal. x must be at
// most 88.
template <class V> inline typename V::floats exponential(typename V::floats x) {
    // x = n log 2 + r with |r| <= log(2) / 2; e^r is its series up to r^7 / 7!, with a remainder below 6e-9. log 2 is
    // subtracted in two parts, the first of which has few bits, so that its product with n is exact.
    const auto n = V::nearest(V::mul(x, V::all(1.44269504088896341f)));
    const auto r = V::fma(n, V::all(2.12194440e-4f), V::fma(n, V::all(-0.693359375f), x));
    auto p = V::all(1.0f / 5040);
    p = V::fma(p, r, V::all(1.0f / 720));
    p = V::fma(p, r, V::all(1.0f / 120));
    p = V::fma(p, r, V::all(1.0f / 24));
    p = V::fma(p, r, V::all(1.0f / 6));
    p = V::fma(p, r, V::all(0.5f));
    p = V::fma(p, r, V::all(1));
    p = V::fma(p, r, V::all(1));
    return V::where_at_least(x, V::all(-87.0f), V::mul(p, V::power(n)));
}

// The hyperbolic tangent, with an error of at most 5e-7.
template <class V> inline typename V::floats hyperbolic_tangent(typename V::floats x) {
    const auto size = V::magnitude(x), limit = V::all(0.35f);
    // Small: x - x^3 / 3 + 2 x^5 / 15 - 17 x^7 / 315 + 62 x^9 / 2835.
    const auto s = V::mul(x, x);
    auto p = V::all(62.0f / 2835);
    p = V::fma(p, s, V::all(-17.0f / 315));
    p = V::fma(p, s, V::all(2.0f / 15));
    p = V::fma(p, s, V::all(-1.0f / 3));
    const auto small = V::fma(V::mul(p, s), x, x);
    // Large: 1 - 2 / (e^(2 |x|) + 1), with the sign of x. From 9 on, it is 1.
    const auto e = exponential<V>(V::mul(V::all(2), V::sub(V::all(0), V::max(V::sub(V::all(0), size), V::all(-9.5f)))));
    const auto t = V::sub(V::all(1), V::div(V::all(2), V::add(e, V::all(1))));
    const auto large = V::sub(V::where_at_least(x, V::all(0), t), V::where_at_least(V::sub(V::all(0), x), V::all(0), t));
    return V::add(V::where_at_least(size, limit, large), V::sub(small, V::where_at_least(size, limit, small)));
}

}  // namespace
}  // namespace mullama
