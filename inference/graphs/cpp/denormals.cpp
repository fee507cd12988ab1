// Takes numbers below 1.2e-38 as zero while a compiled graph runs.
//
// Processors multiply such numbers in microcode, a hundred times as slowly. Weights of importance are
// full of them: by a gradient of 50 particles, whose weights lie above 87 nats apart, a product of
// 5,000 x 784 x 200 takes 75 ms in place of 10. XLA takes them as zero, too.
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pyro_vae {

struct FlushDenormals {
#if defined(__x86_64__)
    static unsigned& before() {
        static thread_local unsigned setting;
        return setting;
    }

    // in all threads, each of which has a setting of its own, and only while this lives
    FlushDenormals() {
#pragma omp parallel
        {
            before() = _mm_getcsr();
            _mm_setcsr(before() | 0x8040);  // results to zero, and operands
        }
    }

    ~FlushDenormals() {
#pragma omp parallel
        _mm_setcsr(before());
    }
#endif
};

}  // namespace pyro_vae
