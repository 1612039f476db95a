# Limits the engine to one CPU module, for the CPU of the build machine. If CMAKE_PROJECT_ggml_INCLUDE is this
# file, CMake runs it at `project("ggml")`, and its settings take precedence over those of the engine's crate.
# Only for a separate target folder: one that is configured already does not change its modules.
#
# On CPUs other than x86-64, and with Microsoft's compiler, all modules are built.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND NOT MSVC)
    execute_process(
        COMMAND ${CMAKE_CXX_COMPILER} -march=native -dM -E -x c++ -
        INPUT_FILE /dev/null
        OUTPUT_VARIABLE macros
        COMMAND_ERROR_IS_FATAL ANY
    )
    set(GGML_CPU_ALL_VARIANTS OFF)
    # ggml's switches, each with the macro by which the compiler indicates that the CPU has the instructions. ggml's
    # AVX512 means the part of AVX-512 that all servers with it have, including VL.
    foreach(pair SSE42=SSE4_2 AVX=AVX F16C=F16C FMA=FMA AVX2=AVX2 BMI2=BMI2 AVX_VNNI=AVXVNNI AVX512=AVX512VL
                 AVX512_VBMI=AVX512VBMI AVX512_VNNI=AVX512VNNI AVX512_BF16=AVX512BF16)
        string(REPLACE "=" ";" pair ${pair})
        list(GET pair 0 switch)
        list(GET pair 1 macro)
        string(FIND "${macros}" "#define __${macro}__ 1" found)
        if(found EQUAL -1)
            set(GGML_${switch} OFF)
        else()
            set(GGML_${switch} ON)
        endif()
    endforeach()
endif()
