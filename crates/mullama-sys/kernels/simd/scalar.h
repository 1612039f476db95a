// 8 lanes in plain C++, the reference for the vector layers. PAIRED sums products like vpmaddubsw, including its
// saturation, so that tests fail for a format whose sums do not fit into 16 bits.
#pragma once

#include "common.h"

#include "ggml.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

namespace mullama {
namespace {

template <bool PAIRED> struct scalar {
    static constexpr int  LANES = 8;
    static constexpr bool PAIRS = PAIRED;

    struct ints   { uint32_t lane[LANES]; };
    struct floats { float lane[LANES]; };
    using totals = std::conditional_t<PAIRS, ints, floats>;
    using scales = std::conditional_t<PAIRS, ints, floats>;

    template <class V, class F> static inline V each(F && f) {
        V v;
        for (int i = 0; i < LANES; i++) { v.lane[i] = f(i); }
        return v;
    }
    // A word as bytes or 16-bit numbers.
    template <class T> struct parts { T part[4 / sizeof(T)]; };
    template <class T> static inline parts<T> split(uint32_t x) { return read<parts<T>>(&x); }
    template <class T> static inline uint32_t join(parts<T> p) { return read<uint32_t>(&p); }
    template <class T, class F> static inline ints each_part(F && f) {
        return each<ints>([&](int i) {
            parts<T> p;
            for (size_t k = 0; k < 4 / sizeof(T); k++) { p.part[k] = (T) f(i, (int) k); }
            return join(p);
        });
    }

    // --- words ---------------------------------------------------------------------------------------------------

    static inline ints load(const void * p)  { return read<ints>(p); }
    static inline ints word(const void * p)  { return each<ints>([&](int) { return read<uint32_t>(p); }); }
    static inline ints bytes(int x)          { return each_part<uint8_t>([&](int, int) { return x; }); }
    static inline ints zero()                { return bytes(0); }
    static inline ints table(const void * p) { return each<ints>([&](int i) { return read<uint32_t>((const char *) p + 4 * (i % 4)); }); }
    static inline ints look_up(ints table, ints index) {
        return each_part<uint8_t>([&](int i, int k) {
            const int at = split<uint8_t>(index.lane[i]).part[k];
            return at & 0x80 ? 0 : split<uint8_t>(table.lane[i / 4 * 4 + (at & 15) / 4]).part[at % 4];
        });
    }

    static inline ints bits(ints a, ints mask) { return each<ints>([&](int i) { return a.lane[i] & mask.lane[i]; }); }
    static inline ints either(ints a, ints b)  { return each<ints>([&](int i) { return a.lane[i] | b.lane[i]; }); }
    static inline ints flip(ints a, ints b)    { return each<ints>([&](int i) { return a.lane[i] ^ b.lane[i]; }); }
    static inline ints add32(ints a, ints b)   { return each<ints>([&](int i) { return a.lane[i] + b.lane[i]; }); }
    template <int N> static inline ints right(ints a)   { return each_part<uint16_t>([&](int i, int k) { return split<uint16_t>(a.lane[i]).part[k] >> N; }); }
    template <int N> static inline ints left(ints a)    { return each_part<uint16_t>([&](int i, int k) { return split<uint16_t>(a.lane[i]).part[k] << N; }); }
    template <int N> static inline ints right32(ints a) { return each<ints>([&](int i) { return a.lane[i] >> N; }); }

    template <int LOW, int HIGH> static inline ints pair(ints a) {
        return each_part<uint16_t>([&](int i, int k) { return split<uint8_t>(a.lane[i]).part[k ? HIGH : LOW]; });
    }
    static inline ints dot16(ints sum, ints a, ints b) {
        return each<ints>([&](int i) {
            const auto x = split<int16_t>(a.lane[i]), y = split<int16_t>(b.lane[i]);
            return sum.lane[i] + (uint32_t) (x.part[0] * y.part[0] + x.part[1] * y.part[1]);
        });
    }

    // --- products of bytes ---------------------------------------------------------------------------------------

    static inline ints dot(ints sum, ints weights, ints activations) {
        return each<ints>([&](int i) {
            const auto w = split<uint8_t>(weights.lane[i]);
            const auto a = split<int8_t>(activations.lane[i]);
            if constexpr (PAIRS) {
                auto s = split<uint16_t>(sum.lane[i]);
                for (int k = 0; k < 2; k++) {
                    const int p = w.part[2 * k] * a.part[2 * k] + w.part[2 * k + 1] * a.part[2 * k + 1];
                    s.part[k] = (uint16_t) (s.part[k] + std::clamp(p, -32768, 32767));
                }
                return join(s);
            } else {
                uint32_t s = sum.lane[i];
                for (int k = 0; k < 4; k++) { s += (uint32_t) (w.part[k] * a.part[k]); }
                return s;
            }
        });
    }
    static inline ints dot(ints weights, ints activations) { return dot(zero(), weights, activations); }

    template <class T, int I> static inline scales scale_of(ints a) {
        const auto at = [&](int i) { return (T) split<uint8_t>(a.lane[i]).part[I]; };
        if constexpr (PAIRS) {
            return each_part<int16_t>([&](int i, int) { return at(i); });
        } else {
            return each<floats>([&](int i) { return (float) at(i); });
        }
    }
    template <int I> static inline scales scale_unsigned(ints a) { return scale_of<uint8_t, I>(a); }
    template <int I> static inline scales scale_signed(ints a)   { return scale_of<int8_t, I>(a); }
    static inline scales same_scale(int x) {
        if constexpr (PAIRS) {
            return each_part<int16_t>([&](int, int) { return x; });
        } else {
            return all((float) x);
        }
    }
    static inline totals scaled(ints sum, scales s) {
        if constexpr (PAIRS) {
            return dot16(zero(), sum, s);
        } else {
            return mul(convert(sum), s);
        }
    }
    static inline totals add_scaled(totals t, ints sum, scales s) {
        if constexpr (PAIRS) {
            return dot16(t, sum, s);
        } else {
            return fma(convert(sum), s, t);
        }
    }
    static inline floats value(totals t) {
        if constexpr (PAIRS) {
            return convert(t);
        } else {
            return t;
        }
    }

    // --- floats --------------------------------------------------------------------------------------------------

    static inline floats loadf(const float * p)            { return read<floats>(p); }
    static inline void   store(float * p, floats x)        { memcpy(p, &x, sizeof(x)); }
    static inline floats all(float x)                      { return each<floats>([&](int) { return x; }); }
    static inline floats add(floats a, floats b)           { return each<floats>([&](int i) { return a.lane[i] + b.lane[i]; }); }
    static inline floats sub(floats a, floats b)           { return each<floats>([&](int i) { return a.lane[i] - b.lane[i]; }); }
    static inline floats mul(floats a, floats b)           { return each<floats>([&](int i) { return a.lane[i] * b.lane[i]; }); }
    static inline floats div(floats a, floats b)           { return each<floats>([&](int i) { return a.lane[i] / b.lane[i]; }); }
    static inline floats fma(floats a, floats b, floats c) { return each<floats>([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); }); }
    static inline floats max(floats a, floats b)           { return each<floats>([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; }); }
    static inline floats magnitude(floats a)               { return each<floats>([&](int i) { return std::fabs(a.lane[i]); }); }
    static inline floats convert(ints a)                   { return each<floats>([&](int i) { return (float) (int32_t) a.lane[i]; }); }
    static inline floats nearest(floats a)                 { return each<floats>([&](int i) { return std::nearbyint(a.lane[i]); }); }
    static inline floats power(floats a)                   { return each<floats>([&](int i) { return read_float((uint32_t) (whole(a.lane[i]) + 127) << 23); }); }
    static inline floats where_at_least(floats a, floats b, floats x) { return each<floats>([&](int i) { return a.lane[i] >= b.lane[i] ? x.lane[i] : 0.0f; }); }
    static inline floats halves(const void * p)       { return each<floats>([&](int i) { return ggml_fp16_to_fp32(read<uint16_t>((const char *) p + 2 * i)); }); }
    static inline floats brains(const void * p)       { return each<floats>([&](int i) { return read_float((uint32_t) read<uint16_t>((const char *) p + 2 * i) << 16); }); }
    static inline floats signed_bytes(const void * p) { return each<floats>([&](int i) { return (float) ((const int8_t *) p)[i]; }); }
    static inline floats lower_half(ints a)           { return each<floats>([&](int i) { return ggml_fp16_to_fp32((uint16_t) a.lane[i]); }); }
    static inline floats upper_half(ints a)           { return lower_half(right32<16>(a)); }
    static inline floats halved_exponents(const void * p) {
        return each<floats>([&](int i) { return std::ldexp(1.0f, ((const uint8_t *) p)[i] - 128); });
    }
    static inline float largest(floats a) { return *std::max_element(a.lane, a.lane + LANES); }
    static inline float sum(floats a) {
        float s = 0;
        for (float x : a.lane) { s += x; }
        return s;
    }
    static inline void transpose8(const float * from, size_t from_stride, float * to, size_t to_stride) {
        for (int i = 0; i < 8; i++) {
            for (int j = 0; j < 8; j++) { to[j * to_stride + i] = from[i * from_stride + j]; }
        }
    }
    static inline void round32(const float * x, float s, int8_t * to) {
        for (int i = 0; i < 32; i++) { to[i] = (int8_t) std::clamp(whole(x[i] * s), -128, 127); }
    }

  private:
    static inline float read_float(uint32_t x) { return read<float>(&x); }
    // Rounds to the nearest integer like vcvtps2dq: values out of range become the smallest integer.
    static inline int whole(float x) { return std::fabs(x) < 2147483648.0f ? (int) std::nearbyint(x) : INT32_MIN; }
};

}  // namespace
}  // namespace mullama
