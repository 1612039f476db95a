// The formats of quantised weights: the layout of a block in a panel, and how tiles read it.
//
// A format is a struct over a vector layer V. Packing uses
//
//   TYPE, LAYOUT     the engine's type and the layout (layout.h) of a block
//   pack(from, head, words)   writes a row's block
//
// The tile (tile.h) uses the rest. A block consists of GROUPS groups of 4 x WORDS weights, each with its own scale:
//
//   first<J>()       the index of the first activation of group J
//   weights<J>(v)    the group's words, as unsigned bytes
//   scale<J>()       its scale
//   begins<J>()      the index of its initial sum in quantized::begin, or NONE
//   finish(...)      adds a block's total to the result
//
// Formulas and fields are those of the engine's ggml-common.h and ggml-quants.c. For pairs (common.h), every format
// states why its 16-bit sums are exact: activations are within -127..127, and a group of N words adds N pairs of
// products to each 16-bit number.
#pragma once

#include "activations.h"
#include "layout.h"

#include "ggml.h"

namespace mullama {
namespace {

constexpr int NONE = -1;

// The common base of all formats: pointers to LANES rows of a block.
template <class V> struct block_reader {
    const uint8_t * words;      // word 0 of the first row
    const uint8_t * head;       // the head of the first row

    typename V::ints at(int word) const { return V::load(words + 4 * PANEL_ROWS * word); }

    // The lower and the upper four bits of each byte.
    static typename V::ints lower(typename V::ints x) { return V::bits(x, V::bytes(0x0f)); }
    static typename V::ints upper(typename V::ints x) { return V::bits(V::template right<4>(x), V::bytes(0x0f)); }
    // The same number in every word.
    static typename V::ints everywhere(uint32_t x) { return V::word(&x); }
    // Shifts left by N, or right by -N.
    template <int N> static typename V::ints shifted(typename V::ints x) {
        if constexpr (N > 0) {
            return V::template left<N>(x);
        } else if constexpr (N < 0) {
            return V::template right<-N>(x);
        } else {
            return x;
        }
    }
};

// --- blocks of 256 --------------------------------------------------------------------------------------------------

// The 6-bit scales and minima of Q4_K and Q5_K, and other common parts of the two.
// weight = d scale q - dmin minimum; words: 0 d and dmin, 1..3 scales and minima, then the bits of the weights.
template <class V> struct with_minima : block_reader<V> {
    typename V::ints scales[2], minima[2];      // four of each per word

    explicit with_minima(block_reader<V> r) : block_reader<V>(r) {
        const auto a = this->at(1), b = this->at(2), c = this->at(3), six = V::bytes(0x3f), two = V::bytes(0x30);
        scales[0] = V::bits(a, six);
        scales[1] = V::either(this->lower(c), V::bits(V::template right<2>(a), two));
        minima[0] = V::bits(b, six);
        minima[1] = V::either(this->upper(c), V::bits(V::template right<2>(b), two));
    }

    template <class A> typename V::floats finish(typename V::totals total, const A & a, typename V::floats sum) const {
        auto m = V::dot16(V::zero(), V::template pair<0, 1>(minima[0]), V::word(a.sums));
        m = V::dot16(m, V::template pair<2, 3>(minima[0]), V::word(a.sums + 2));
        m = V::dot16(m, V::template pair<0, 1>(minima[1]), V::word(a.sums + 4));
        m = V::dot16(m, V::template pair<2, 3>(minima[1]), V::word(a.sums + 6));
        const auto d = this->at(0);
        const auto t = V::sub(V::mul(V::lower_half(d), V::value(total)), V::mul(V::upper_half(d), V::convert(m)));
        return V::fma(V::all(a.d), t, sum);
    }
};

// Q4_K: eight groups of 32. Pairs: 8 x 2 x 15 x 127 = 30,480.
template <class V> struct q4_k : with_minima<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q4_K;
    static constexpr layout    LAYOUT = { 256, 144, 0, 36 };
    static constexpr int GROUPS = 8, WORDS = 8, OFFSET = 0;
    using with_minima<V>::with_minima;

    static void pack(const uint8_t * from, uint8_t *, uint32_t * words) { memcpy(words, from, 144); }

    template <int J> static constexpr int first()  { return 32 * J; }
    template <int J> static constexpr int begins() { return NONE; }
    template <int J> void weights(typename V::ints * v) const {
        repeat<WORDS>([&](auto k) KERNELS_INLINE {
            const auto x = this->at(4 + 8 * (J / 2) + k);
            v[k] = J % 2 ? this->upper(x) : this->lower(x);
        });
    }
    template <int J> typename V::scales scale() const { return V::template scale_unsigned<J % 4>(this->scales[J / 4]); }
};

// Q5_K: words 4..11 contain the fifth bits; those of group j of 32 weights are bit j of each byte. Pairs: 4 x 2 x 31 x
// 127 = 31,496, so a group of 32 is split into two.
template <class V> struct q5_k : with_minima<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q5_K;
    static constexpr layout    LAYOUT = { 256, 176, 0, 44 };
    static constexpr int HALVES = V::PAIRS ? 2 : 1, GROUPS = 8 * HALVES, WORDS = 8 / HALVES, OFFSET = 0;
    using with_minima<V>::with_minima;

    static void pack(const uint8_t * from, uint8_t *, uint32_t * words) { memcpy(words, from, 176); }

    template <int J> static constexpr int first()  { return 4 * WORDS * J; }
    template <int J> static constexpr int begins() { return NONE; }
    template <int J> void weights(typename V::ints * v) const {
        constexpr int j = J / HALVES, half = WORDS * (J % HALVES);
        repeat<WORDS>([&](auto k) KERNELS_INLINE {
            const auto x = this->at(12 + 8 * (j / 2) + half + k);
            const auto fifth = V::bits(this->template shifted<4 - j>(this->at(4 + half + k)), V::bytes(0x10));
            v[k] = V::either(j % 2 ? this->upper(x) : this->lower(x), fifth);
        });
    }
    template <int J> typename V::scales scale() const {
        return V::template scale_unsigned<J / HALVES % 4>(this->scales[J / HALVES / 4]);
    }
};

// Q6_K: weight = d scale (q - 32), with 6-bit q and a signed scale per 16 weights.
//
// A panel stores four weights in three bytes, so that three of them take one operation each. Of the four quarters of
// half a block, 32 weights apart, A, B and C contain the weights of quarters 0, 1 and 2, with two bits each of quarter
// 3 above them, the highest bits in A. Words: 0..3 scales, then A, B, C for 16 neighbours each.
//
// Pairs: 4 x 2 x 63 x 127 does not fit, but sums that begin with -32 times the activations end within 4 x 2 x 32 x 127
// = 32,512; before that, they may wrap around. A pair itself, 2 x 63 x 127 = 16,002, does not saturate.
template <class V> struct q6_k : block_reader<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q6_K;
    static constexpr layout    LAYOUT = { 256, 210, 2, 52 };
    static constexpr int GROUPS = 16, WORDS = 4, OFFSET = 32;

    explicit q6_k(block_reader<V> r) : block_reader<V>(r) {}

    static void pack(const uint8_t * from, uint8_t * head, uint32_t * words) {
        const auto get = [from](int at) { return read<uint32_t>(from + at); };
        for (int i = 0; i < 4; i++) { words[i] = get(192 + 4 * i); }
        for (int i = 0; i < 16; i++) {      // 4 neighbours in each quarter of half i / 8
            const uint32_t low = get(64 * (i / 8) + 4 * (i % 8)), high = get(64 * (i / 8) + 4 * (i % 8) + 32), two = get(128 + 4 * i);
            const uint32_t four = 0x0f0f0f0f, fourth = (high >> 4 & four) | (two >> 2 & 0x30303030);
            uint32_t * to = words + 4 + 12 * (i / 4) + i % 4;
            to[0] = (low & four)      | (two << 4 & 0x30303030) | (fourth << 2 & 0xc0c0c0c0);
            to[4] = (high & four)     | (two << 2 & 0x30303030) | (fourth << 4 & 0xc0c0c0c0);
            to[8] = (low >> 4 & four) | (two & 0x30303030)      | (fourth << 6 & 0xc0c0c0c0);
        }
        memcpy(head, from + 208, 2);
    }

    // Group J: neighbours J / 4, quarter J % 4.
    template <int J> static constexpr int first()  { return 128 * (J / 8) + 32 * (J % 4) + 16 * (J / 4 % 2); }
    template <int J> static constexpr int begins() { return first<J>() / 16; }
    template <int J> void weights(typename V::ints * v) const {
        repeat<WORDS>([&](auto k) KERNELS_INLINE {
            constexpr int at = 4 + 12 * (J / 4) + k;
            if constexpr (J % 4 < 3) {
                v[k] = V::bits(this->at(at + 4 * (J % 4)), V::bytes(0x3f));
            } else {
                const auto a = V::bits(V::template right<2>(this->at(at)), V::bytes(0x30));
                const auto b = V::bits(V::template right<4>(this->at(at + 4)), V::bytes(0x0c));
                const auto c = V::bits(V::template right<6>(this->at(at + 8)), V::bytes(0x03));
                v[k] = V::either(a, V::either(b, c));
            }
        });
    }
    template <int J> typename V::scales scale() const {
        constexpr int s = begins<J>();
        return V::template scale_signed<s % 4>(this->at(s / 4));
    }
    template <class A> typename V::floats finish(typename V::totals total, const A & a, typename V::floats sum) const {
        return V::fma(V::mul(V::halves(this->head), V::all(a.d)), V::value(total), sum);
    }
};

// Weights that are entries of a table or signed bytes: with an offset of 128, they are unsigned bytes. Pairs: two
// products of such a byte do not fit into 16 bits, so it is split into two planes of 4 bits, the upper one with an
// offset of 8 and a scale of 16: 16 (upper - 8) + lower = byte - 128. Sums of the lower plane are within 8 x 2 x 15 x
// 127 = 30,480.
constexpr int8_t IQ4_VALUES[16] = { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 };

template <class V> struct bytes_in_planes {
    static constexpr int PLANES = V::PAIRS ? 2 : 1, OFFSET = V::PAIRS ? 8 : 128;

    // Whether the sums of plane P begin with the offset.
    template <int P> static constexpr bool begins_with_offset() { return P == PLANES - 1; }
    static constexpr uint8_t entry(int plane, int value) {
        return (uint8_t) (PLANES == 1 ? value + 128 : plane == 0 ? (value + 128) & 15 : (value + 128) >> 4);
    }
    // Plane P of each value of IQ4_NL and IQ4_XS, indexed by their four bits.
    template <int P> static typename V::ints iq4_table() {
        alignas(16) static constexpr uint8_t table[16] = {
            entry(P, IQ4_VALUES[0]),  entry(P, IQ4_VALUES[1]),  entry(P, IQ4_VALUES[2]),  entry(P, IQ4_VALUES[3]),
            entry(P, IQ4_VALUES[4]),  entry(P, IQ4_VALUES[5]),  entry(P, IQ4_VALUES[6]),  entry(P, IQ4_VALUES[7]),
            entry(P, IQ4_VALUES[8]),  entry(P, IQ4_VALUES[9]),  entry(P, IQ4_VALUES[10]), entry(P, IQ4_VALUES[11]),
            entry(P, IQ4_VALUES[12]), entry(P, IQ4_VALUES[13]), entry(P, IQ4_VALUES[14]), entry(P, IQ4_VALUES[15]),
        };
        return V::table(table);
    }
};

// IQ4_XS: weight = d (scale - 32) IQ4_VALUES[q], with a 6-bit scale per 32 weights. Words: 0 d and the upper bits of
// scales, 1 their lower bits, then 4 words per 32 weights: the lower four bits of the 16 bytes are the first 16
// weights.
//
// Scales are read as 4 (scale - 32), a signed byte; the factor is divided out of d. Their upper bits are packed so that
// two copies of the 16 bits contain the bytes: bits 6 and 7 of its bytes 0 and 1 are those of scales 0 and 2, bits 4
// and 5 those of 4 and 6, bits 2 and 3 those of 1 and 3, bits 0 and 1 those of 5 and 7.
template <class V> struct iq4_xs : block_reader<V>, bytes_in_planes<V> {
    using planes = bytes_in_planes<V>;
    static constexpr ggml_type TYPE   = GGML_TYPE_IQ4_XS;
    static constexpr layout    LAYOUT = { 256, 136, 0, 34 };
    static constexpr int GROUPS = 8 * planes::PLANES, WORDS = 8, OFFSET = planes::OFFSET;

    typename V::ints scales[2];     // of even and of odd groups

    explicit iq4_xs(block_reader<V> r) : block_reader<V>(r) {
        const auto x = this->at(0), low = this->at(1), sign = V::bytes(0x80);
        const auto high = V::either(V::template right32<16>(x), V::bits(x, this->everywhere(0xffff0000)));
        const auto first = this->everywhere(0x0000c0c0), last = this->everywhere(0xc0c00000);
        const auto even = V::either(V::bits(high, first), V::bits(V::template left<2>(high), last));
        const auto odd  = V::either(V::bits(V::template left<4>(high), first), V::bits(V::template left<6>(high), last));
        scales[0] = V::flip(sign, V::either(even, V::template left<2>(V::bits(low, V::bytes(0x0f)))));
        scales[1] = V::flip(sign, V::either(odd, V::template right<2>(V::bits(low, V::bytes(0xf0)))));
    }

    static void pack(const uint8_t * from, uint8_t *, uint32_t * words) {
        const uint16_t high = read<uint16_t>(from + 2);
        uint32_t packed = 0;
        for (int i = 0; i < 8; i++) {
            const int m = i / 2;            // index among the four even or odd ones
            const int bit = 8 * (m % 2) + (i % 2 ? 2 : 6) - (m < 2 ? 0 : 2);
            packed |= (uint32_t) (high >> 2 * i & 3) << bit;
        }
        words[0] = (uint32_t) read<uint16_t>(from) | packed << 16;
        memcpy(words + 1, from + 4, 132);
    }

    template <int J> static constexpr int first()  { return 32 * (J / planes::PLANES); }
    template <int J> static constexpr int begins() {
        return planes::template begins_with_offset<J % planes::PLANES>() ? J / planes::PLANES : NONE;
    }
    template <int J> void weights(typename V::ints * v) const {
        const auto table = planes::template iq4_table<J % planes::PLANES>();
        repeat<4>([&](auto k) KERNELS_INLINE {
            const auto x = this->at(2 + 4 * (J / planes::PLANES) + k);
            v[k]     = V::look_up(table, this->lower(x));
            v[k + 4] = V::look_up(table, this->upper(x));
        });
    }
    template <int J> typename V::scales scale() const {
        constexpr int j = J / planes::PLANES;
        const auto s = V::template scale_signed<j / 2>(scales[j % 2]);
        if constexpr (J % planes::PLANES == 1) {
            return V::template left<4>(s);      // times 16
        } else {
            return s;
        }
    }
    template <class A> typename V::floats finish(typename V::totals total, const A & a, typename V::floats sum) const {
        return V::fma(V::mul(V::lower_half(this->at(0)), V::all(a.d / 4)), V::value(total), sum);
    }
};

// --- blocks of 32 ---------------------------------------------------------------------------------------------------

// One scale per 32 weights, a half at the head of the panel.
template <class V> struct one_scale : block_reader<V> {
    static constexpr int GROUPS = 1, WORDS = 8;

    explicit one_scale(block_reader<V> r) : block_reader<V>(r) {}

    template <int J> static constexpr int first() { return 0; }
    template <int J> static constexpr int begins() { return 0; }
    template <int J> typename V::scales scale() const { return V::same_scale(1); }
    template <class A> typename V::floats finish(typename V::totals total, const A & a, typename V::floats sum) const {
        return V::fma(V::mul(V::halves(this->head), V::all(a.d)), V::value(total), sum);
    }
    // 32 weights of 4 bits in words i..i + 3; the first 16 are in the lower bits.
    void nibbles(int i, typename V::ints * v) const {
        repeat<4>([&](auto k) KERNELS_INLINE {
            const auto x = this->at(i + k);
            v[k]     = this->lower(x);
            v[k + 4] = this->upper(x);
        });
    }
};

// Q4_0: weight = d (q - 8). Pairs: within 8 x 2 x 8 x 127 = 16,256.
template <class V> struct q4_0 : one_scale<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q4_0;
    static constexpr layout    LAYOUT = { 32, 18, 2, 4 };
    static constexpr int OFFSET = 8;
    using one_scale<V>::one_scale;

    static void pack(const uint8_t * from, uint8_t * head, uint32_t * words) {
        memcpy(head, from, 2);
        memcpy(words, from + 2, 16);
    }
    template <int J> void weights(typename V::ints * v) const { this->nibbles(0, v); }
};

// Q4_1: weight = d q + m, both halves in word 0. Pairs: as Q4_K.
template <class V> struct q4_1 : one_scale<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q4_1;
    static constexpr layout    LAYOUT = { 32, 20, 0, 5 };
    static constexpr int OFFSET = 0;
    using one_scale<V>::one_scale;

    static void pack(const uint8_t * from, uint8_t *, uint32_t * words) { memcpy(words, from, 20); }
    template <int J> static constexpr int begins() { return NONE; }
    template <int J> void weights(typename V::ints * v) const { this->nibbles(1, v); }
    template <class A> typename V::floats finish(typename V::totals total, const A & a, typename V::floats sum) const {
        const auto x = this->at(0);
        sum = V::fma(V::mul(V::lower_half(x), V::all(a.d)), V::value(total), sum);
        return V::fma(V::upper_half(x), V::all(a.d * (float) a.sums[0]), sum);
    }
};

// Q5_0: weight = d (q - 16). Word 0 contains the fifth bits: that of weight 4 k + b is bit k of byte b. Pairs: 2 x 31 x
// 127 = 7,874; sums that begin with -16 times the activations end within 8 x 2 x 16 x 127 = 32,512.
template <class V> struct q5_0 : one_scale<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q5_0;
    static constexpr layout    LAYOUT = { 32, 22, 2, 5 };
    static constexpr int OFFSET = 16;
    using one_scale<V>::one_scale;

    static void pack(const uint8_t * from, uint8_t * head, uint32_t * words) {
        memcpy(head, from, 2);
        const uint32_t bits = read<uint32_t>(from + 2);
        words[0] = 0;
        for (int i = 0; i < 32; i++) { words[0] |= (bits >> i & 1) << (8 * (i % 4) + i / 4); }
        memcpy(words + 1, from + 6, 16);
    }
    template <int J> void weights(typename V::ints * v) const {
        this->nibbles(1, v);
        const auto fifth = this->at(0);
        repeat<8>([&](auto k) KERNELS_INLINE {
            v[k] = V::either(v[k], V::bits(this->template shifted<4 - k>(fifth), V::bytes(0x10)));
        });
    }
};

// MXFP4: weight = 2^(e - 127) times a 4-bit number (E2M1), that is, half of 2^(e - 127) times 0, 1, 2, 3, 4, 6, 8, 12
// or its negative. Pairs: 2 x 24 x 127 = 6,096; sums that begin with -12 times the activations end within 8 x 2 x 12 x
// 127 = 24,384.
template <class V> struct mxfp4 : one_scale<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_MXFP4;
    static constexpr layout    LAYOUT = { 32, 17, 1, 4 };
    static constexpr int OFFSET = 12;
    using one_scale<V>::one_scale;

    static void pack(const uint8_t * from, uint8_t * head, uint32_t * words) {
        head[0] = from[0];
        memcpy(words, from + 1, 16);
    }
    template <int J> void weights(typename V::ints * v) const {
        alignas(16) static constexpr uint8_t numbers[16] = { 12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0 };
        const auto table = V::table(numbers);
        this->nibbles(0, v);
        repeat<8>([&](auto k) KERNELS_INLINE { v[k] = V::look_up(table, v[k]); });
    }
    template <class A> typename V::floats finish(typename V::totals total, const A & a, typename V::floats sum) const {
        return V::fma(V::mul(V::halved_exponents(this->head), V::all(a.d)), V::value(total), sum);
    }
};

// The common base of Q8_0 and IQ4_NL: unsigned bytes, in planes for pairs.
template <class V> struct one_scale_in_planes : one_scale<V>, bytes_in_planes<V> {
    using planes = bytes_in_planes<V>;
    static constexpr int GROUPS = planes::PLANES, OFFSET = planes::OFFSET;
    using one_scale<V>::one_scale;

    template <int J> static constexpr int begins() { return planes::template begins_with_offset<J>() ? 0 : NONE; }
    template <int J> typename V::scales scale() const { return V::same_scale(J == 1 ? 16 : 1); }
};

// Q8_0: weight = d q, with signed 8-bit q; a panel stores q + 128.
template <class V> struct q8_0 : one_scale_in_planes<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_Q8_0;
    static constexpr layout    LAYOUT = { 32, 34, 2, 8 };
    using one_scale_in_planes<V>::one_scale_in_planes;

    static void pack(const uint8_t * from, uint8_t * head, uint32_t * words) {
        memcpy(head, from, 2);
        for (int i = 0; i < 8; i++) { words[i] = read<uint32_t>(from + 2 + 4 * i) ^ 0x80808080; }
    }
    template <int J> void weights(typename V::ints * v) const {
        repeat<8>([&](auto k) KERNELS_INLINE {
            const auto x = this->at(k);
            v[k] = !V::PAIRS ? x : J == 0 ? this->lower(x) : this->upper(x);
        });
    }
};

// IQ4_NL: weight = d IQ4_VALUES[q].
template <class V> struct iq4_nl : one_scale_in_planes<V> {
    static constexpr ggml_type TYPE   = GGML_TYPE_IQ4_NL;
    static constexpr layout    LAYOUT = { 32, 18, 2, 4 };
    using one_scale_in_planes<V>::one_scale_in_planes;

    static void pack(const uint8_t * from, uint8_t * head, uint32_t * words) {
        memcpy(head, from, 2);
        memcpy(words, from + 2, 16);
    }
    template <int J> void weights(typename V::ints * v) const {
        const auto table = bytes_in_planes<V>::template iq4_table<J>();
        this->nibbles(0, v);
        repeat<8>([&](auto k) KERNELS_INLINE { v[k] = V::look_up(table, v[k]); });
    }
};

}  // namespace
}  // namespace mullama
