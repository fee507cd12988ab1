// Log densities of binary data, summed over each datum, of logits that the last of some layers gives.
//
//     sum_d x_d l_d - softplus(l_d) = sum_d (x_d l_d - max(l_d, 0)) - log prod_d (1 + e^-|l_d|)
//
// Each factor of the product is in (1, 2], so that one logarithm does for a hundred of them. What the
// layers give for all data is too much for a cache, and goes to memory and back after each of them.
// Here they compute it for a part of the data at a time, each thread for parts of its own.
#include <ATen/Parallel.h>
#include <algorithm>
#include <initializer_list>
#include <string_view>

namespace pyro_vae {

constexpr int64_t FACTORS = 120;  // of one product, which is then at most 2^120; float32 goes to 2^128

// Of a weight, which may lie in any way, and a bias.
struct Layer {
    AtenTensorHandle weight;
    const float* bias;
    int64_t columns;

    Layer(AtenTensorHandle weight, const Matrix& bias)
        : weight(weight), bias(bias.data), columns(bias.columns) {}

    // The layer without its bias.
    void multiply(const float* in, int64_t rows, int64_t inner, float* out) const {
        const auto factor = matrix(const_cast<float*>(in), rows, inner);
        const auto product = matrix(out, rows, columns);
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(product, factor, weight));
    }

    static RAIIAtenTensorHandle matrix(float* place, int64_t rows, int64_t columns) {
        const int64_t sizes[] = {rows, columns}, strides[] = {columns, 1};
        AtenTensorHandle handle;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_create_tensor_from_blob(
            place, 2, sizes, strides, 0, aoti_torch_dtype_float32(), aoti_torch_device_type_cpu(),
            0, &handle));
        return RAIIAtenTensorHandle(handle);
    }
};

static Vec tanh_of(const Vec& x) { return tanh(x); }
static Vec relu_of(const Vec& x) { return at::vec::clamp_min(x, Vec(0.0f)); }
static Vec softplus_of(const Vec& x) {
    return at::vec::clamp_min(x, Vec(0.0f)) + log1p(exp(x.abs().neg()));
}

// f(row + bias) in the place of each row.
template <Vec (*f)(const Vec&)>
static void activate(float* numbers, const float* bias, int64_t rows, int64_t columns) {
    for (float* row = numbers; row < numbers + rows * columns; row += columns) {
        int64_t d = 0;
        for (; d + Vec::size() <= columns; d += Vec::size())
            f(Vec::loadu(row + d) + Vec::loadu(bias + d)).store(row + d);
        const int rest = columns - d;
        if (rest) f(Vec::loadu(row + d, rest) + Vec::loadu(bias + d, rest)).store(row + d, rest);
    }
}

static auto activation_of(std::string_view name) {
    if (name == "tanh") return activate<tanh_of>;
    return name == "relu" ? activate<relu_of> : activate<softplus_of>;
}

// Sums over numbers of a datum; their log density is `linear` - log `product`.
struct Sums {
    Vec linear{0.0f}, product{1.0f};

    // The terms of as many numbers as a vector has, or fewer.
    inline void add(const float* logits, const float* bias, const float* x, int number) {
        Vec l = Vec::loadu(logits, number);
        if (bias) l = l + Vec::loadu(bias, number);
        // one sum of both terms: each of theirs may be large where the density is not
        const Vec positive = at::vec::clamp_min(l, Vec(0.0f));
        linear = linear + at::vec::fmsub(l, Vec::loadu(x, number), positive);
        const Vec small = exp_within(at::vec::clamp_max(l.abs(), Vec(87.0f)).neg());
        product = at::vec::fmadd(product, Vec::set(Vec(0.0f), small, number), product);
    }
};

static float log_density(const float* logits, const float* bias, const float* x, int64_t number) {
    constexpr int64_t LANES = Vec::size();
    Vec total(0.0f);
    for (int64_t begun = 0; begun < number; begun += FACTORS * LANES) {
        const int64_t end = std::min(number, begun + FACTORS * LANES);
        Sums sums;
        int64_t d = begun;
        for (; d + LANES <= end; d += LANES)
            sums.add(logits + d, bias ? bias + d : nullptr, x + d, LANES);
        if (d < end) sums.add(logits + d, bias ? bias + d : nullptr, x + d, end - d);
        total = total + (sums.linear - log(sums.product));
    }
    return at::vec::vec_reduce_all<float>([](Vec& a, Vec& b) { return a + b; }, total);
}

// Row i of the logits belongs to row i of the data, which begin again after their last. Without
// layers the logits are what is given.
static AOTITorchError binary_log_density(AtenTensorHandle given, AtenTensorHandle data,
                                         std::initializer_list<AtenTensorHandle> weights_and_biases,
                                         std::string_view activation, AtenTensorHandle* result) {
    const Matrix first(given), x(data);  // whose rows follow each other
    std::vector<Layer> layers;
    int64_t widest = first.columns;
    for (auto each = weights_and_biases.begin(); each != weights_and_biases.end(); each += 2) {
        layers.emplace_back(each[0], Matrix(each[1]));
        widest = std::max(widest, layers.back().columns);
    }
    const auto activate = activation_of(activation);

    const int64_t stride = 1;
    void* place;
    AtenTensorHandle made;
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(1, &first.rows, &stride,
                                                         aoti_torch_dtype_float32(),
                                                         aoti_torch_device_type_cpu(), 0, &made));
    RAIIAtenTensorHandle owner(made);
    AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_data_ptr(made, &place));
    float* out = static_cast<float*>(place);

    const int64_t threads = at::get_num_threads();
    const int64_t parts = threads * at::divup(first.rows * widest, threads * PYRO_VAE_IN_CACHE);
    const int64_t most = at::divup(first.rows, parts);  // rows of a part
    at::parallel_for(0, parts, 1, [&](int64_t part, int64_t end) {
        std::vector<float> buffers[2];
        for (auto& buffer : buffers) buffer.resize(layers.empty() ? 0 : most * widest);
        for (; part < end; part++) {
            const int64_t begun = part * most, rows = std::min(most, first.rows - begun);
            if (rows <= 0) return;
            const float *in = first.data + begun * first.columns, *bias = nullptr;
            int64_t columns = first.columns;
            for (size_t i = 0; i < layers.size(); i++) {
                float* product = buffers[i % 2].data();
                layers[i].multiply(in, rows, columns, product);
                in = product, bias = layers[i].bias, columns = layers[i].columns;
                if (i + 1 < layers.size()) activate(product, bias, rows, columns);
            }
            for (int64_t i = 0; i < rows; i++)
                out[begun + i] = log_density(in + i * columns, bias,
                                             x.data + (begun + i) % x.rows * columns, columns);
        }
    });
    *result = owner.release();
    return AOTI_TORCH_SUCCESS;
}

}  // namespace pyro_vae
