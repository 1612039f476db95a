// A CPU module of the engine, and single operations on it.
#pragma once

#include "../../kernels/kernels.h"

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

// The types for which there are kernels.
static const ggml_type TYPES[] = { GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q8_0,   GGML_TYPE_Q4_K, GGML_TYPE_Q5_K,
                                   GGML_TYPE_Q6_K, GGML_TYPE_IQ4_NL, GGML_TYPE_IQ4_XS, GGML_TYPE_MXFP4, GGML_TYPE_F16,  GGML_TYPE_BF16 };

struct engine {
    ggml_backend_t dev_backend;
    ggml_backend_dev_t dev;
    std::vector<ggml_backend_buffer_type_t> buffer_types;     // the plain one first
    const mullama_kernels * kernels = nullptr;
    ggml_backend_buffer_type_t own = nullptr;

    // Loads the module in a file, or the best one of a folder.
    engine(const char * path, int threads) {
        const size_t length = strlen(path);
        if (length > 3 && !strcmp(path + length - 3, ".so")) {
            if (!ggml_backend_load(path)) { fail("the module cannot be loaded"); }
        } else {
            ggml_backend_load_all_from_path(path);
        }
        dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        if (!dev) { fail("no module for this processor"); }
        const ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
        dev_backend = ggml_backend_dev_init(dev, nullptr);
        ((ggml_backend_set_n_threads_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"))(dev_backend, threads);
        buffer_types.push_back(ggml_backend_dev_buffer_type(dev));
        const auto extra = (ggml_backend_dev_get_extra_bufts_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
        for (auto * b = extra(dev); b && *b; b++) {
            buffer_types.push_back(*b);
            if (!strcmp(ggml_backend_buft_name(*b), MULLAMA_KERNELS_NAME)) {
                own = *b;
                kernels = (const mullama_kernels *) ggml_backend_buft_name(*b);
            }
        }
    }

    engine(const engine &) = delete;
    ~engine() { ggml_backend_free(dev_backend); }

    [[noreturn]] static void fail(const char * why) {
        printf("%s\n", why);
        exit(1);
    }
};

// A graph of one operation. Weights are in the given buffer type, everything else is in plain memory.
struct operation {
    ggml_context * weights = nullptr, * rest = nullptr;
    ggml_backend_buffer_t weights_buffer = nullptr, rest_buffer = nullptr;
    ggml_tensor * w = nullptr, * x = nullptr, * ids = nullptr, * y = nullptr;
    ggml_cgraph * graph = nullptr;
    bool taken = false;         // whether the buffer type supports the operation

    // MUL_MAT of n tokens with `rows` rows of `columns` weights; with experts, MUL_MAT_ID with `used` of them per
    // token.
    operation(const engine & e, ggml_backend_buffer_type_t type, ggml_type t, int columns, int rows, int n, int experts = 0, int used = 0) {
        const ggml_init_params p = { 1 << 20, nullptr, true };
        weights = ggml_init(p);
        rest = ggml_init(p);
        w = ggml_new_tensor_3d(weights, t, columns, rows, experts ? experts : 1);
        if (experts) {
            x = ggml_new_tensor_3d(rest, GGML_TYPE_F32, columns, 1, n);
            ids = ggml_new_tensor_2d(rest, GGML_TYPE_I32, used, n);
            y = ggml_mul_mat_id(rest, w, x, ids);
        } else {
            x = ggml_new_tensor_2d(rest, GGML_TYPE_F32, columns, n);
            y = ggml_mul_mat(rest, w, x);
        }
        weights_buffer = ggml_backend_alloc_ctx_tensors_from_buft(weights, type);
        taken = weights_buffer && ggml_backend_dev_supports_op(e.dev, y);
        if (!taken) { return; }
        rest_buffer = ggml_backend_alloc_ctx_tensors_from_buft(rest, ggml_backend_dev_buffer_type(e.dev));
        graph = ggml_new_graph(rest);
        ggml_build_forward_expand(graph, y);
    }
    operation(const operation &) = delete;
    ~operation() {
        ggml_backend_buffer_free(weights_buffer);
        ggml_backend_buffer_free(rest_buffer);
        ggml_free(weights);
        ggml_free(rest);
    }
    std::vector<float> run(const engine & e) {
        ggml_backend_graph_compute(e.dev_backend, graph);
        std::vector<float> out(ggml_nelements(y));
        ggml_backend_tensor_get(y, out.data(), 0, ggml_nbytes(y));
        return out;
    }
};

// Weights of a type, packed as in a file, and their values.
struct random_weights {
    std::vector<uint8_t> data;
    std::vector<float>   values;

    random_weights(std::mt19937 & rng, ggml_type type, int64_t columns, int64_t rows) {
        std::normal_distribution<float> normal;
        values.resize(columns * rows);
        for (auto & v : values) { v = normal(rng) * 0.05f; }
        data.resize(ggml_row_size(type, columns) * rows);
        ggml_quantize_chunk(type, values.data(), data.data(), 0, rows, columns, nullptr);
        read(type);
    }
    void read(ggml_type type) { ggml_get_type_traits(type)->to_float(data.data(), values.data(), values.size()); }
};
