// Small float32 products of a compiled graph.
//
// Torch's operators look at each operand and hand it to BLAS, which looks again and takes the
// matrices apart for its threads: 3 us for `mm` of 64 x 20 x 40, 6 for `addmm`, of which 1 is
// arithmetic. A program of many small layers has a hundred products in a step. From PYRO_VAE_SMALL
// multiplications on BLAS, in threads, is faster.

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <torch/csrc/inductor/cpp_prefix.h>
#include <cstring>
#include <vector>

namespace pyro_vae {

using Vec = at::vec::Vectorized<float>;
constexpr int LANES = Vec::size();
constexpr int ROWS = LANES > 8 ? 8 : 4;  // of a block, for three vectors' registers

struct Matrix {
    float* data = nullptr;  // null: not a float32 matrix with numbers in it
    int64_t rows, columns, down, right;  // with the steps in memory to the next row and column

    // A vector counts as one row, which stands for all.
    explicit Matrix(AtenTensorHandle tensor) {
        int64_t dims, *sizes, *strides;
        int32_t type;
        void* place;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dim(tensor, &dims));
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(tensor, &type));
        if (dims < 1 || dims > 2 || type != aoti_torch_dtype_float32()) return;
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_sizes(tensor, &sizes));
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_strides(tensor, &strides));
        AOTI_TORCH_ERROR_CODE_CHECK(aoti_torch_get_data_ptr(tensor, &place));
        data = static_cast<float*>(place);
        rows = dims == 2 ? sizes[0] : 1;
        columns = sizes[dims - 1];
        down = dims == 2 && rows > 1 ? strides[0] : 0;
        right = strides[dims - 1];
    }
};

// R rows of c = first + a b: those of V vectors of columns side by side, of which the last may not
// be full. Their sums stay in registers.
template <int R, int V>
static inline void block(const Matrix& a, const float* factors, const float* packed,
                         const float* first, int64_t first_down, float* c, int64_t c_down,
                         int last) {
    Vec sums[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sums[r][v] = first
                ? Vec::loadu(first + r * first_down + v * LANES, v + 1 < V ? LANES : last)
                : Vec(0);
    for (int64_t k = 0; k < a.columns; k++) {
        Vec row[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) row[v] = Vec::loadu(packed + (k * V + v) * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; r++) {
            const Vec factor(factors[r * a.down + k * a.right]);
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) sums[r][v] = at::vec::fmadd(factor, row[v], sums[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++)
            sums[r][v].store(c + r * c_down + v * LANES, v + 1 < V ? LANES : last);
}

// The columns of c from `left` on that V vectors hold.
template <int V>
static void some_columns(const Matrix& c, const Matrix* first, const Matrix& a, const Matrix& b,
                         int64_t left, int64_t columns, float* packed) {
    constexpr int WIDTH = V * LANES;
    if (b.right == 1) {
        for (int64_t k = 0; k < b.rows; k++)
            std::memcpy(packed + k * WIDTH, b.data + k * b.down + left, sizeof(float) * columns);
    } else {
        for (int64_t j = 0; j < columns; j++) {
            const float* column = b.data + (left + j) * b.right;
            for (int64_t k = 0; k < b.rows; k++) packed[k * WIDTH + j] = column[k * b.down];
        }
    }
    const int last = columns - (V - 1) * LANES;
    int64_t i = 0;
    auto run = [&](auto rows) {
        constexpr int R = decltype(rows)::value;
        for (; i + R <= c.rows; i += R)
            block<R, V>(a, a.data + i * a.down, packed,
                        first ? first->data + i * first->down + left : nullptr,
                        first ? first->down : 0, c.data + i * c.down + left, c.down, last);
    };
    run(std::integral_constant<int, ROWS>());
    run(std::integral_constant<int, 1>());
}

// c = first + a b, where `first` has a row for each of c's, or one for all, or is null.
static void multiply(const Matrix& c, const Matrix* first, const Matrix& a, const Matrix& b) {
    static thread_local std::vector<float> packed;
    if (packed.size() < static_cast<size_t>(b.rows) * 3 * LANES)
        packed.resize(static_cast<size_t>(b.rows) * 3 * LANES);
    for (int64_t left = 0; left < c.columns; left += 3 * LANES) {
        const int64_t columns = std::min<int64_t>(3 * LANES, c.columns - left);
        if (columns > 2 * LANES)
            some_columns<3>(c, first, a, b, left, columns, packed.data());
        else if (columns > LANES)
            some_columns<2>(c, first, a, b, left, columns, packed.data());
        else
            some_columns<1>(c, first, a, b, left, columns, packed.data());
    }
}

static bool is_small(const Matrix& c, const Matrix& a, const Matrix& b) {
    return c.data && a.data && b.data && c.right == 1 && a.rows * a.columns * b.columns < PYRO_VAE_SMALL;
}

static AOTITorchError mm_out(AtenTensorHandle out, AtenTensorHandle a, AtenTensorHandle b) {
    const Matrix c(out), left(a), right(b);
    if (!is_small(c, left, right)) return aoti_torch_cpu_mm_out(out, a, b);
    multiply(c, nullptr, left, right);
    return AOTI_TORCH_SUCCESS;
}

static AOTITorchError addmm_out(AtenTensorHandle out, AtenTensorHandle start, AtenTensorHandle a,
                                AtenTensorHandle b, double beta, double alpha) {
    const Matrix c(out), first(start), left(a), right(b);
    const bool fits = first.data && first.columns == c.columns && first.right == 1 &&
        (first.rows == c.rows || first.rows == 1) && beta == 1 && alpha == 1;
    if (!fits || !is_small(c, left, right))
        return aoti_torch_cpu_addmm_out(out, start, a, b, beta, alpha);
    multiply(c, &first, left, right);
    return AOTI_TORCH_SUCCESS;
}

}  // namespace pyro_vae
