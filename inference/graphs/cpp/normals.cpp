// Standard normal numbers of a compiled graph, where they need not be those of eager code.
//
// Torch's generator makes one number after the other, in 9 ns each; this one makes 64 together, in
// less than 2 ns each: by 16 generators xoshiro128++ side by side, begun by SplitMix64 (Blackman and
// Vigna, 2021, "Scrambled linear pseudorandom number generators"), and by Box and Muller's method.
// The key is drawn from torch's generator, once in each run of the graph.
#include <torch/csrc/inductor/cpp_prefix.h>
#include <cstring>

namespace pyro_vae {

struct Draws {
    uint64_t key = 0;
    uint32_t calls = 0;  // of `normal_functional` since the graph's run began
};

static thread_local Draws draws;

static void begin_draws() {
    const int64_t one = 1;
    AtenTensorHandle handle;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
        1, &one, &one, aoti_torch_dtype_int64(), aoti_torch_device_type_cpu(), 0, &handle));
    RAIIAtenTensorHandle key(handle);
    const int64_t high = std::numeric_limits<int64_t>::max();
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_randint_low_out(key, 0, high, &one, 1));
    draws = {*static_cast<const uint64_t*>(key.data_ptr()), 0};
}

// Vectors as GCC and Clang have them, since torch's compiler has loops left as they are.
constexpr int WIDTH = 8, PARTS = 2, SIDE = PARTS * WIDTH;  // generators side by side
typedef uint32_t Bits __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Whole __attribute__((vector_size(4 * WIDTH)));
typedef float Floats __attribute__((vector_size(4 * WIDTH)));

static inline uint64_t splitmix64(uint64_t& state) {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
}

// Generators xoshiro128++ side by side.
struct Generators {
    Bits a[PARTS], b[PARTS], c[PARTS], d[PARTS];

    explicit Generators(uint64_t seed) {
        for (int i = 0; i < SIDE; i++) {
            const uint64_t one = splitmix64(seed), two = splitmix64(seed);
            a[i / WIDTH][i % WIDTH] = static_cast<uint32_t>(one);
            b[i / WIDTH][i % WIDTH] = static_cast<uint32_t>(one >> 32);
            c[i / WIDTH][i % WIDTH] = static_cast<uint32_t>(two);
            d[i / WIDTH][i % WIDTH] = static_cast<uint32_t>(two >> 32);
        }
    }

    // 31 bits of each as a number between 0 and 1, both left out but for rounding.
    inline void next(float (&uniforms)[SIDE]) {
        for (int p = 0; p < PARTS; p++) {
            const Bits sum = a[p] + d[p], bits = ((sum << 7) | (sum >> 25)) + a[p];
            const Bits shifted = b[p] << 9;
            c[p] ^= a[p];
            d[p] ^= b[p];
            b[p] ^= c[p];
            a[p] ^= d[p];
            c[p] ^= shifted;
            d[p] = (d[p] << 11) | (d[p] >> 21);
            const Floats whole = __builtin_convertvector((Whole)(bits >> 1), Floats);
            const Floats between = whole * 0x1p-31f + 0x1p-32f;
            std::memcpy(uniforms + p * WIDTH, &between, sizeof between);
        }
    }
};

// Fills by 32 numbers: 16 radii times the cosines of 16 angles, and then times their sines.
static void fill_normal(float* out, int64_t number) {
    using Vec = at::vec::Vectorized<float>;
    uint64_t seed = draws.key + draws.calls++;
    Generators generators(splitmix64(seed));
    for (int64_t done = 0; done < number; done += 2 * SIDE) {
        float radii[SIDE], angles[SIDE], normals[2 * SIDE];
        generators.next(radii);
        generators.next(angles);
        for (int i = 0; i < SIDE; i += Vec::size()) {
            const Vec radius = (Vec::loadu(radii + i).log() * Vec(-2.0f)).sqrt();
            const Vec angle = Vec::loadu(angles + i) * Vec(6.2831853f);
            (radius * angle.cos()).store(normals + i);
            (radius * angle.sin()).store(normals + SIDE + i);
        }
        const int64_t left = std::min<int64_t>(2 * SIDE, number - done);
        std::memcpy(out + done, normals, sizeof(float) * left);
    }
}

static AOTITorchError normal_functional(AtenTensorHandle like, double mean, double deviation,
                                        AtenGeneratorHandle* generator, AtenTensorHandle* result) {
    int64_t dims, number, *sizes, *strides;
    int32_t type;
    bool is_contiguous;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like, &type));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_is_contiguous(like, &is_contiguous));
    const bool is_standard = mean == 0 && deviation == 1 && generator == nullptr;
    if (!is_standard || !is_contiguous || type != aoti_torch_dtype_float32())
        return aoti_torch_cpu_normal_functional(like, mean, deviation, generator, result);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dim(like, &dims));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(like, &sizes));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(like, &strides));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_numel(like, &number));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
        dims, sizes, strides, type, aoti_torch_device_type_cpu(), 0, result));
    void* place;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_data_ptr(*result, &place));
    fill_normal(static_cast<float*>(place), number);
    return AOTI_TORCH_SUCCESS;
}

}  // namespace pyro_vae
