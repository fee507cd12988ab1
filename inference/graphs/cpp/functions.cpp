// exp, log, log1p and tanh of float32 vectors in the loops of a compiled graph.
//
// The compiler calls a function of another library for each vector, and keeps nothing in registers
// meanwhile: 1 to 4 ns a number. These are parts of its loops. They are off by at most a few units
// in the last place, as tests/test_native_code.py measures; polynomials and constants are those of
// Cephes (Moshier, 1992). Of exp and logarithms vectors with a number beyond the range that they are
// for are left to that library.
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <torch/csrc/inductor/cpp_prefix.h>

namespace pyro_vae {

using Vec = at::vec::Vectorized<float>;
using Ints = at::vec::Vectorized<int32_t>;

template <class... Rest>
static inline Vec polynomial(const Vec& x, const Vec& sum, float next, Rest... rest) {
    const Vec longer = at::vec::fmadd(sum, x, Vec(next));
    if constexpr (sizeof...(rest) == 0)
        return longer;
    else
        return polynomial(x, longer, rest...);
}

static inline bool all(const Vec& mask) { return mask.zero_mask() == 0; }

// e^x = 2^power (1 + rest), of numbers between -87 and 88.
struct Exponential {
    Ints power;  // at its place in a float32
    Vec rest;

    explicit Exponential(const Vec& x) {
        const Vec digits(12582912.0f);  // 1.5 * 2^23, a sum with which ends in the nearest integer
        const Vec sum = at::vec::fmadd(x, Vec(1.44269504f), digits), nearest = sum - digits;
        power = at::vec::cast<int32_t>(sum) << Ints(23);
        Vec part = at::vec::fmadd(nearest, Vec(-0.693359375f), x);
        part = at::vec::fmadd(nearest, Vec(2.12194440e-4f), part);
        const Vec p = polynomial(part, Vec(1.9875691500e-4f), 1.3981999507e-3f, 8.3334519073e-3f,
                                 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f);
        rest = at::vec::fmadd(p, part * part, part);
    }
};

static inline Vec times_power(const Vec& x, const Ints& power) {
    return at::vec::cast<float>(at::vec::cast<int32_t>(x) + power);
}

static inline Vec exp_within(const Vec& x) {
    const Exponential parts(x);
    return times_power(parts.rest + Vec(1.0f), parts.power);
}

// Of normal numbers above 0.
static inline Vec log_within(const Vec& x) {
    const Ints bits = at::vec::cast<int32_t>(x);
    const Ints power = (bits - Ints(0x3f3504f3)) >> Ints(23);  // of 2, beside a part from sqrt(1/2)
    const Vec rest = at::vec::cast<float>(bits - (power << Ints(23))) - Vec(1.0f);
    const Vec p = polynomial(rest, Vec(7.0376836292e-2f), -1.1514610310e-1f, 1.1676998740e-1f,
                             -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                             2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f);
    const Vec square = rest * rest, whole = at::vec::convert_to_fp_of_same_size<float>(power);
    Vec sum = at::vec::fmadd(whole, Vec(-2.12194440e-4f), p * rest * square);
    sum = at::vec::fmadd(square, Vec(-0.5f), sum) + rest;
    return at::vec::fmadd(whole, Vec(0.693359375f), sum);
}

static inline Vec exp(const Vec& x) {
    return all((x > Vec(-87.0f)) & (x < Vec(88.0f))) ? exp_within(x) : x.exp();
}

static inline Vec log(const Vec& x) {
    return all((x > Vec(1e-37f)) & (x < Vec(1e38f))) ? log_within(x) : x.log();
}

// log(1 + x) and what 1 + x leaves out of x.
static inline Vec log1p(const Vec& x) {
    if (!all((x > Vec(-0.99f)) & (x < Vec(1e37f)))) return x.log1p();
    const Vec sum = x + Vec(1.0f);
    const Vec result = log_within(sum) + (x - (sum - Vec(1.0f))) / sum;
    return Vec::blendv(result, x, sum == Vec(1.0f));  // -0 for -0
}

// (1 - e^-2x) / (1 + e^-2x), which is 1 from 10 on.
static inline Vec tanh(const Vec& x) {
    const Vec one(1.0f), size = at::vec::clamp_max(x.abs(), Vec(10.0f));
    const Exponential parts(size * Vec(-2.0f));
    const Vec scale = times_power(one, parts.power);
    const Vec less_one = at::vec::fmadd(parts.rest, scale, scale - one);
    const Vec and_one = at::vec::fmadd(parts.rest, scale, scale + one);
    return (less_one / and_one).abs() ^ (x & Vec(-0.0f));
}

// Of other types, as the compiler has them.
template <class T>
static inline T exp(const T& x) { return x.exp(); }
template <class T>
static inline T log(const T& x) { return x.log(); }
template <class T>
static inline T log1p(const T& x) { return x.log1p(); }
template <class T>
static inline T tanh(const T& x) { return x.tanh(); }

}  // namespace pyro_vae
