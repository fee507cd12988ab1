// Standard normal numbers of a compiled graph: torch's, faster.
//
// Torch makes the uniform numbers that they come from one after the other; here as many are made
// together as a vector takes, by the same Mersenne twister (Matsumoto and Nishimura, 1998), and then
// Box and Muller's normal ones in the same order. So a seed gives the numbers of eager code, but for
// the rounding of logarithms and cosines.
#include <ATen/CPUGeneratorImpl.h>
#include <cstring>
#include <mutex>
#include <utility>

namespace pyro_vae {

// Vectors as GCC and Clang have them, since torch's compiler has loops left as they are.
constexpr int WIDTH = Vec::size();
typedef uint32_t Bits __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Whole __attribute__((vector_size(4 * WIDTH)));
typedef float Floats __attribute__((vector_size(4 * WIDTH)));

template <class T>
static inline T load(const void* place) {
    T loaded;
    std::memcpy(&loaded, place, sizeof loaded);
    return loaded;
}

// Torch's generator while this lives.
class Twister {
    static constexpr int SIZE = at::MERSENNE_STATE_N, SHIFT = at::MERSENNE_STATE_M;
    at::CPUGeneratorImpl* generator;
    std::lock_guard<std::mutex> lock;
    at::mt19937 engine;
    at::mt19937_data_pod state;

    template <class T>
    static inline T twist(T here, T next, T far) {
        const T mixed = (here & 0x80000000u) | (next & 0x7fffffffu);
        return far ^ (mixed >> 1) ^ ((-(next & 1u)) & 0x9908b0dfu);
    }

    // The numbers from `first` to before `last` anew, from those that lie `away`.
    inline void renew(int first, int last, int away) {
        uint32_t* p = state.state_.data();
        int i = first;
        for (; i + WIDTH <= last; i += WIDTH) {
            const Bits here = load<Bits>(p + i), next = load<Bits>(p + i + 1);
            const Bits made = twist(here, next, load<Bits>(p + i + away));
            std::memcpy(p + i, &made, sizeof made);
        }
        for (; i < last; i++) p[i] = twist(p[i], p[i + 1], p[i + away]);
    }

    void renew_all() {
        uint32_t* p = state.state_.data();
        renew(0, SIZE - SHIFT, SHIFT);
        renew(SIZE - SHIFT, SIZE - 1, SHIFT - SIZE);
        p[SIZE - 1] = twist(p[SIZE - 1], p[0], p[SHIFT - 1]);
        state.next_ = 0;
        state.left_ = SIZE + 1;  // one more than are left, as torch counts them
    }

    template <class T>
    static inline T tempered(T y) {
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680u;
        y ^= (y << 15) & 0xefc60000u;
        return (y ^ (y >> 18)) & 0xffffffu;  // the bits that torch makes a float32 of
    }

   public:
    Twister()
        : generator(static_cast<at::CPUGeneratorImpl*>(
              at::detail::getDefaultCPUGenerator().unsafeGetGeneratorImpl())),
          lock(generator->mutex_),
          engine(generator->engine()),
          state(engine.data()) {}

    ~Twister() {
        engine.set_data(state);
        generator->set_engine(engine);
    }

    // Numbers from 0 to below 1.
    void uniforms(float* out, int64_t number) {
        while (number > 0) {
            if (state.left_ == 1) renew_all();
            const int64_t some = std::min<int64_t>(number, state.left_ - 1);
            const uint32_t* p = state.state_.data() + state.next_;
            int64_t i = 0;
            for (; i + WIDTH <= some; i += WIDTH) {
                const Whole whole = (Whole)tempered(load<Bits>(p + i));
                const Floats made = __builtin_convertvector(whole, Floats) * 0x1p-24f;
                std::memcpy(out + i, &made, sizeof made);
            }
            for (; i < some; i++) out[i] = static_cast<float>(tempered(p[i])) * 0x1p-24f;
            state.next_ += some;
            state.left_ -= some;
            out += some;
            number -= some;
        }
    }
};

// Cosine and sine of angles from 0 to 1 full turn, by polynomials of Cephes for an eighth of one.
static inline std::pair<Vec, Vec> of_turns(const Vec& turns) {
    const Vec quarters = turns * Vec(4.0f), nearest = quarters.round();
    const Vec angle = (quarters - nearest) * Vec(1.57079632679f), square = angle * angle;
    const Vec s = polynomial(square, Vec(-1.9515295891e-4f), 8.3321608736e-3f, -1.6666654611e-1f);
    const Vec c = polynomial(square, Vec(2.443315711809948e-5f), -1.388731625493765e-3f,
                             4.166664568298827e-2f, -0.5f, 1.0f);
    const Vec sine = at::vec::fmadd(s * square, angle, angle);
    const Vec third = nearest == Vec(3.0f), odd = (nearest == Vec(1.0f)) | third;
    const Vec turned = ((nearest == Vec(2.0f)) | third) & Vec(-0.0f);
    const Vec first = Vec::blendv(c, sine, odd), other = Vec::blendv(sine, c, odd);
    return {first ^ turned ^ (odd & Vec(-0.0f)), other ^ turned};
}

constexpr int64_t MOST = 512;  // numbers at once, which stay in the first cache

// Normal numbers of as many uniform ones, a multiple of 16 and at most MOST, in their place: of each
// 16 the first 8 give the radii, the others the angles.
static void normal_of_uniform(float* numbers, int64_t number) {
    float radii[MOST / 2 + WIDTH], angles[MOST / 2 + WIDTH];
    for (int64_t i = 0; i < number; i += 16) {
        std::memcpy(radii + i / 2, numbers + i, 8 * sizeof(float));
        std::memcpy(angles + i / 2, numbers + i + 8, 8 * sizeof(float));
    }
    for (int64_t i = number / 2; i < number / 2 + WIDTH; i++) radii[i] = angles[i] = 0;
    for (int64_t i = 0; i < number / 2; i += WIDTH) {
        const Vec radius = (log_within(Vec(1.0f) - Vec::loadu(radii + i)) * Vec(-2.0f)).sqrt();
        const auto [cosine, sine] = of_turns(Vec::loadu(angles + i));
        (radius * cosine).store(radii + i);
        (radius * sine).store(angles + i);
    }
    for (int64_t i = 0; i < number; i += 16) {
        std::memcpy(numbers + i, radii + i / 2, 8 * sizeof(float));
        std::memcpy(numbers + i + 8, angles + i / 2, 8 * sizeof(float));
    }
}

// At least 16 numbers. Of a number that is no multiple of 16 torch draws the last 16 once more.
static void fill_normal(float* out, int64_t number) {
    Twister twister;
    const int64_t whole = number / 16 * 16;
    for (int64_t done = 0; done < whole; done += MOST) {
        const int64_t some = std::min(MOST, whole - done);
        twister.uniforms(out + done, some);
        normal_of_uniform(out + done, some);
    }
    if (whole < number) {
        twister.uniforms(out + whole, number - whole);
        twister.uniforms(out + number - 16, 16);
        normal_of_uniform(out + number - 16, 16);
    }
}

static AOTITorchError normal_functional(AtenTensorHandle like, double mean, double deviation,
                                        AtenGeneratorHandle* generator, AtenTensorHandle* result) {
    int64_t dims, number, *sizes, *strides;
    int32_t type;
    bool is_contiguous;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like, &type));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_is_contiguous(like, &is_contiguous));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_numel(like, &number));
    const bool is_standard = mean == 0 && deviation == 1 && generator == nullptr;
    const bool is_float = type == aoti_torch_dtype_float32();
    if (!is_standard || !is_contiguous || !is_float || number < 16)
        return aoti_torch_cpu_normal_functional(like, mean, deviation, generator, result);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dim(like, &dims));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(like, &sizes));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(like, &strides));
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(
        dims, sizes, strides, type, aoti_torch_device_type_cpu(), 0, result));
    void* place;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_data_ptr(*result, &place));
    fill_normal(static_cast<float*>(place), number);
    return AOTI_TORCH_SUCCESS;
}

}  // namespace pyro_vae
